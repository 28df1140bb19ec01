"""Photos of noise, with masks of noise: every pixel counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo

SIZE = (30, 44)


def photo_pixels(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def mask_pixels(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    return np.random.default_rng(100 + number).random(size) < 0.4


def draw(folder: Path, number: int, size: tuple[int, int] = SIZE) -> Photo:
    photo, mask = folder / f"{number}.png", folder / f"{number}_mask.png"
    Image.fromarray(photo_pixels(number, size)).save(photo)
    write_mask(mask, mask_pixels(number, size))
    return Photo(str(number), photo, size, mask)


def with_classes(photos: list[Photo]) -> Photo:
    """The first of these photos, of the same size, with the masks of all of them as those of classes a, b, …"""
    first = photos[0]
    of_classes = (replace(first, stem=f"{first.stem}_{chr(97 + at)}", mask=one.mask) for at, one in enumerate(photos))
    return replace(first, mask=None, of_classes=tuple(of_classes))
