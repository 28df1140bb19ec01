"""Pictures of shallow clouds over the sea as a satellite sees them, in boxes of four kinds of clouds.

What tells the kinds apart is how large their clouds are and how they lie: fish are long ribs, flowers large round
clouds, gravel small ones, and sugar is dust. Patches may overlap, and all are equally bright. Knows nothing of
competitions, names or files.

A sky's axes: x to the right and y down from the upper left corner, both in heights of the picture.

H height, W width.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.demo.noise import blurred_noise

_cloud = partial(blurred_noise, least=0.3)


KINDS = ("fish", "flower", "gravel", "sugar")
BLURS = ((0.10, 0.014), (0.035, 0.035), (0.018, 0.018), (0.005, 0.005))
"""How large the clouds of each kind are along x and y, in heights of the picture."""
SHARE = 0.45
"""How often a sky has clouds of one kind."""
VEIL = 0.25
"""How bright a box is between its clouds, in [0, 1]."""
SEA, CLOUD = (24, 44, 72), (214, 218, 222)
"""RGB."""


@dataclass(frozen=True)
class Patch:
    """A box full of clouds of one kind."""

    kind: int
    """Which of `KINDS`."""
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Sky:
    """One picture."""

    patches: tuple[Patch, ...]
    haze: float
    """How bright the sea is between clouds, in [0, 1]."""
    seed: int
    """Of clouds and noise."""

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Draw the sky, `size` being (height, width) in pixels.

        Returns:
            The picture, shape (H, W, 3), uint8, RGB; and the masks, shape (4, H, W), bool, of fish, flowers, gravel and
            sugar: the boxes in which these clouds are, and not the clouds alone.
        """
        rng = np.random.default_rng(self.seed)
        masks_KHW = np.stack([_boxes([patch for patch in self.patches if patch.kind == k], size) for k in range(4)])
        white_HW = self.haze * np.clip(0.5 + 0.3 * _cloud(size, (0.3, 0.3), rng), 0, 1)
        for mask_HW, blur in zip(masks_KHW, BLURS, strict=True):
            clouds_HW = 1 / (1 + np.exp(-5 * (_cloud(size, blur, rng) - 0.4)))
            white_HW = np.maximum(white_HW, (VEIL + (1 - VEIL) * clouds_HW) * mask_HW)
        white_HW = np.clip(white_HW + 0.02 * rng.standard_normal(size), 0, 1)
        sea, cloud = np.array(SEA), np.array(CLOUD)
        return np.rint(sea + white_HW[..., None] * (cloud - sea)).astype(np.uint8), masks_KHW


def random_sky(rng: np.random.Generator) -> Sky:
    """Invent a sky."""
    patches = tuple(_random_patch(kind, rng) for kind in range(len(KINDS)) if rng.random() < SHARE)
    return Sky(patches, haze=rng.uniform(0.05, 0.25), seed=int(rng.integers(2**32)))


def _random_patch(kind: int, rng: np.random.Generator) -> Patch:
    """One that lies within a picture of half as much again in width as in height."""
    width, height = rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.8)
    left, top = rng.uniform(0, 1.5 - width), rng.uniform(0, 1 - height)
    return Patch(kind, left, top, left + width, top + height)


def _boxes(patches: list[Patch], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose middle lies in a patch."""
    rows_HW, columns_HW = np.indices(size)
    x_HW, y_HW = (columns_HW + 0.5) / size[0], (rows_HW + 0.5) / size[0]
    mask_HW = np.zeros(size, dtype=bool)
    for patch in patches:
        mask_HW |= (patch.left <= x_HW) & (x_HW < patch.right) & (patch.top <= y_HW) & (y_HW < patch.bottom)
    return mask_HW
