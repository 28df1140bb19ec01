"""Run-length encoding of masks: `start length start length …`, the form in which Kaggle takes them.

Knows nothing of files or competitions; the pixel order and the number of the first pixel are given.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["row-major", "column-major"]
"""`row-major` counts pixels along each row first (Carvana), `column-major` down each column first."""

Runs = NDArray[np.int64]
"""Shape (n, 2), one row for each run: its first pixel, counted from 0, and its length in pixels."""


def encode(mask_HW: NDArray[np.bool_], order: Order = "row-major", first: int = 1) -> str:
    """Encode a mask of shape (H, W); a blank mask gives the empty string.

    `first` is the number that the competition gives to the first pixel.
    """
    runs = find_runs(_flat(mask_HW, order))
    runs[:, 0] += first
    return " ".join(map(str, runs.ravel().tolist()))


def decode(text: str, shape: tuple[int, int], order: Order = "row-major", first: int = 1) -> NDArray[np.bool_]:
    """The mask, shape (H, W) and bool, that `encode` made `text` of.

    Raises:
        ValueError: `text` is not a valid encoding of a mask of this shape (see `parse`).
    """
    height, width = shape
    flat = np.zeros(height * width, dtype=bool)
    for start, length in parse(text, height * width, first).tolist():
        flat[start : start + length] = True
    return flat.reshape(shape) if order == "row-major" else flat.reshape(width, height).T


def parse(text: str, pixels: int, first: int = 1) -> Runs:
    """Read the runs of `text` and check them against a mask of `pixels` pixels.

    Raises:
        ValueError: something other than plain decimal numbers, an odd count of them, a length that
            is not positive, runs out of order or overlapping, or a run outside the mask.
    """
    words = text.split()
    if len(words) % 2:
        raise ValueError(f"{len(words)} numbers, but every start needs a length")
    strange = next((word for word in words if not (word.isascii() and word.isdigit())), None)
    if strange is not None:
        raise ValueError(f"{strange[:40]!r} is not a number")
    if max(map(len, words), default=0) > 18:  # would not fit into 64 bits
        raise ValueError("a number of more than 18 digits")
    runs = np.array(list(map(int, words)), dtype=np.int64).reshape(-1, 2)
    runs[:, 0] -= first
    starts, ends = runs[:, 0], runs.sum(axis=1)
    if (runs[:, 1] < 1).any():
        raise ValueError("a run of length 0")
    if (starts[1:] < ends[:-1]).any():
        raise ValueError("the runs overlap or are not in ascending order")
    if len(runs) and (starts[0] < 0 or ends[-1] > pixels):
        raise ValueError(f"a run lies outside the mask, whose pixels are {first} to {pixels + first - 1}")
    return runs


def find_runs(flat: NDArray[np.bool_]) -> Runs:
    """The runs of True in a one-dimensional array.

    One False at either end makes a run that touches the border change value like any other: without
    it the much-copied kernels get a set first or last pixel wrong.
    """
    padded = np.zeros(flat.size + 2, dtype=bool)
    padded[1:-1] = flat
    edges = np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)
    edges[:, 1] -= edges[:, 0]
    return edges


def _flat(mask_HW: NDArray[np.bool_], order: Order) -> NDArray[np.bool_]:
    return mask_HW.ravel() if order == "row-major" else mask_HW.T.ravel()
