"""Random changes of photo and mask alike, with albumentations. Knows nothing of files or torch."""

import os
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the internet for a newer version at import
import albumentations as A

from kaggle_tools.data.images import Size

TRANSFORMS: dict[str, list[A.BasicTransform]] = {
    "none": [],
    "hflip": [A.HorizontalFlip(p=0.5)],
    # Of preset `seed`.
    "seed": [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.1), A.Rotate(limit=35, p=1.0)],
    # What Carvana's winners used; one of their teams warns against the vertical flip.
    "mild": [
        A.HorizontalFlip(p=0.5),
        A.Affine(
            scale=(0.9, 1.1),
            translate_percent=(-0.1, 0.1),
            rotate=(-10, 10),
            border_mode=cv2.BORDER_REPLICATE,  # reflecting would show a second piece of the car
            p=0.7,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=20, val_shift_limit=10, p=0.3),
        A.ToGray(p=0.1),
    ],
}
"""The augmentations by name."""
FLIPS = {A.HorizontalFlip: -1, A.VerticalFlip: -2}
"""The axis of a photo that each of them flips, counted from the last one."""


def flipped_axes(name: str) -> set[int]:
    """Along which axes of a photo (-2 upside down, -1 left to right) an augmentation flips some photos."""
    return {FLIPS[type(transform)] for transform in TRANSFORMS[name] if type(transform) in FLIPS}


class Augmenter:
    """Changes a photo (H, W, 3) and its mask (H, W), or its masks (H, W, C), all uint8, in the same way.

    The same (seed, epoch, index) always gives the same change. albumentations' own generator must not
    decide: it is copied into every worker process, which then draw alike, and starts over every epoch.

    Args:
        name: of the changes.
        seed: of all of them.
        cropped: how large a part, (height, width), is kept of a photo of this (height, width); it holds some
            foreground where there is any. Without, all is kept.
    """

    def __init__(self, name: str, seed: int, cropped: Callable[[Size], Size] | None = None) -> None:
        self.seed = seed
        self.name = name
        self.cropped = cropped
        self.by_size: dict[Size, A.Compose] = {}

    def __call__(
        self, photo_HW3: NDArray[np.uint8], mask: NDArray[np.uint8], epoch: int, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The changed photo and mask, of the same shapes but for what is cropped."""
        compose = self._compose(photo_HW3.shape[:2])
        compose.set_random_seed(int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0]))
        changed = compose(image=photo_HW3, mask=mask)
        return changed["image"], changed["mask"]

    def _compose(self, size: Size) -> A.Compose:
        """All changes of photos of this size."""
        if size not in self.by_size:
            kept = self.cropped(size) if self.cropped else size
            crop = [A.CropNonEmptyMaskIfExists(*kept)] if kept != size else []
            # A mask holds covered shares, 0 to 255, so it is interpolated like a photo.
            self.by_size[size] = A.Compose([*TRANSFORMS[self.name], *crop], mask_interpolation=cv2.INTER_LINEAR)
        return self.by_size[size]
