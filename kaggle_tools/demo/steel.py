"""Pictures of a steel sheet as a camera over the rolls sees it: wide and gray, with defects of four kinds on some.

Pits are small dark dots, cracks thin dark lines across the sheet, scratches long bright ones along it, and scale is a
rough patch of the sheet's own brightness. Any of them may lie on others. Knows nothing of competitions, names or files.

A sheet's axes: x to the right and y down from the upper left corner, both in heights of the picture.

H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.demo.noise import Field, blurred_noise

_cloud = partial(blurred_noise, least=0.3)


Line = tuple[float, float, float, float, float]
"""x and y of the middle, half of the length, half of the width, and the angle in radians, 0 being to the right."""

SHARES = (0.3, 0.25, 0.4, 0.3)
"""How often a sheet has defects of each kind."""
LENGTH = 6.25
"""The width of a sheet that shows all defects; a narrower picture shows its left part."""


@dataclass(frozen=True)
class Sheet:
    """One picture."""

    defects: tuple[tuple[Line, ...], ...]
    """The lines, or ellipses, of pits, of cracks, of scratches and of scale."""
    brightness: float
    """Of the sheet, in [0, 255]."""
    seed: int
    """Of its texture."""

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Draw the sheet, `size` being (height, width) in pixels.

        Returns:
            The picture, shape (H, W, 3), uint8, gray in all three channels; and the masks, shape (4, H, W), bool, of
            pits, cracks, scratches and scale.
        """
        rng = np.random.default_rng(self.seed)
        light_HW = self.brightness + 14 * _cloud(size, (0.6, 0.6), rng) + 5 * _cloud(size, (0.05, 0.01), rng)
        depths = [_depth(lines, size) for lines in self.defects]
        pits_HW, cracks_HW, scratches_HW, scale_HW = (np.clip(0.5 + depth_HW * size[0], 0, 1) for depth_HW in depths)
        light_HW += scale_HW * 34 * _cloud(size, (0.015, 0.015), rng)
        light_HW += 60 * scratches_HW - 55 * cracks_HW - 60 * pits_HW
        gray_HW = np.clip(np.rint(light_HW), 0, 255).astype(np.uint8)
        return np.repeat(gray_HW[..., None], 3, axis=2), np.stack([depth_HW > 0 for depth_HW in depths])


def random_sheet(rng: np.random.Generator) -> Sheet:
    """Invent a sheet."""
    kinds: tuple[Callable[[np.random.Generator], tuple[Line, ...]], ...] = (_pits, _cracks, _scratches, _scale)
    found = (kind(rng) if rng.random() < share else () for kind, share in zip(kinds, SHARES, strict=True))
    return Sheet(tuple(found), brightness=rng.uniform(85, 140), seed=int(rng.integers(2**32)))


def _pits(rng: np.random.Generator) -> tuple[Line, ...]:
    """A swarm of dots."""
    x, y = rng.uniform(0.5, LENGTH - 0.5), rng.uniform(0.3, 0.7)
    return tuple(
        (x + rng.normal(0, 0.3), y + rng.normal(0, 0.2), radius, radius, 0.0)
        for radius in rng.uniform(0.05, 0.09, size=rng.integers(8, 20))
    )


def _cracks(rng: np.random.Generator) -> tuple[Line, ...]:
    """A few lines from top to bottom."""
    return tuple(
        (
            rng.uniform(0.2, LENGTH - 0.2),
            rng.uniform(0.4, 0.6),
            rng.uniform(0.3, 0.6),
            0.04,
            rng.normal(np.pi / 2, 0.1),
        )
        for _ in range(rng.integers(1, 4))
    )


def _scratches(rng: np.random.Generator) -> tuple[Line, ...]:
    """Some lines from left to right."""
    return tuple(
        (rng.uniform(0.5, LENGTH - 0.5), rng.uniform(0.1, 0.9), rng.uniform(0.4, 1.2), 0.045, rng.normal(0, 0.1))
        for _ in range(rng.integers(2, 6))
    )


def _scale(rng: np.random.Generator) -> tuple[Line, ...]:
    """One patch or two."""
    return tuple(
        (rng.uniform(0.5, LENGTH - 0.5), rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.45), 0.0)
        for _ in range(rng.integers(1, 3))
    )


def _depth(lines: tuple[Line, ...], size: tuple[int, int]) -> Field:
    """How deep a pixel lies within the lines, about in heights of the picture; below 0 outside of all."""
    rows_HW, columns_HW = np.indices(size)
    x_HW, y_HW = (columns_HW + 0.5) / size[0], (rows_HW + 0.5) / size[0]
    depth_HW = np.full(size, -1.0)
    for x, y, length, width, angle in lines:
        along_HW = (x_HW - x) * np.cos(angle) + (y_HW - y) * np.sin(angle)
        across_HW = (y_HW - y) * np.cos(angle) - (x_HW - x) * np.sin(angle)
        depth_HW = np.maximum(depth_HW, width * (1 - np.hypot(along_HW / length, across_HW / width)))
    return depth_HW
