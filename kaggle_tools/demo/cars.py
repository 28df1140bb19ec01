"""Invented cars: a few kinds as data, random ones of each kind, and any of them as flat faces.

A car is two lofts along its length, body and cabin, with wheels below and with glass, lamps and seams
lying on them. Knows nothing of cameras, light, pixels or files.

A car's axes, in metres: x from the front bumper to the rear, y to the side, z up from the floor.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""
Outline = tuple[tuple[float, float], ...]
SIDES = (-1, 1)


@dataclass(frozen=True)
class Shape:
    """The sheet metal of a kind of car, in metres. Outlines go from front to rear, their x ascending."""

    name: str
    """What the kind is called."""
    width: float
    """Without the mirrors."""
    hood: Outline
    """(x, z) of the body's upper edge, over hood, waist and boot; corners are rounded when drawn."""
    sill: Outline
    """(x, z) of the body's lower edge."""
    roof: Outline
    """(x, z) of the cabin's upper edge; its first stretch carries the windscreen, its last the rear window."""
    windows: tuple[tuple[float, float, float, float], ...]
    """Side windows, x of each corner: front below, front above, rear above, rear below."""
    wheels: tuple[float, float, float]
    """x of the front and the rear axle, and the radius with the tyre."""
    bed: tuple[float, float] | None = None
    """From where to where a pickup's bed is open."""

    @property
    def length(self) -> float:
        """From bumper to bumper."""
        return self.hood[-1][0]


SHAPES = (
    Shape(
        name="sedan",
        width=1.83,
        hood=((0, 0.6), (0.08, 0.72), (1.3, 0.93), (3.9, 1.0), (4.55, 1.0), (4.72, 0.92), (4.75, 0.7)),
        sill=((0, 0.3), (0.3, 0.2), (4.3, 0.22), (4.75, 0.36)),
        roof=((1.2, 0.9), (2.15, 1.4), (2.7, 1.45), (3.2, 1.42), (4.2, 0.98)),
        windows=((1.72, 2.2, 2.62, 2.62), (2.72, 2.72, 3.18, 3.62)),
        wheels=(0.92, 3.72, 0.33),
    ),
    Shape(
        name="coupe",
        width=1.85,
        hood=((0, 0.52), (0.1, 0.66), (1.5, 0.88), (3.7, 0.96), (4.3, 1.0), (4.45, 0.9), (4.5, 0.66)),
        sill=((0, 0.24), (0.3, 0.16), (4.1, 0.18), (4.5, 0.34)),
        roof=((1.35, 0.85), (2.25, 1.26), (2.7, 1.3), (3.1, 1.26), (4.1, 0.97)),
        windows=((1.86, 2.3, 2.95, 3.25),),
        wheels=(0.92, 3.55, 0.34),
    ),
    Shape(
        name="hatchback",
        width=1.75,
        hood=((0, 0.62), (0.08, 0.74), (1.05, 0.96), (3.6, 1.04), (3.92, 1.0), (3.98, 0.7)),
        sill=((0, 0.3), (0.3, 0.2), (3.6, 0.22), (3.98, 0.36)),
        roof=((0.92, 0.92), (1.75, 1.46), (2.3, 1.52), (3.35, 1.46), (3.55, 1.38), (3.9, 1.03)),
        windows=((1.36, 1.82, 2.2, 2.2), (2.3, 2.3, 2.88, 2.98), (3.06, 2.98, 3.26, 3.3)),
        wheels=(0.76, 3.26, 0.31),
    ),
    Shape(
        name="suv",
        width=1.92,
        hood=((0, 0.74), (0.08, 0.94), (1.2, 1.08), (4.1, 1.14), (4.56, 1.12), (4.62, 0.72)),
        sill=((0, 0.4), (0.35, 0.28), (4.2, 0.3), (4.62, 0.46)),
        roof=((1.12, 1.04), (1.85, 1.64), (2.3, 1.72), (4.0, 1.7), (4.25, 1.62), (4.54, 1.13)),
        windows=((1.5, 1.94, 2.36, 2.36), (2.46, 2.46, 3.16, 3.2), (3.28, 3.26, 3.96, 4.14)),
        wheels=(0.9, 3.68, 0.37),
    ),
    Shape(
        name="pickup",
        width=1.96,
        hood=((0, 0.8), (0.08, 1.0), (1.4, 1.12), (3.4, 1.16), (5.4, 1.16), (5.48, 1.08), (5.5, 0.7)),
        sill=((0, 0.44), (0.35, 0.34), (5.1, 0.36), (5.5, 0.52)),
        roof=((1.32, 1.08), (1.98, 1.7), (2.4, 1.78), (3.3, 1.76), (3.5, 1.68), (3.64, 1.15)),
        windows=((1.66, 2.08, 2.46, 2.46), (2.56, 2.56, 3.3, 3.38)),
        wheels=(0.98, 4.36, 0.4),
        bed=(3.8, 5.32),
    ),
    Shape(
        name="van",
        width=1.95,
        hood=((0, 0.74), (0.06, 0.92), (0.9, 1.1), (4.6, 1.14), (4.86, 1.12), (4.9, 0.7)),
        sill=((0, 0.34), (0.3, 0.24), (4.5, 0.26), (4.9, 0.4)),
        roof=((0.72, 1.02), (1.5, 1.74), (1.95, 1.86), (4.4, 1.86), (4.7, 1.8), (4.86, 1.13)),
        windows=((1.12, 1.62, 2.06, 2.06), (2.18, 2.18, 3.3, 3.3), (3.42, 3.42, 4.36, 4.5)),
        wheels=(0.88, 3.94, 0.35),
    ),
)

NEUTRAL_PAINTS = bytes.fromhex("ededeb dbdbd4 bdbfc4 9ea1a6 808287 45474d 141417")
"""RGB. Some are the wall's white and the floor's grey, which a threshold cannot tell from the studio."""
BRIGHT_PAINTS = bytes.fromhex("172452 295c9e a81717 5c0f1a 1f4730 a89470 d1611a e0bd29")


@dataclass(frozen=True)
class Car:
    """One car: a shape, and how this one differs from others of its kind."""

    shape: Shape
    """Its kind."""
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on length, width and height."""
    paint: Colour = (0.93, 0.93, 0.92)
    """The body's colour."""
    metallic: float = 0.3
    """How much of the room the paint reflects in its own colour, in [0, 1]."""
    glass: float = 0.1
    """The brightness of the windows."""
    rims: float = 0.7
    """The brightness of the wheels inside the tyre."""
    cladding: bool = False
    """Whether bumpers and sills are of dark plastic."""
    roof_rails: bool = False
    """Whether it has a pair of them."""
    antenna: bool = False
    """Whether it has one: a line about a pixel wide, as the real ones are."""

    @property
    def footprint(self) -> tuple[float, float]:
        """Length and width."""
        return self.shape.length * self.stretch[0], self.shape.width * self.stretch[1]


def random_car(rng: np.random.Generator) -> Car:
    """Draw a car. White, grey and black, the most common on the road, are twice as likely as other paints."""
    paints = np.frombuffer(2 * NEUTRAL_PAINTS + BRIGHT_PAINTS, np.uint8).reshape(-1, 3) / 255
    red, green, blue = np.clip(rng.choice(paints) * rng.uniform(0.9, 1.06), 0, 1).tolist()
    shape = SHAPES[rng.integers(len(SHAPES))]
    return Car(
        shape=shape,
        stretch=(rng.uniform(0.95, 1.05), rng.uniform(0.96, 1.04), rng.uniform(0.95, 1.05)),
        paint=(red, green, blue),
        metallic=rng.uniform(0.0, 0.6),
        glass=rng.uniform(0.07, 0.26),
        rims=float(rng.choice([0.16, 0.6, 0.72, 0.8])),
        cladding=bool(rng.random() < 0.35),
        roof_rails=bool(rng.random() < 0.5) and len(shape.windows) > 2,
        antenna=bool(rng.random() < 0.5),
    )


@dataclass(frozen=True)
class Material:
    """How a surface answers the light."""

    colour: Colour
    """Under full light."""
    gloss: float = 0.0
    """How much of the room it mirrors where seen at a grazing angle, in [0, 1]."""
    metallic: float = 0.0
    """How much of the room it mirrors in its own colour, in [0, 1]."""


TYRE = Material((0.09, 0.09, 0.095))
PLASTIC = Material((0.13, 0.13, 0.14), gloss=0.2)
GAP = Material((0.04, 0.04, 0.045))
LAMP = Material((0.70, 0.73, 0.76), gloss=0.9)
TAIL_LAMP = Material((0.62, 0.05, 0.06), gloss=0.7)
PLATE = Material((0.88, 0.89, 0.92))
PLATE_TEXT = Material((0.25, 0.35, 0.60))

# What is painted later covers what was painted before; within a layer the farther goes first. This is
# right for every view from above the waistline.
UNDER, BODY, ON_BODY, WHEEL_FACE, BEHIND_CABIN, CABIN, ON_CABIN, BEFORE_CABIN = range(8)


@dataclass(frozen=True)
class Faces:
    """Flat convex faces that belong together."""

    corners: Floats
    """Shape (n, k, 3): n faces of k corners each, k divisible by 4."""
    material: Material
    """Of all of them."""
    layer: float
    """When they are painted, see above."""
    inside: Floats
    """Shape (3,), a point behind all faces, which tells their outer side."""
    side: int = 0
    """-1 or +1 for what sits at that side of the cabin, and belongs behind it when seen from the other."""

    @cached_property
    def normals(self) -> Floats:
        """Shape (n, 3), outwards and of length 1; all zero where a face has no area."""
        quarter = self.corners.shape[1] // 4
        one, two, three, four = (self.corners[:, i * quarter] for i in range(4))
        normals = np.cross(three - one, four - two)
        areas = np.linalg.norm(normals, axis=1)
        outwards = np.sign(np.sum(normals * (self.corners.mean(axis=1) - self.inside), axis=1))
        return np.asarray(normals * (outwards / np.where(areas > 1e-9, areas, np.inf))[:, None])


@lru_cache(maxsize=2)  # a car is photographed many times in a row
def faces_of(car: Car) -> tuple[Faces, ...]:
    """All faces of a car."""
    body = _body_of(car.shape)
    cabin = _cabin_of(car.shape, body)
    paint = Material(car.paint, gloss=0.8, metallic=car.metallic)
    core, head = np.array([car.shape.length / 2, 0.0, 0.6]), np.array([cabin.x.mean(), 0.0, 1.2])
    parts = [
        Faces(body.quads(), paint, BODY, core),
        *(Faces(piece, of, ON_BODY + i / 100, core) for i, (piece, of) in enumerate(_on_body(car, body))),
        *(wheel for x in car.shape.wheels[:2] for side in SIDES for wheel in _wheel(car, x, side)),
        Faces(cabin.quads(), paint, CABIN, head),
        *(Faces(pane, Material((car.glass,) * 3, gloss=1.0), ON_CABIN, head) for pane in _panes(car.shape, cabin)),
        *_outside_the_cabin(car, cabin, paint),
    ]
    return tuple(replace(part, corners=part.corners * car.stretch, inside=part.inside * car.stretch) for part in parts)


CROWN = 0.03
"""By how many metres the middle of a loft's top lies above its edges."""


@dataclass(frozen=True)
class Loft:
    """A skin over cross-sections that stand along x."""

    x: Floats
    """Shape (stations,), ascending."""
    bottom: Floats
    """Shape (stations,), z of the lower edge."""
    top: Floats
    """Shape (stations,), z of the upper edge."""
    half_width: Floats
    """Shape (stations,)."""
    section: Outline
    """(share of the height, share of the half-width), from below."""
    lean: float
    """By what share the sides come inwards over one metre of height."""

    def z(self, x: Floats) -> tuple[Floats, Floats]:
        """The heights of the lower and the upper edge."""
        return np.interp(x, self.x, self.bottom), np.interp(x, self.x, self.top)

    def y(self, x: Floats, z: Floats) -> Floats:
        """The distance of the skin from the car's middle plane."""
        bottom, top = self.z(x)
        share = np.clip((z - bottom) / np.maximum(top - bottom, 1e-6), 0, 1)
        leaning = 1 - self.lean * np.clip(z - bottom, 0, None)
        return np.asarray(np.interp(x, self.x, self.half_width) * np.interp(share, *np.array(self.section).T) * leaning)

    def quads(self) -> Floats:
        """The skin with both ends closed, shape (n, 4, 3)."""
        rings = self._rings()
        skin = np.stack([rings[:-1, :-1], rings[1:, :-1], rings[1:, 1:], rings[:-1, 1:]], axis=2)
        ends = rings[[0, -1]]
        caps = np.stack([ends[:, :-1], ends[:, 1:], ends[:, -2::-1], ends[:, :0:-1]], axis=2)
        return np.concatenate([skin.reshape(-1, 4, 3), caps[:, : rings.shape[1] // 2].reshape(-1, 4, 3)])

    def _rings(self) -> Floats:
        """The cross-sections, shape (stations, points, 3), each from one lower edge over the top to the other."""
        shares = np.array([height for height, _ in self.section])
        z = self.bottom[:, None] + shares * (self.top - self.bottom)[:, None]
        x = np.broadcast_to(self.x[:, None], z.shape)
        side = np.stack([x, self.y(x, z), z], axis=-1)
        across = np.array([0.75, 0.5, 0.25, 0.0])
        over = np.repeat(side[:, -1:], len(across), axis=1)
        over[..., 1] *= across
        over[..., 2] += CROWN * (1 - across**2)
        half = np.concatenate([side, over], axis=1)
        return np.concatenate([half, half[:, -2::-1] * np.array([1, -1, 1])], axis=1)


def _body_of(shape: Shape) -> Loft:
    """The car up to its waistline."""
    hood, sill = _rounded(shape.hood), _rounded(shape.sill)
    closer_at_the_ends = shape.length * (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 21)))
    x = np.unique(np.concatenate([hood[:, 0], sill[:, 0], closer_at_the_ends]))
    from_middle = np.abs(2 * x / shape.length - 1) * 0.985  # short of 1, where the car would end in an edge
    half_width = shape.width / 2 * (1 - from_middle**8) ** (1 / 8)
    section = ((0.0, 0.90), (0.16, 0.965), (0.5, 1.0), (0.78, 0.985), (0.92, 0.95), (1.0, 0.87))
    return Loft(x, np.interp(x, *sill.T), np.interp(x, *hood.T), half_width, section, lean=0.0)


def _cabin_of(shape: Shape, body: Loft) -> Loft:
    """The car above its waistline."""
    roof = _rounded(shape.roof)
    x = np.unique(np.concatenate([roof[:, 0], np.linspace(roof[0, 0], roof[-1, 0], 16)]))
    _, waist = body.z(x)
    half_width = np.interp(x, body.x, body.half_width) * 0.9
    section = ((0.0, 1.0), (0.7, 1.0), (0.86, 0.985), (0.95, 0.95), (1.0, 0.86))
    return Loft(x, waist, np.maximum(np.interp(x, *roof.T), waist), half_width, section, lean=0.24)


def _rounded(outline: Outline) -> Floats:
    """Cut the corners of an outline twice (Chaikin); its ends stay."""
    points = np.array(outline)
    for _ in range(2):
        cut = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


def _wheel(car: Car, x: float, side: int) -> list[Faces]:
    *_, radius = car.shape.wheels
    outer, inner = side * (car.shape.width / 2 - 0.015), side * (car.shape.width / 2 - 0.24)
    hub = np.array([x, (outer + inner) / 2, radius])
    rim = Material((car.rims,) * 3, gloss=0.5, metallic=0.4)

    def upright(flat: Floats, y: float) -> Floats:
        return np.stack([x + flat[..., 0], np.full(flat.shape[:-1], y), radius + flat[..., 1]], axis=-1)

    tyre, back = upright(circle(radius), outer), upright(circle(radius), inner)
    tread = np.stack([tyre, np.roll(tyre, 1, 0), np.roll(back, 1, 0), back], axis=1)
    rim_edge, gaps, cap = (upright(circle(radius * share), outer)[None] for share in (0.7, 0.62, 0.16))
    face = [(tyre[None], TYRE), (rim_edge, rim), (gaps, GAP), (upright(_spokes(radius), outer), rim), (cap, rim)]
    return [
        Faces(tread, TYRE, UNDER, hub),
        Faces(back[None], TYRE, UNDER, hub),
        *(Faces(corners, of, WHEEL_FACE + i / 10, hub) for i, (corners, of) in enumerate(face)),
    ]


def _spokes(radius: float, count: int = 6) -> Floats:
    """Shape (count, 4, 2)."""
    out = circle(1.0, count)[:, None]
    across = out[..., ::-1] * np.array([-1, 1])
    lengths, widths = np.array([0.0, 0.0, 0.64, 0.64]), np.array([-0.14, 0.14, 0.1, -0.1])
    return np.asarray(radius * (lengths[:, None] * out + widths[:, None] * across))


def _on_body(car: Car, body: Loft) -> Iterator[tuple[Floats, Material]]:
    """What lies on the body, each piece over those before it."""
    front, rear, radius = car.shape.wheels
    for side in SIDES:
        for x in (front, rear):
            arch = circle(radius + 0.07) + np.array([x, radius])
            yield _on_side(body, side, arch[None]), GAP
        for quad, of in _side_fittings(car, body):
            yield _on_side(body, side, _grid(quad)), of
    for end in (1, -1):
        for quad, of in _end_fittings(car, body, end):
            yield _on_end(body, end, _grid(quad)), of
    if car.shape.bed is not None:
        yield _on_top(body, *car.shape.bed, share=0.92), GAP


def _side_fittings(car: Car, body: Loft) -> Iterator[tuple[Outline, Material]]:
    """Quads (x, z) on either side."""
    shape, end = car.shape, car.shape.length
    nose, tail, low = float(body.top[0]), float(body.top[-1]), float(np.median(body.bottom))
    front, rear, radius = shape.wheels
    clear = radius + 0.1
    yield _box(front + clear, rear - clear, low, low + 0.12), _trim(car)
    yield _box(0, front - clear, 0, nose - 0.14), _trim(car)
    yield _box(rear + clear, end, 0, tail - 0.2), _trim(car)
    yield ((0.0, nose - 0.11), (0.0, nose + 0.03), (0.5, nose + 0.15), (0.42, nose + 0.03)), LAMP
    yield ((end, tail - 0.12), (end, tail + 0.08), (end - 0.32, tail + 0.22), (end - 0.28, tail)), TAIL_LAMP
    # A door ends with its window, and has its handle there.
    for i, x in enumerate([shape.windows[0][0] - 0.13, *(window[3] + 0.04 for window in shape.windows[:2])]):
        waist = float(np.interp(x, body.x, body.top))
        yield _box(x, x + 0.018, low + 0.12, waist), GAP
        if i > 0:
            yield _box(x - 0.26, x - 0.08, waist - 0.2, waist - 0.16), PLASTIC


def _end_fittings(car: Car, body: Loft, end: int) -> Iterator[tuple[Outline, Material]]:
    """Quads (y, z) on the front (end 1) or the rear (end -1)."""
    edge, low, half = float(body.top[::end][0]), float(body.bottom[::end][0]), car.shape.width / 2
    lamp, lamp_top, plate = (LAMP, edge + 0.05, low + 0.09) if end > 0 else (TAIL_LAMP, edge + 0.14, edge - 0.08)
    yield _box(-half, half, 0, low + 0.12), _trim(car)
    if end > 0:
        yield _box(-half * 0.5, half * 0.5, low + 0.02, low + 0.11), GAP
        yield _box(-half * 0.4, half * 0.4, edge - 0.09, edge + 0.04), PLASTIC
    for y in (-half, half):
        yield ((y * 0.8, edge - 0.11), (y * 0.8, lamp_top), (y * 0.55, lamp_top), (y * 0.6, edge - 0.07)), lamp
    yield _box(-0.26, 0.26, plate, plate + 0.12), PLATE
    yield _box(-0.2, 0.2, plate + 0.03, plate + 0.09), PLATE_TEXT


def _trim(car: Car) -> Material:
    """The material of bumpers and sills."""
    red, green, blue = car.paint
    return PLASTIC if car.cladding else Material((red * 0.82, green * 0.82, blue * 0.82), gloss=0.5)


def _panes(shape: Shape, cabin: Loft) -> Iterator[Floats]:
    """Windscreen, rear window and side windows."""
    (foot, _), (head, _) = shape.roof[:2]
    yield _on_top(cabin, foot + 0.16 * (head - foot), head - 0.07 * (head - foot), share=0.96)
    (head, _), (foot, _) = shape.roof[-2:]
    yield _on_top(cabin, head + 0.12 * (foot - head), foot - 0.2 * (foot - head), share=0.96)
    for window in shape.windows:
        low, high = cabin.z(np.array(window))
        z = np.where([True, False, False, True], low + 0.04, high - 0.1)
        for side in SIDES:
            yield _on_side(cabin, side, _grid(tuple(zip(window, z.tolist(), strict=True))))


def _outside_the_cabin(car: Car, cabin: Loft, paint: Material) -> list[Faces]:
    """Mirrors, roof rails and antenna."""
    windows = car.shape.windows
    x = windows[0][0]
    z = float(cabin.z(np.array(x))[0]) + 0.06
    front, rear = windows[0][1] + 0.3, windows[-1][2] - 0.05
    roof = float(np.min(cabin.z(np.array([front, rear]))[1]))
    blocks = []
    for side in SIDES:
        out, edge = side * car.shape.width / 2, side * float(cabin.y(np.array(front), np.array(roof)))
        blocks.append((_block((x + 0.02, x + 0.1), (out * 0.84, out * 1.08), (z, z + 0.04)), PLASTIC, side))
        blocks.append((_block((x, x + 0.12), (out, out * 1.2), (z, z + 0.14)), paint, side))
        if car.roof_rails:
            blocks.append((_block((front, rear), (edge - 0.02, edge + 0.02), (roof, roof + 0.05)), PLASTIC, side))
    if car.antenna:
        blocks.append((_block((rear, rear + 0.03), (-0.015, 0.015), (roof, roof + 0.25)), PLASTIC, 0))
    return [
        Faces(corners, of, BEFORE_CABIN + i / 100, corners.mean(axis=(0, 1)), side)
        for i, (corners, of, side) in enumerate(blocks)
    ]


def circle(radius: float, corners: int = 28) -> Floats:
    """Shape (corners, 2)."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)


def _box(left: float, right: float, low: float, high: float) -> Outline:
    return ((left, low), (left, high), (right, high), (right, low))


def _block(x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Floats:
    """The six faces of a block, each of its axes given from where to where, shape (6, 4, 3)."""
    corners = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    pairs = [np.moveaxis(corners, axis, 0) for axis in range(3)]
    return np.concatenate(pairs).reshape(6, 4, 3)[:, [0, 1, 3, 2]]


def _grid(quad: Outline, columns: int = 5, rows: int = 3) -> Floats:
    """Divide a quad into smaller ones, shape (columns * rows, 4, 2), so that it can follow a curved skin."""
    p00, p01, p11, p10 = np.array(quad, dtype=float)
    u, v = np.linspace(0, 1, columns + 1)[:, None, None], np.linspace(0, 1, rows + 1)[None, :, None]
    nodes = (1 - u) * ((1 - v) * p00 + v * p01) + u * ((1 - v) * p10 + v * p11)
    cells = np.stack([nodes[:-1, :-1], nodes[1:, :-1], nodes[1:, 1:], nodes[:-1, 1:]], axis=2)
    return cells.reshape(-1, 4, 2)


def _on_side(loft: Loft, side: int, corners: Floats) -> Floats:
    """Lay faces (x, z) on one side of the skin; what reaches beyond the skin ends at its edge."""
    x, z = np.moveaxis(corners, -1, 0)
    z = np.clip(z, *loft.z(x))
    return np.stack([x, side * loft.y(x, z), z], axis=-1)


def _on_end(loft: Loft, end: int, corners: Floats) -> Floats:
    """Lay faces (y, z) on the front (end 1) or the rear (end -1) of the skin."""
    y, z = np.moveaxis(corners, -1, 0)
    z = np.maximum(z, loft.bottom[::end][0])
    x = np.interp(z, np.maximum.accumulate(loft.top[::end]), loft.x[::end])
    reach = loft.y(x, z)
    return np.stack([x, np.clip(y, -reach, reach), z], axis=-1)


def _on_top(loft: Loft, front: float, rear: float, share: float) -> Floats:
    """Lay a pane on the top of the skin, between two x and over a share of the top's width."""
    x, across = np.moveaxis(_grid(_box(front, rear, -share, share), columns=4, rows=6), -1, 0)
    _, z = loft.z(x)
    return np.stack([x, across * loft.y(x, z), z + CROWN * (1 - across**2)], axis=-1)
