"""Small submissions, samples and masks, as files."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.data.images import write_mask

STEMS = ["b_01", "a_02", "a_01"]
SHAPE = (4, 6)


def draw_masks(folder: Path, stems: list[str], shape: tuple[int, int] = SHAPE) -> dict[str, NDArray[np.bool_]]:
    generator = np.random.default_rng(0)
    masks = {stem: generator.random(shape) < 0.5 for stem in stems}
    for stem, mask in masks.items():
        write_mask(folder / f"{stem}.png", mask)
    return masks


def write_rows(path: Path, rows: list[tuple[str, ...]], header: str = "img,rle_mask") -> Path:
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


def write_sample(path: Path, stems: list[str] = STEMS) -> Path:
    return write_rows(path, [(f"{stem}.jpg", "1 1") for stem in stems])


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


VALID = [("b_01.jpg", "1 2 5 1"), ("a_02.jpg", "24 1"), ("a_01.jpg", "3 3")]
"""Rows of a whole submission."""
