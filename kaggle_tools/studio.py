"""A photo studio that exists on paper only: draws one photo of one invented car, and its exact mask.

A car is two lofts along its length (body and cabin) with wheels and what lies on them (glass, lamps,
seams), all as flat faces. They are projected in perspective and painted from far to near; photo and
mask come from the same paint. Knows nothing of competitions, files or names.

A car's axes, in metres: x from the front bumper to the rear, y to the side, z up from the floor. The
first half of this file makes cars, the second takes photos of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Picture = NDArray[np.float32]
Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""
Point = tuple[float, float, float]
Corner = tuple[float, float]
Quad = tuple[Corner, Corner, Corner, Corner]
Outline = tuple[Corner, ...]
Block = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""From where to where along x, y and z."""


# Kinds of cars ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """The sheet metal of a kind of car, in metres. Outlines go from front to rear, their x ascending."""

    name: str
    """What a dealer calls the kind."""
    width: float
    """Without the mirrors."""
    hood: Outline
    """(x, z) of the body's upper edge, over hood, waist and boot; corners are rounded when drawn."""
    sill: Outline
    """(x, z) of the body's lower edge."""
    roof: Outline
    """(x, z) of the cabin's upper edge, from the foot of the windscreen to the foot of the rear window."""
    windows: tuple[tuple[float, float, float, float], ...]
    """Side windows, x of each corner: front below, front above, rear above, rear below."""
    windscreen: tuple[float, float]
    """x of its lower and upper edge."""
    rear_window: tuple[float, float]
    """x of its upper and lower edge."""
    axles: tuple[float, float]
    """x of the front and the rear wheels."""
    wheel_radius: float
    """With the tyre."""
    seams: tuple[float, ...]
    """x of the gaps around the doors."""
    bed: tuple[float, float] | None = None
    """From where to where a pickup's bed is open."""

    @property
    def length(self) -> float:
        """From bumper to bumper."""
        return self.hood[-1][0]

    @property
    def long_roof(self) -> bool:
        """Whether it may carry rails."""
        return len(self.windows) > 2


SHAPES = (
    Shape(
        name="sedan",
        width=1.83,
        hood=((0, 0.6), (0.08, 0.72), (1.3, 0.93), (3.9, 1.0), (4.55, 1.0), (4.72, 0.92), (4.75, 0.7)),
        sill=((0, 0.3), (0.3, 0.2), (4.3, 0.22), (4.75, 0.36)),
        roof=((1.2, 0.9), (2.15, 1.4), (2.7, 1.45), (3.2, 1.42), (4.2, 0.98)),
        windows=((1.72, 2.2, 2.62, 2.62), (2.72, 2.72, 3.18, 3.62)),
        windscreen=(1.36, 2.08),
        rear_window=(3.34, 4.02),
        axles=(0.92, 3.72),
        wheel_radius=0.33,
        seams=(1.55, 2.67, 3.66),
    ),
    Shape(
        name="coupe",
        width=1.85,
        hood=((0, 0.52), (0.1, 0.66), (1.5, 0.88), (3.7, 0.96), (4.3, 1.0), (4.45, 0.9), (4.5, 0.66)),
        sill=((0, 0.24), (0.3, 0.16), (4.1, 0.18), (4.5, 0.34)),
        roof=((1.35, 0.85), (2.25, 1.26), (2.7, 1.3), (3.1, 1.26), (4.1, 0.97)),
        windows=((1.86, 2.3, 2.95, 3.25),),
        windscreen=(1.5, 2.2),
        rear_window=(3.2, 3.95),
        axles=(0.92, 3.55),
        wheel_radius=0.34,
        seams=(1.62, 3.02),
    ),
    Shape(
        name="hatchback",
        width=1.75,
        hood=((0, 0.62), (0.08, 0.74), (1.05, 0.96), (3.6, 1.04), (3.92, 1.0), (3.98, 0.7)),
        sill=((0, 0.3), (0.3, 0.2), (3.6, 0.22), (3.98, 0.36)),
        roof=((0.92, 0.92), (1.75, 1.46), (2.3, 1.52), (3.35, 1.46), (3.55, 1.38), (3.9, 1.03)),
        windows=((1.36, 1.82, 2.2, 2.2), (2.3, 2.3, 2.88, 2.98), (3.06, 2.98, 3.26, 3.3)),
        windscreen=(1.06, 1.68),
        rear_window=(3.58, 3.82),
        axles=(0.76, 3.26),
        wheel_radius=0.31,
        seams=(1.24, 2.25, 3.02),
    ),
    Shape(
        name="suv",
        width=1.92,
        hood=((0, 0.74), (0.08, 0.94), (1.2, 1.08), (4.1, 1.14), (4.56, 1.12), (4.62, 0.72)),
        sill=((0, 0.4), (0.35, 0.28), (4.2, 0.3), (4.62, 0.46)),
        roof=((1.12, 1.04), (1.85, 1.64), (2.3, 1.72), (4.0, 1.7), (4.25, 1.62), (4.54, 1.13)),
        windows=((1.5, 1.94, 2.36, 2.36), (2.46, 2.46, 3.16, 3.2), (3.28, 3.26, 3.96, 4.14)),
        windscreen=(1.24, 1.8),
        rear_window=(4.27, 4.47),
        axles=(0.9, 3.68),
        wheel_radius=0.37,
        seams=(1.4, 2.41, 3.24),
    ),
    Shape(
        name="pickup",
        width=1.96,
        hood=((0, 0.8), (0.08, 1.0), (1.4, 1.12), (3.4, 1.16), (5.4, 1.16), (5.48, 1.08), (5.5, 0.7)),
        sill=((0, 0.44), (0.35, 0.34), (5.1, 0.36), (5.5, 0.52)),
        roof=((1.32, 1.08), (1.98, 1.7), (2.4, 1.78), (3.3, 1.76), (3.5, 1.68), (3.64, 1.15)),
        windows=((1.66, 2.08, 2.46, 2.46), (2.56, 2.56, 3.3, 3.38)),
        windscreen=(1.44, 1.94),
        rear_window=(3.5, 3.6),
        axles=(0.98, 4.36),
        wheel_radius=0.4,
        seams=(1.56, 2.51, 3.46, 3.7),
        bed=(3.8, 5.32),
    ),
    Shape(
        name="van",
        width=1.95,
        hood=((0, 0.74), (0.06, 0.92), (0.9, 1.1), (4.6, 1.14), (4.86, 1.12), (4.9, 0.7)),
        sill=((0, 0.34), (0.3, 0.24), (4.5, 0.26), (4.9, 0.4)),
        roof=((0.72, 1.02), (1.5, 1.74), (1.95, 1.86), (4.4, 1.86), (4.7, 1.8), (4.86, 1.13)),
        windows=((1.12, 1.62, 2.06, 2.06), (2.18, 2.18, 3.3, 3.3), (3.42, 3.42, 4.36, 4.5)),
        windscreen=(0.86, 1.46),
        rear_window=(4.72, 4.82),
        axles=(0.88, 3.94),
        wheel_radius=0.35,
        seams=(1.04, 2.12, 3.36),
    ),
)
"""The kinds of car that come to the studio."""

PAINTS: tuple[Colour, ...] = (
    (0.93, 0.93, 0.92),
    (0.86, 0.86, 0.83),
    (0.74, 0.75, 0.77),
    (0.62, 0.63, 0.65),
    (0.50, 0.51, 0.53),
    (0.27, 0.28, 0.30),
    (0.08, 0.08, 0.09),
    (0.09, 0.14, 0.32),
    (0.16, 0.36, 0.62),
    (0.66, 0.09, 0.09),
    (0.36, 0.06, 0.10),
    (0.12, 0.28, 0.19),
    (0.66, 0.58, 0.44),
    (0.82, 0.38, 0.10),
    (0.88, 0.74, 0.16),
)
"""From the wall's white and the floor's grey, which a threshold cannot tell from the studio, to yellow."""


@dataclass(frozen=True)
class Car:
    """One car: a shape, and how this one differs from others of its kind."""

    shape: Shape
    """Its kind."""
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on length, width and height."""
    paint: Colour = PAINTS[0]
    """The body's colour."""
    metallic: float = 0.3
    """How much of the room the paint reflects in its own colour, in [0, 1]."""
    glass: Colour = (0.10, 0.11, 0.12)
    """The windows' tint."""
    rims: Colour = (0.70, 0.71, 0.73)
    """The wheels' colour inside the tyre."""
    spokes: int = 5
    """Of each wheel."""
    cladding: bool = False
    """Whether bumpers and sills are of dark plastic."""
    roof_rails: bool = False
    """Whether it has a pair of them."""
    antenna: bool = False
    """Whether it has one: a line about a pixel wide, as the real ones are."""


def random_car(rng: np.random.Generator) -> Car:
    """Draw a car. White, grey and black, the most common on the road, are twice as likely as other paints."""
    weights = np.where(np.ptp(np.array(PAINTS), axis=1) < 0.05, 2.0, 1.0)
    paint = np.array(PAINTS[rng.choice(len(PAINTS), p=weights / weights.sum())]) * rng.uniform(0.9, 1.06)
    red, green, blue = np.clip(paint, 0, 1).tolist()
    rim, tint = float(rng.choice([0.16, 0.6, 0.72, 0.8])), rng.uniform(0.07, 0.26)
    shape = SHAPES[rng.integers(len(SHAPES))]
    return Car(
        shape=shape,
        stretch=(rng.uniform(0.95, 1.05), rng.uniform(0.96, 1.04), rng.uniform(0.95, 1.05)),
        paint=(red, green, blue),
        metallic=rng.uniform(0.0, 0.6),
        glass=(tint, tint * 1.06, tint * 1.08),
        rims=(rim, rim, rim * 1.02),
        spokes=int(rng.choice([5, 6, 7, 10])),
        cladding=bool(rng.random() < 0.35),
        roof_rails=bool(rng.random() < 0.5) and shape.long_roof,
        antenna=bool(rng.random() < 0.5),
    )


# From a car to flat faces ----------------------------------------------------------------------


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
class Part:
    """Flat convex faces that belong together."""

    corners: Floats
    """Shape (n, k, 3): n faces of k corners each."""
    material: Material
    """Of all of them."""
    layer: float
    """When they are painted, see above."""
    inside: Point
    """A point behind all faces, which tells their outer side."""
    side: int = 0
    """-1 or +1 for what sits at that side of the cabin, and is painted before the cabin where that hides it."""


@dataclass(frozen=True)
class Faces:
    """All faces of a car that have the same number of corners, ready for light and camera."""

    corners: Floats
    """Shape (n, k, 3)."""
    normals: Floats
    """Shape (n, 3), outwards and of length 1."""
    colours: Floats
    """Shape (n, 3)."""
    gloss: Floats
    """Shape (n,)."""
    metallic: Floats
    """Shape (n,)."""
    layers: Floats
    """Shape (n,)."""
    sides: Floats
    """Shape (n,)."""


@lru_cache(maxsize=2)  # a car is photographed many times in a row
def assemble(car: Car) -> tuple[Faces, ...]:
    """All faces of a car."""
    body = _body_of(car.shape)
    cabin = _cabin_of(car.shape, body)
    paint = Material(car.paint, gloss=0.8, metallic=car.metallic)
    core, head = (car.shape.length / 2, 0.0, 0.6), (float(cabin.x.mean()), 0.0, 1.2)
    parts = [
        Part(body.quads(), paint, BODY, core),
        Part(cabin.quads(), paint, CABIN, head),
        *_wheels(car),
        *_on_body(car, body, core),
        *_glass(car, cabin, head),
        *_outside_the_cabin(car, cabin, paint),
    ]
    counts = sorted({part.corners.shape[1] for part in parts})
    return tuple(_join([part for part in parts if part.corners.shape[1] == count], car.stretch) for count in counts)


def _join(parts: list[Part], stretch: Point) -> Faces:
    """Faces of equal corner counts, stretched, without those that have no area."""
    sizes = [len(part.corners) for part in parts]
    corners = np.concatenate([part.corners for part in parts]) * stretch
    inside = np.repeat([part.inside for part in parts], sizes, axis=0) * stretch
    quarter = corners.shape[1] // 4
    one, two, three, four = (corners[:, i * quarter] for i in range(4))
    normals = np.cross(three - one, four - two)
    areas = np.linalg.norm(normals, axis=1)
    outwards = np.sign(np.sum(normals * (corners.mean(axis=1) - inside), axis=1))
    kept = areas > 1e-9
    return Faces(
        corners=corners[kept],
        normals=normals[kept] * (outwards / np.maximum(areas, 1e-12))[kept, None],
        colours=np.repeat([part.material.colour for part in parts], sizes, axis=0)[kept],
        gloss=np.repeat([part.material.gloss for part in parts], sizes)[kept],
        metallic=np.repeat([part.material.metallic for part in parts], sizes)[kept],
        layers=np.repeat([part.layer for part in parts], sizes)[kept],
        sides=np.repeat([float(part.side) for part in parts], sizes)[kept],
    )


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
    crown: float = 0.03
    """By how many metres the middle of the top lies above its edges."""

    def y(self, x: Floats, z: Floats) -> Floats:
        """The distance of the skin from the car's middle plane."""
        bottom, top = np.interp(x, self.x, self.bottom), np.interp(x, self.x, self.top)
        share = np.clip((z - bottom) / np.maximum(top - bottom, 1e-6), 0, 1)
        heights, widths = np.array(self.section).T
        leaning = 1 - self.lean * np.clip(z - bottom, 0, None)
        return np.interp(x, self.x, self.half_width) * np.interp(share, heights, widths) * leaning

    def z_top(self, x: float) -> float:
        """The height of the upper edge."""
        return float(np.interp(x, self.x, self.top))

    def z_bottom(self, x: float) -> float:
        """The height of the lower edge."""
        return float(np.interp(x, self.x, self.bottom))

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
        over[..., 2] += self.crown * (1 - across**2)
        half = np.concatenate([side, over], axis=1)
        return np.concatenate([half, half[:, -2::-1] * np.array([1, -1, 1])], axis=1)


BODY_SECTION = ((0.0, 0.90), (0.16, 0.965), (0.5, 1.0), (0.78, 0.985), (0.92, 0.95), (1.0, 0.87))
CABIN_SECTION = ((0.0, 1.0), (0.35, 1.0), (0.7, 1.0), (0.86, 0.985), (0.95, 0.95), (1.0, 0.86))


def _body_of(shape: Shape) -> Loft:
    """The car up to its waistline."""
    hood, sill = _rounded(shape.hood), _rounded(shape.sill)
    closer_at_the_ends = shape.length * (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 21)))
    x = np.unique(np.concatenate([hood[:, 0], sill[:, 0], closer_at_the_ends]))
    from_middle = np.abs(2 * x / shape.length - 1) * 0.985  # short of 1, where the car would end in an edge
    return Loft(
        x=x,
        bottom=np.interp(x, *sill.T),
        top=np.interp(x, *hood.T),
        half_width=shape.width / 2 * (1 - from_middle**8) ** (1 / 8),
        section=BODY_SECTION,
        lean=0.0,
    )


def _cabin_of(shape: Shape, body: Loft) -> Loft:
    """The car above its waistline."""
    roof = _rounded(shape.roof)
    x = np.unique(np.concatenate([roof[:, 0], np.linspace(roof[0, 0], roof[-1, 0], 16)]))
    waist = np.interp(x, body.x, body.top)
    return Loft(
        x=x,
        bottom=waist,
        top=np.maximum(np.interp(x, *roof.T), waist),
        half_width=np.interp(x, body.x, body.half_width) * 0.9,
        section=CABIN_SECTION,
        lean=0.24,
    )


def _wheels(car: Car) -> list[Part]:
    shape, radius = car.shape, car.shape.wheel_radius
    rim = Material(car.rims, gloss=0.5, metallic=0.4)
    parts = []
    for x in shape.axles:
        for side in (-1, 1):
            outer, inner = side * (shape.width / 2 - 0.015), side * (shape.width / 2 - 0.24)
            hub = (x, (outer + inner) / 2, radius)
            rounds = [_disc(x, y, radius, radius) for y in (outer, inner)]
            tread = np.stack([rounds[0], np.roll(rounds[0], 1, 0), np.roll(rounds[1], 1, 0), rounds[1]], axis=1)
            parts += [Part(tread, TYRE, UNDER, hub), Part(rounds[1][None], TYRE, UNDER, hub)]
            face = [
                (_disc(x, outer, radius, radius * share)[None], of)
                for share, of in ((1, TYRE), (0.7, rim), (0.62, GAP))
            ]
            face += [(_spokes(x, outer, radius, car.spokes), rim), (_disc(x, outer, radius, radius * 0.16)[None], rim)]
            parts += [Part(corners, of, WHEEL_FACE + level / 10, hub) for level, (corners, of) in enumerate(face)]
    return parts


def _on_body(car: Car, body: Loft, core: Point) -> list[Part]:
    """What lies on the body: wheel arches, seams, handles, lamps, bumpers, grille, plates, a pickup's bed."""
    faces = [
        *((corners, GAP) for corners in _arches(car.shape, body)),
        *((_on_side(body, side, quad), of) for quad, of in _side_fittings(car, body) for side in (-1, 1)),
        *((_on_front(body, quad), of) for quad, of in _front_fittings(car, body)),
        *((_on_rear(body, quad), of) for quad, of in _rear_fittings(car, body)),
    ]
    if car.shape.bed is not None:
        faces.append((_on_top(body, car.shape.bed, share=0.92), GAP))
    return [Part(corners, of, ON_BODY + i / 100, core) for i, (corners, of) in enumerate(faces)]


def _side_fittings(car: Car, body: Loft) -> Iterable[tuple[Quad, Material]]:
    """Quads (x, z) on either side."""
    shape, length = car.shape, car.shape.length
    nose, tail, low = float(body.top[0]), float(body.top[-1]), float(np.median(body.bottom))
    front_wheel, rear_wheel = shape.axles
    clear = shape.wheel_radius + 0.1
    yield _box(front_wheel + clear, rear_wheel - clear, low, low + 0.12), _trim(car)
    yield _box(0, front_wheel - clear, 0, nose - 0.14), _trim(car)
    yield _box(rear_wheel + clear, length, 0, tail - 0.2), _trim(car)
    yield ((0.0, nose - 0.11), (0.0, nose + 0.03), (0.5, nose + 0.15), (0.42, nose + 0.03)), LAMP
    end = length
    yield ((end, tail - 0.12), (end, tail + 0.08), (end - 0.32, tail + 0.22), (end - 0.28, tail)), TAIL_LAMP
    for x in shape.seams:
        yield _box(x, x + 0.018, low + 0.12, body.z_top(x)), GAP
    for x in shape.seams[1:3]:
        waist = body.z_top(x)
        yield _box(x - 0.26, x - 0.08, waist - 0.2, waist - 0.16), PLASTIC


def _front_fittings(car: Car, body: Loft) -> Iterable[tuple[Quad, Material]]:
    """Quads (y, z) on the front."""
    nose, low, half = float(body.top[0]), float(body.bottom[0]), car.shape.width / 2
    yield _box(-half, half, 0, low + 0.1), _trim(car)
    yield _box(-half * 0.5, half * 0.5, low + 0.02, low + 0.11), GAP
    yield _box(-half * 0.4, half * 0.4, nose - 0.09, nose + 0.04), PLASTIC
    for y in (-half, half):
        yield ((y * 0.8, nose - 0.1), (y * 0.8, nose + 0.05), (y * 0.55, nose + 0.04), (y * 0.6, nose - 0.08)), LAMP
    yield _box(-0.26, 0.26, low + 0.09, low + 0.2), PLATE
    yield _box(-0.2, 0.2, low + 0.12, low + 0.17), PLATE_TEXT


def _rear_fittings(car: Car, body: Loft) -> Iterable[tuple[Quad, Material]]:
    """Quads (y, z) on the rear."""
    tail, low, half = float(body.top[-1]), float(body.bottom[-1]), car.shape.width / 2
    yield _box(-half, half, 0, low + 0.14), _trim(car)
    for y in (-half, half):
        lamp = ((y * 0.8, tail - 0.12), (y * 0.8, tail + 0.14), (y * 0.54, tail + 0.14), (y * 0.58, tail - 0.06))
        yield lamp, TAIL_LAMP
    yield _box(-0.26, 0.26, tail - 0.08, tail + 0.05), PLATE
    yield _box(-0.2, 0.2, tail - 0.045, tail + 0.015), PLATE_TEXT


def _trim(car: Car) -> Material:
    """The material of bumpers and sills."""
    red, green, blue = car.paint
    return PLASTIC if car.cladding else Material((red * 0.82, green * 0.82, blue * 0.82), gloss=0.5)


def _glass(car: Car, cabin: Loft, head: Point) -> list[Part]:
    """Windscreen, rear window and side windows."""
    panes = [_on_top(cabin, span, share=0.96) for span in (car.shape.windscreen, car.shape.rear_window)]
    for front_low, front_high, rear_high, rear_low in car.shape.windows:
        front = (front_low, cabin.z_bottom(front_low) + 0.04), (front_high, cabin.z_top(front_high) - 0.1)
        rear = (rear_high, cabin.z_top(rear_high) - 0.1), (rear_low, cabin.z_bottom(rear_low) + 0.04)
        panes += [_on_side(cabin, side, (*front, *rear)) for side in (-1, 1)]
    return [Part(pane, Material(car.glass, gloss=1.0), ON_CABIN, head) for pane in panes]


def _outside_the_cabin(car: Car, cabin: Loft, paint: Material) -> list[Part]:
    """Mirrors, roof rails and antenna."""
    shape = car.shape
    blocks: list[tuple[Block, Material, int]] = []
    x = shape.windows[0][0]
    z = cabin.z_bottom(x) + 0.06
    front, rear = shape.windows[0][1] + 0.3, shape.windows[-1][2] - 0.05
    roof = min(cabin.z_top(front), cabin.z_top(rear))
    for side in (-1, 1):
        out, edge = side * shape.width / 2, side * float(cabin.y(np.array(front), np.array(roof)))
        blocks.append((((x + 0.02, x + 0.1), (out * 0.84, out * 1.08), (z, z + 0.04)), PLASTIC, side))
        blocks.append((((x, x + 0.12), (out, out * 1.2), (z, z + 0.14)), paint, side))
        if car.roof_rails:
            blocks.append((((front, rear), (edge - 0.02, edge + 0.02), (roof, roof + 0.05)), PLASTIC, side))
    if car.antenna:
        blocks.append((((rear, rear + 0.03), (-0.015, 0.015), (roof, roof + 0.25)), PLASTIC, 0))
    return [
        Part(_block(block), of, BEFORE_CABIN + i / 100, _middle(block), side)
        for i, (block, of, side) in enumerate(blocks)
    ]


def _middle(block: Block) -> Point:
    (x0, x1), (y0, y1), (z0, z1) = block
    return (x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2


# Geometry --------------------------------------------------------------------------------------


def _box(left: float, right: float, low: float, high: float) -> Quad:
    return ((left, low), (left, high), (right, high), (right, low))


def _block(block: Block) -> Floats:
    """The six faces of a block, shape (6, 4, 3)."""
    x, y, z = block
    corners = np.array([[[(x[i], y[j], z[k]) for k in (0, 1)] for j in (0, 1)] for i in (0, 1)])
    faces = [corners[i] for i in (0, 1)] + [corners[:, j] for j in (0, 1)] + [corners[:, :, k] for k in (0, 1)]
    return np.stack([face.reshape(4, 3)[[0, 1, 3, 2]] for face in faces])


def _grid(quad: Quad, columns: int = 5, rows: int = 3) -> Floats:
    """Divide a quad into smaller ones, shape (columns * rows, 4, 2), so that it can follow a curved skin."""
    p00, p01, p11, p10 = np.array(quad, dtype=float)
    u, v = np.linspace(0, 1, columns + 1)[:, None, None], np.linspace(0, 1, rows + 1)[None, :, None]
    nodes = (1 - u) * ((1 - v) * p00 + v * p01) + u * ((1 - v) * p10 + v * p11)
    cells = np.stack([nodes[:-1, :-1], nodes[1:, :-1], nodes[1:, 1:], nodes[:-1, 1:]], axis=2)
    return cells.reshape(-1, 4, 2)


def _on_side(loft: Loft, side: int, quad: Quad) -> Floats:
    """Lay a quad (x, z) on one side of the skin; what reaches beyond the skin ends at its edge."""
    x, z = np.moveaxis(_grid(quad), -1, 0)
    z = np.clip(z, np.interp(x, loft.x, loft.bottom), np.interp(x, loft.x, loft.top))
    return np.stack([x, side * loft.y(x, z), z], axis=-1)


def _on_front(loft: Loft, quad: Quad) -> Floats:
    """Lay a quad (y, z) on the front of the skin."""
    y, z = np.moveaxis(_grid(quad), -1, 0)
    z = np.maximum(z, loft.bottom[0])
    x = np.interp(z, np.maximum.accumulate(loft.top), loft.x)
    reach = loft.y(x, z)
    return np.stack([x, np.clip(y, -reach, reach), z], axis=-1)


def _on_rear(loft: Loft, quad: Quad) -> Floats:
    """Lay a quad (y, z) on the rear of the skin."""
    mirrored = replace(
        loft,
        x=loft.x[-1] - loft.x[::-1],
        bottom=loft.bottom[::-1],
        top=loft.top[::-1],
        half_width=loft.half_width[::-1],
    )
    corners = _on_front(mirrored, quad)
    return corners * np.array([-1, 1, 1]) + np.array([loft.x[-1], 0, 0])


def _on_top(loft: Loft, span: tuple[float, float], share: float) -> Floats:
    """Lay a pane on the top of the skin, between two x and over a share of the top's width."""
    x, across = np.moveaxis(_grid(_box(span[0], span[1], -share, share), columns=4, rows=6), -1, 0)
    z = np.interp(x, loft.x, loft.top)
    return np.stack([x, across * loft.y(x, z), z + loft.crown * (1 - across**2)], axis=-1)


def _arches(shape: Shape, body: Loft) -> list[Floats]:
    """The dark gaps around the wheels, one piece for each."""
    arches = []
    for axle in shape.axles:
        for side in (-1, 1):
            x, z = _circle(shape.wheel_radius + 0.07) + np.array([axle, shape.wheel_radius])[:, None]
            z = np.maximum(z, np.interp(x, body.x, body.bottom))
            arches.append(np.stack([x, side * body.y(x, z), z], axis=-1)[None])
    return arches


def _circle(radius: float, corners: int = 28) -> Floats:
    """Shape (2, corners)."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return radius * np.stack([np.cos(turn), np.sin(turn)])


def _disc(x: float, y: float, z: float, radius: float) -> Floats:
    """An upright disc along x, shape (corners, 3)."""
    along, up = _circle(radius)
    return np.stack([x + along, np.full_like(along, y), z + up], axis=-1)


def _spokes(x: float, y: float, radius: float, count: int) -> Floats:
    """Shape (count, 4, 3)."""
    reach, root, tip = radius * 0.64, radius * 0.35 / count**0.5, radius * 0.25 / count**0.5
    turn = np.arange(count) * 2 * np.pi / count + np.pi / 2
    out, across = np.stack([np.cos(turn), np.sin(turn)], -1), np.stack([-np.sin(turn), np.cos(turn)], -1)
    flat = np.stack([-across * root, across * root, out * reach + across * tip, out * reach - across * tip], axis=1)
    return np.stack([x + flat[..., 0], np.full(flat.shape[:2], y), radius + flat[..., 1]], axis=-1)


def _rounded(outline: Outline) -> Floats:
    """Cut the corners of an outline twice (Chaikin); its ends stay."""
    points = np.array(outline)
    for _ in range(2):
        cut = np.stack([0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, 2), points[-1:]])
    return points


# From faces to a photo -------------------------------------------------------------------------

SUPERSAMPLING = 3
"""Samples of a pixel along either axis. Odd, so that no pixel is exactly half car."""
_FRACTION_BITS = 4
"""Of the fixed-point coordinates that OpenCV is given."""
_FAR_OUTSIDE = 30_000
"""Beyond this many samples OpenCV's coordinates could overflow."""

WALL, TURNTABLE = 6.0, 3.3
"""Radius of the floor, at whose end the wall stands, and of the turntable, in metres."""
SIGN: tuple[Outline, ...] = (
    ((0.0, 0.0), (0.0, 1.0), (0.5, 1.0), (0.8, 0.75), (0.8, 0.25), (0.5, 0.0), (0.0, 0.0)),
    ((1.9, 0.0), (1.2, 0.0), (1.2, 1.0), (1.9, 1.0)),
    ((1.2, 0.5), (1.8, 0.5)),
    ((2.3, 0.0), (2.3, 1.0), (2.8, 0.4), (3.3, 1.0), (3.3, 0.0)),
    ((3.7, 0.3), (3.7, 0.7), (3.95, 1.0), (4.4, 1.0), (4.65, 0.7), (4.65, 0.3), (4.4, 0.0), (3.95, 0.0), (3.7, 0.3)),
)
"""Strokes of the word on the wall, DEMO, to the right and up. Its dark letters behind the roof are what
makes brightness alone a poor guide to the car."""


@dataclass(frozen=True)
class View:
    """How one photo is taken."""

    angle: float = 0.0
    """By how many degrees the turntable is turned; at 0 the camera sees the car's front."""
    camera_height: float = 1.6
    """Metres above the floor, from 1.3: above every waistline, on which the order of painting relies."""
    distance: float = 8.5
    """Metres from the camera to the turntable's axis."""
    fill: float = 0.9
    """The share of the photo's width, or of four fifths of its height, that the car takes."""
    off_centre: tuple[float, float] = (0.0, 0.0)
    """The shares of the room beside and above the car by which it is moved, each in [-1, 1]."""
    exposure: float = 1.0
    """Factor on all colours."""
    warmth: float = 0.0
    """Added to the factor on red, taken from that on blue."""
    grain: float = 0.01
    """Standard deviation of the sensor's noise, on a full scale of 1."""
    grain_seed: int = 0
    """The noise is the same for the same seed."""


@dataclass(frozen=True)
class Backdrop:
    """The colours of the empty studio."""

    wall: Colour = (0.93, 0.93, 0.925)
    """Behind the car."""
    floor: Colour = (0.66, 0.67, 0.69)
    """Below it."""


STUDIO = Backdrop()


def random_view(angle: float, rng: np.random.Generator) -> View:
    """Draw how a photo is taken, near `angle` degrees."""
    return View(
        angle=angle + rng.normal(0, 1.0),
        camera_height=rng.uniform(1.5, 1.75),
        distance=rng.uniform(8.0, 9.0),
        fill=rng.uniform(0.76, 0.91),
        off_centre=(rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)),
        exposure=rng.uniform(0.92, 1.06),
        warmth=rng.normal(0, 0.012),
        grain=rng.uniform(0.006, 0.016),
        grain_seed=int(rng.integers(2**32)),
    )


def draw(
    car: Car, view: View, size: tuple[int, int], backdrop: Backdrop = STUDIO
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Take a photo of a car.

    Args:
        car: what stands on the turntable.
        view: how the photo is taken.
        size: (height, width) of the photo in pixels.
        backdrop: the colours of the studio.

    Returns:
        The photo, shape (H, W, 3), uint8, RGB; and its mask, shape (H, W), bool: the pixels of
        which at least half is car. The shadow is not car.
    """
    faces = assemble(car)
    camera = _aim(car, faces, view, size)
    paint_HW4 = _paint(faces, camera, size)
    cover_HW1 = paint_HW4[..., 3:]
    photo_HW3 = paint_HW4[..., :3] + (1 - cover_HW1) * _empty_studio(car, camera, size, backdrop)
    return _develop(photo_HW3, view), cover_HW1[..., 0] >= 0.5


@dataclass(frozen=True)
class Camera:
    """A camera held level. Its own axes are right, down and away from it."""

    turn: Floats
    """Shape (3, 3), from the car's axes to the camera's."""
    at: Floats
    """Shape (3,), where it stands in the car's axes."""
    distance: float
    """Metres to the turntable's axis, straight ahead."""
    focal: float = 1.0
    """Pixels of one metre at one metre's distance."""
    centre: tuple[float, float] = (0.0, 0.0)
    """The pixel (x, y) straight ahead."""

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixels (x, y), shape (..., 2), of points of shape (..., 3) in the car's axes, and distances, shape (...)."""
        seen = (points - self.at) @ self.turn.T
        return seen[..., :2] / seen[..., 2:] * self.focal + np.array(self.centre), seen[..., 2]

    def in_room(self, right: Floats, away: Floats, up: Floats | float = 0.0) -> NDArray[np.int32]:
        """Samples of points of the room, each measured from the foot of the turntable's axis, shape (n, 2)."""
        down = self.at[2] - np.broadcast_to(up, right.shape)
        seen = np.stack([right, down], axis=-1) / (self.distance + away)[:, None]
        return _to_samples(seen * self.focal + np.array(self.centre))


def _aim(car: Car, faces: tuple[Faces, ...], view: View, size: tuple[int, int]) -> Camera:
    """Place the camera, and zoom until the car takes the asked share of the photo."""
    angle = np.deg2rad(view.angle)
    away = np.array([np.cos(angle), np.sin(angle), 0.0])
    turn = np.stack([np.array([-away[1], away[0], 0.0]), np.array([0.0, 0.0, -1.0]), away])
    axis = np.array([car.shape.length * car.stretch[0] / 2, 0.0, view.camera_height])
    camera = Camera(turn, axis - view.distance * away, view.distance)
    seen = np.concatenate([camera.project(group.corners)[0].reshape(-1, 2) for group in faces])
    low, high = seen.min(axis=0), seen.max(axis=0)
    photo = np.array(size[::-1])
    focal = view.fill * float(np.min(photo * np.array([1.0, 0.8]) / (high - low)))
    room = (photo - focal * (high - low)) / 2
    x, y = photo / 2 + room * np.array(view.off_centre) - focal * (low + high) / 2
    return replace(camera, focal=focal, centre=(float(x), float(y)))


def _paint(faces: tuple[Faces, ...], camera: Camera, size: tuple[int, int]) -> Picture:
    """The car on nothing, shape (H, W, 4), in [0, 1]: its cover of each pixel last, its colours times that cover."""
    strokes: list[tuple[float, float, NDArray[np.int32], list[float]]] = []
    for group in faces:
        to_camera = camera.at - group.corners.mean(axis=1)
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        facing = np.sum(group.normals * to_camera, axis=1)
        seen = facing > 0
        colours = 255 * _shade(group, to_camera[:, 2], facing)[seen]
        pixels, distances = camera.project(group.corners[seen])
        hidden_side = (group.sides * camera.at[1] < 0)[seen]
        layers = np.where(hidden_side, BEHIND_CABIN, group.layers[seen])
        strokes += zip(
            layers.tolist(), (-distances.mean(axis=1)).tolist(), _to_samples(pixels), colours.tolist(), strict=True
        )
    canvas = np.zeros((size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING, 4), dtype=np.uint8)
    for _, _, corners, colour in sorted(strokes, key=lambda stroke: stroke[:2]):
        cv2.fillConvexPoly(canvas, corners, (*colour, 255), shift=_FRACTION_BITS)
    return _average(canvas, size)


def _shade(faces: Faces, camera_up: Floats, facing: Floats) -> Floats:
    """Colours under a bright ceiling, shape (n, 3), in [0, 1].

    Args:
        faces: what is lit.
        camera_up: shape (n,), the upward part of the direction from each face to the camera.
        facing: shape (n,), the cosine between that direction and the face's normal.
    """
    up = faces.normals[:, 2]
    rise = np.clip((2 * facing * up - camera_up + 0.12) / 0.5, 0, 1)  # where the mirrored view ends: floor to ceiling
    room = 0.32 + 0.66 * rise**2 * (3 - 2 * rise)
    lit = 0.5 + 0.36 * up + 0.2 * facing
    mirrored = faces.gloss * (0.05 + 0.75 * np.clip(1 - facing, 0, 1) ** 3)
    body = lit * (1 - faces.metallic) + 1.1 * room * faces.metallic
    return np.clip(faces.colours * (body * (1 - mirrored))[:, None] + (mirrored * room)[:, None], 0, 1)


def _empty_studio(car: Car, camera: Camera, size: tuple[int, int], backdrop: Backdrop) -> Picture:
    """Wall, sign, floor, turntable and the car's shadow, shape (H, W, 3)."""
    y = ((np.arange(size[0], dtype=np.float32) + 0.5) / size[0])[:, None, None]
    x = ((np.arange(size[1], dtype=np.float32) + 0.5) / size[1])[None, :, None]
    floor_HW1, ink_HW1 = np.split(_lines(camera, size), 2, axis=2)
    wall_light = 1.02 - 0.16 * np.abs(x - 0.45) ** 1.5 + 0.05 * (0.5 - y)
    floor_light = 0.88 + 0.26 * np.exp(-(((x - 0.5) / 0.45) ** 2)) * np.exp(-(((y - 0.8) / 0.3) ** 2))
    light = (1 - 0.7 * ink_HW1) * (1 - _shadow(car, camera, size)[..., None])
    light *= 1 - 0.22 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)  # the lens darkens the corners
    wall, floor = (np.array(colour, dtype=np.float32) for colour in (backdrop.wall, backdrop.floor))
    room = light * ((1 - floor_HW1) * wall_light * wall + floor_HW1 * floor_light * floor)
    return room.astype(np.float32, copy=False)


def _lines(camera: Camera, size: tuple[int, int]) -> Picture:
    """How much of each pixel is floor, and how dark the lines on it are, shape (H, W, 2), in [0, 1]."""
    canvas = np.zeros((size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING, 2), dtype=np.uint8)
    arc = np.linspace(-np.pi / 2, np.pi / 2, 60)
    beside, close = 2 * WALL, 1.0 - camera.distance
    right = np.concatenate([[-beside], WALL * np.sin(arc), [beside]])
    floor = camera.in_room(right, np.concatenate([[close], WALL * np.cos(arc), [close]]))
    cv2.fillPoly(canvas, [floor], (255, 0), shift=_FRACTION_BITS)
    metre = camera.focal / camera.distance * SUPERSAMPLING
    thin, thick = max(1, round(0.02 * metre)), max(1, round(0.13 * metre))
    right, away = TURNTABLE * _circle(1.0, corners=120)
    cv2.polylines(canvas, [camera.in_room(right, away)], True, (255, 110), thin, shift=_FRACTION_BITS)
    for end in range(7, 120, 15):
        seam = camera.in_room(np.array([0, right[end]]), np.array([0, away[end]]))
        cv2.polylines(canvas, [seam], False, (255, 30), thin, shift=_FRACTION_BITS)
    for stroke in SIGN:
        right, up = np.array([-3.5, 1.55])[:, None] + np.array([1.5, 1.1])[:, None] * np.array(stroke).T
        sign = camera.in_room(right, np.full_like(right, WALL), up)
        cv2.polylines(canvas, [sign], False, (0, 255), thick, shift=_FRACTION_BITS)
    return _average(canvas, size)


def _shadow(car: Car, camera: Camera, size: tuple[int, int]) -> Picture:
    """How much of the floor's light the car takes, shape (H, W), in [0, 1]."""
    length, width = car.shape.length * car.stretch[0], car.shape.width * car.stretch[1]
    along, across = _circle(1.0, corners=60)
    coarse = 1 + min(size) // 80  # a blur has no detail, so it is drawn small
    small = (-(-size[0] // coarse), -(-size[1] // coarse))
    left = np.ones(small, dtype=np.float32)
    for spread, blur, depth in ((0.0, 0.07, 0.6), (0.15, 0.3, 0.38)):  # close under the car, and around it
        x = length / 2 + (length / 2 + spread) * np.sign(along) * np.abs(along) ** 0.4
        y = (width / 2 + spread) * np.sign(across) * np.abs(across) ** 0.4
        corners, _ = camera.project(np.stack([x, y, np.zeros_like(x)], axis=-1))
        footprint = np.zeros(small, dtype=np.float32)
        fixed = np.rint((corners / coarse - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
        cv2.fillConvexPoly(footprint, fixed, depth, shift=_FRACTION_BITS)
        sigma = blur * camera.focal / camera.distance / coarse
        left *= 1 - cv2.GaussianBlur(footprint, (0, 0), max(sigma, 0.3))
    whole = cv2.resize(left, (small[1] * coarse, small[0] * coarse), interpolation=cv2.INTER_CUBIC)
    return np.asarray(1 - np.clip(whole[: size[0], : size[1]], 0, 1), dtype=np.float32)


def _develop(photo_HW3: Picture, view: View) -> NDArray[np.uint8]:
    """Exposure, white balance, a slight unevenness and grain."""
    rng = np.random.default_rng(view.grain_seed)
    height, width, _ = photo_HW3.shape
    uneven = cv2.resize(rng.standard_normal((7, 10), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    balance = np.array([1 + view.warmth, 1.0, 1 - view.warmth]) * view.exposure
    developed = photo_HW3 * balance.astype(np.float32) * (1 + np.float32(0.012) * uneven[..., None])
    developed += rng.standard_normal(photo_HW3.shape, dtype=np.float32) * np.float32(view.grain)
    return np.clip(np.rint(developed * 255), 0, 255).astype(np.uint8)


def _to_samples(pixels: Floats) -> NDArray[np.int32]:
    """Pixels as OpenCV's fixed-point samples. Here a pixel's middle is at one half, there a sample's is at 0."""
    samples = np.clip(pixels * SUPERSAMPLING - 0.5, -_FAR_OUTSIDE, _FAR_OUTSIDE)
    return np.rint(samples * 2**_FRACTION_BITS).astype(np.int32)


def _average(canvas: NDArray[np.uint8], size: tuple[int, int]) -> Picture:
    """The mean over each pixel's samples, 255 as 1."""
    small = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)
