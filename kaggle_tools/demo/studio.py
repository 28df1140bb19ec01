"""A drawn photo studio: takes one photo of one car, and its exact mask.

The faces of a car are lit, projected in perspective and painted from far to near; photo and mask come
from the same paint. Knows nothing of what a car is made of, nor of competitions, names or files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kaggle_tools.demo.cars import BEHIND_CABIN, Car, Colour, Faces, Floats, Outline, circle, faces_of

Rendering = NDArray[np.float32]

SUPERSAMPLING = 3
"""Samples of a pixel along either axis. Odd, so that no pixel is exactly half car."""
FRACTION_BITS = 4
"""Of the fixed-point coordinates that OpenCV is given."""
WALL_COLOUR, FLOOR_COLOUR = (0.93, 0.93, 0.925), (0.66, 0.67, 0.69)
DISTANCE, WALL, TURNTABLE = 8.5, 6.0, 3.3
"""Metres from the turntable's axis to the camera, to the wall around the floor, and to the turntable's edge."""
SIGN: tuple[Outline, ...] = (
    ((0.0, 0.0), (0.0, 1.0), (0.5, 1.0), (0.8, 0.75), (0.8, 0.25), (0.5, 0.0), (0.0, 0.0)),
    ((1.9, 0.0), (1.2, 0.0), (1.2, 0.5), (1.8, 0.5), (1.2, 0.5), (1.2, 1.0), (1.9, 1.0)),
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
    fill: float = 0.9
    """The share of the photo's width, or of four fifths of its height, that the car takes."""
    off_centre: tuple[float, float] = (0.0, 0.0)
    """The shares of the room beside and above the car by which it is moved, each in [-1, 1]."""
    balance: Colour = (1.0, 1.0, 1.0)
    """Exposure and white balance: factors on red, green and blue."""
    grain: float = 0.01
    """Standard deviation of the sensor's noise, on a full scale of 1."""
    grain_seed: int = 0
    """The noise is the same for the same seed."""


def random_view(angle: float, rng: np.random.Generator) -> View:
    """Draw how a photo is taken, near `angle` degrees."""
    exposure, warmth = rng.uniform(0.92, 1.06), rng.normal(0, 0.012)
    return View(
        angle=angle + rng.normal(0, 1.0),
        camera_height=rng.uniform(1.5, 1.75),
        fill=rng.uniform(0.76, 0.91),
        off_centre=(rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)),
        balance=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        grain=rng.uniform(0.006, 0.016),
        grain_seed=int(rng.integers(2**32)),
    )


def draw(car: Car, view: View, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Take a photo of a car, `size` being its (height, width) in pixels.

    Returns:
        The photo, shape (H, W, 3), uint8, RGB; and its mask, shape (H, W), bool: the pixels of
        which at least half is car. The shadow is not car.
    """
    camera = aim(car, view, size)
    paint_HW4 = _paint(faces_of(car), camera, size)
    cover_HW1 = paint_HW4[..., 3:]
    photo_HW3 = paint_HW4[..., :3] + (1 - cover_HW1) * _empty_studio(car, camera, size)
    return _develop(photo_HW3, view), cover_HW1[..., 0] >= 0.5


@dataclass(frozen=True)
class Camera:
    """A camera held level. Its own axes are right, down and away from it."""

    turn: Floats
    """Shape (3, 3), from the car's axes to the camera's."""
    at: Floats
    """Shape (3,), where it stands in the car's axes."""
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
        seen = np.stack([right, down], axis=-1) / (DISTANCE + away)[:, None]
        return _to_samples(seen * self.focal + np.array(self.centre))


def aim(car: Car, view: View, size: tuple[int, int]) -> Camera:
    """Place the camera, and zoom until the car takes the asked share of the photo."""
    angle = np.deg2rad(view.angle)
    away = np.array([np.cos(angle), np.sin(angle), 0.0])
    turn = np.stack([np.array([-away[1], away[0], 0.0]), np.array([0.0, 0.0, -1.0]), away])
    axis = np.array([car.footprint[0] / 2, 0.0, view.camera_height])
    camera = Camera(turn, axis - DISTANCE * away)
    seen, _ = camera.project(np.concatenate([faces.corners.reshape(-1, 3) for faces in faces_of(car)]))
    low, high = seen.min(axis=0), seen.max(axis=0)
    photo = np.array(size[::-1])
    focal = view.fill * float(np.min(photo * np.array([1.0, 0.8]) / (high - low)))
    room = (photo - focal * (high - low)) / 2
    x, y = photo / 2 + room * np.array(view.off_centre) - focal * (low + high) / 2
    return replace(camera, focal=focal, centre=(float(x), float(y)))


def _paint(parts: Sequence[Faces], camera: Camera, size: tuple[int, int]) -> Rendering:
    """The car on nothing, shape (H, W, 4), in [0, 1]: its cover of each pixel last, its colours times that cover."""
    strokes: list[tuple[float, float, NDArray[np.int32], list[float]]] = []
    for faces in parts:
        layer = BEHIND_CABIN if faces.side * camera.at[1] < 0 else faces.layer
        colours, seen = _shade(faces, camera)
        pixels, distances = camera.project(faces.corners[seen])
        farthest_first = (-distances.mean(axis=1)).tolist()
        strokes += zip([layer] * len(pixels), farthest_first, _to_samples(pixels), colours[seen].tolist(), strict=True)
    canvas = np.zeros((size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING, 4), dtype=np.uint8)
    for _, _, corners, colour in sorted(strokes, key=lambda stroke: stroke[:2]):
        cv2.fillConvexPoly(canvas, corners, (*colour, 255), shift=FRACTION_BITS)
    return _average(canvas, size)


def _shade(faces: Faces, camera: Camera) -> tuple[Floats, NDArray[np.bool_]]:
    """Colours under a bright ceiling, shape (n, 3), in [0, 255], and which faces show their outer side, shape (n,)."""
    to_camera = camera.at - faces.corners.mean(axis=1)
    to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
    facing, up = np.sum(faces.normals * to_camera, axis=1), faces.normals[:, 2]
    of = faces.material
    # Where the mirrored view ends: floor to ceiling.
    rise = np.clip((2 * facing * up - to_camera[:, 2] + 0.12) / 0.5, 0, 1)
    room = 0.32 + 0.66 * rise**2 * (3 - 2 * rise)
    lit = 0.5 + 0.36 * up + 0.2 * facing
    mirrored = of.gloss * (0.05 + 0.75 * np.clip(1 - facing, 0, 1) ** 3)
    body = lit * (1 - of.metallic) + 1.1 * room * of.metallic
    colours = np.array(of.colour) * (body * (1 - mirrored))[:, None] + (mirrored * room)[:, None]
    return 255 * np.clip(colours, 0, 1), facing > 0


def _empty_studio(car: Car, camera: Camera, size: tuple[int, int]) -> Rendering:
    """Wall, sign, floor, turntable and the car's shadow, shape (H, W, 3)."""
    y = ((np.arange(size[0], dtype=np.float32) + 0.5) / size[0])[:, None, None]
    x = ((np.arange(size[1], dtype=np.float32) + 0.5) / size[1])[None, :, None]
    floor_HW1, ink_HW1 = np.split(_lines(camera, size), 2, axis=2)
    wall_light = 1.02 - 0.16 * np.abs(x - 0.45) ** 1.5 + 0.05 * (0.5 - y)
    floor_light = 0.88 + 0.26 * np.exp(-(((x - 0.5) / 0.45) ** 2)) * np.exp(-(((y - 0.8) / 0.3) ** 2))
    light = (1 - 0.7 * ink_HW1) * (1 - _shadow(car, camera, size)[..., None])
    light *= 1 - 0.22 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)  # the lens darkens the corners
    wall, floor = np.array([WALL_COLOUR, FLOOR_COLOUR], dtype=np.float32)
    return np.asarray(light * ((1 - floor_HW1) * wall_light * wall + floor_HW1 * floor_light * floor), dtype=np.float32)


def _lines(camera: Camera, size: tuple[int, int]) -> Rendering:
    """How much of each pixel is floor, and how dark the lines on it are, shape (H, W, 2), in [0, 1]."""
    canvas = np.zeros((size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING, 2), dtype=np.uint8)
    arc = np.linspace(-np.pi / 2, np.pi / 2, 60)
    beside, close = 2 * WALL, 1.0 - DISTANCE
    right = np.concatenate([[-beside], WALL * np.sin(arc), [beside]])
    floor = camera.in_room(right, np.concatenate([[close], WALL * np.cos(arc), [close]]))
    cv2.fillPoly(canvas, [floor], (255, 0), shift=FRACTION_BITS)
    metre = camera.focal / DISTANCE * SUPERSAMPLING
    thin, thick = max(1, round(0.02 * metre)), max(1, round(0.13 * metre))
    right, away = circle(TURNTABLE, corners=120).T
    cv2.polylines(canvas, [camera.in_room(right, away)], True, (255, 110), thin, shift=FRACTION_BITS)
    for end in range(7, 120, 15):
        seam = camera.in_room(np.array([0, right[end]]), np.array([0, away[end]]))
        cv2.polylines(canvas, [seam], False, (255, 30), thin, shift=FRACTION_BITS)
    for stroke in SIGN:
        right, up = np.array([-3.5, 1.55])[:, None] + np.array([1.5, 1.1])[:, None] * np.array(stroke).T
        sign = camera.in_room(right, np.full_like(right, WALL), up)
        cv2.polylines(canvas, [sign], False, (0, 255), thick, shift=FRACTION_BITS)
    return _average(canvas, size)


def _shadow(car: Car, camera: Camera, size: tuple[int, int]) -> Rendering:
    """How much of the floor's light the car takes, shape (H, W), in [0, 1]."""
    y, x = np.ogrid[0.5 : size[0], 0.5 : size[1]]
    # Where the pixel looks at the floor, first seen from the camera, then in the car's axes.
    ahead = camera.at[2] * camera.focal / np.maximum(y - camera.centre[1], 1.0)
    right = (x - camera.centre[0]) / camera.focal * ahead
    along, across = (camera.at[i] + right * camera.turn[0, i] + ahead * camera.turn[2, i] for i in (0, 1))
    length, width = car.footprint
    corner = 0.5
    beside = [np.abs(along - length / 2) - length / 2, np.abs(across) - width / 2]
    outside = np.hypot(*(np.maximum(beyond + corner, 0) for beyond in beside)) - corner
    close, around = (0.5 - 0.5 * np.tanh((outside - spread) / blur) for spread, blur in ((0.0, 0.12), (0.2, 0.5)))
    return np.asarray(1 - (1 - 0.6 * close) * (1 - 0.38 * around), dtype=np.float32)


def _develop(photo_HW3: Rendering, view: View) -> NDArray[np.uint8]:
    """Exposure, white balance and grain."""
    noise = np.random.default_rng(view.grain_seed).standard_normal(photo_HW3.shape, dtype=np.float32)
    developed = photo_HW3 * np.array(view.balance, dtype=np.float32) + np.float32(view.grain) * noise
    return np.asarray(np.clip(np.rint(developed * 255), 0, 255), dtype=np.uint8)


def _to_samples(pixels: Floats) -> NDArray[np.int32]:
    """Pixels as OpenCV's fixed-point samples. Here a pixel's middle is at one half, there a sample's is at 0."""
    samples = np.clip(pixels * SUPERSAMPLING - 0.5, -30_000, 30_000)  # farther out OpenCV could overflow
    return np.asarray(np.rint(samples * 2**FRACTION_BITS), dtype=np.int32)


def _average(canvas: NDArray[np.uint8], size: tuple[int, int]) -> Rendering:
    """The mean over each pixel's samples, 255 as 1."""
    small = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)
