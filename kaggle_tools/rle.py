"""Run-length encoding of masks: `start length start length …`, the form in which Kaggle takes them.

Knows nothing of files or competitions; the pixel order and the number of the first pixel are given.
"""

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["row-major", "column-major"]
"""`row-major` counts pixels along each row first (Carvana), `column-major` down each column first."""

Runs = NDArray[np.int64]
"""Shape (n, 2), one row for each run: its first pixel, counted from 0, and its length in pixels."""

_STRANGE = re.compile(r"[^0-9\s]", re.ASCII)
_SPACES = re.compile(r"\s+", re.ASCII)


def encode(mask_HW: NDArray[np.bool_], order: Order = "row-major", first: int = 1) -> str:
    """Encode a mask of shape (H, W); a blank mask gives the empty string.

    `first` is the number that the competition gives to the first pixel.

    Raises:
        TypeError: the mask is not bool. Gray levels and probabilities have to be compared with something first.
    """
    runs = find_runs(mask_HW, order)
    runs[:, 0] += first
    # One format for all numbers: `str` on each takes half as long again.
    return " ".join(["%d %d"] * len(runs)) % tuple(runs.ravel().tolist())


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


def parse(text: str, pixels: int | None, first: int = 1) -> Runs:
    """Read the runs of `text` and check them against a mask of `pixels` pixels.

    Where the size of the mask is not known, `pixels` is None and the last run may end anywhere.

    Raises:
        ValueError: something other than plain decimal numbers, spaces alone, an odd count of numbers, a length
            that is not positive, runs out of order or overlapping, or a run outside the mask.
    """
    runs = _numbers(text).reshape(-1, 2)
    runs[:, 0] -= first
    starts, ends = runs[:, 0], runs.sum(axis=1)
    if (runs[:, 1] < 1).any():
        raise ValueError("a run of length 0")
    if (starts[1:] < ends[:-1]).any():
        raise ValueError("the runs overlap or are not in ascending order")
    if len(runs) and starts[0] < 0:
        raise ValueError(f"a run starts at pixel {starts[0] + first}, but the first one is {first}")
    if len(runs) and pixels is not None and ends[-1] > pixels:
        raise ValueError(f"a run ends at pixel {ends[-1] + first - 1}, but the last one is {pixels + first - 1}")
    return runs


def find_runs(mask_HW: NDArray[np.bool_], order: Order = "row-major") -> Runs:
    """The runs of True in a mask of shape (H, W), the pixels counted from 0 in the given order.

    Raises:
        TypeError: the mask is not bool.
    """
    if mask_HW.dtype != np.bool_:
        raise TypeError(f"a mask is bool, not {mask_HW.dtype}: compare first, as in `mask > 0`")
    flat = mask_HW.ravel() if order == "row-major" else mask_HW.T.ravel()
    changes = np.empty(-(-(flat.size + 1) // 8) * 8, dtype=bool)  # rounded up to whole words, for `_set_places`
    np.not_equal(flat[1:], flat[:-1], out=changes[1 : flat.size])
    # Outside the mask all is False, so that a run which touches an end of the mask changes there like any
    # other. The much-copied kernels leave this out and get a set first or last pixel wrong.
    changes[0], changes[flat.size], changes[flat.size + 1 :] = flat[0], flat[-1], False
    runs = _set_places(changes).reshape(-1, 2)
    runs[:, 1] -= runs[:, 0]
    return runs


def shared_pixels(runs: Runs, others: Runs) -> int:
    """How many pixels are set in both masks, from their ascending runs alone: no size is needed."""
    if not len(others):
        return 0
    return int(np.sum(_set_before(runs.sum(axis=1), others) - _set_before(runs[:, 0], others)))


def _set_before(pixels: NDArray[np.int64], runs: Runs) -> NDArray[np.int64]:
    """For each of the given pixels: how many of those before it are set in the mask of `runs`, which has some."""
    starts, lengths = runs[:, 0], runs[:, 1]
    run = np.searchsorted(starts, pixels, side="right") - 1  # the last that starts at the pixel or before; -1: none
    set_in_it = np.clip(pixels - starts[run], 0, lengths[run])
    return np.where(run < 0, 0, np.cumsum(lengths)[run] - lengths[run] + set_in_it)


def _set_places(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`np.flatnonzero` for a multiple of 8 flags of which few are set: looks closer only at words that are not 0."""
    words = np.flatnonzero(flags.view(np.uint64).astype(bool))
    places = np.flatnonzero(flags.reshape(-1, 8)[words])
    return 8 * words[places // 8] + places % 8


def _numbers(text: str) -> NDArray[np.int64]:
    """An even count of numbers.

    `np.fromstring` is several times as fast as `int` on each word, but lenient: it takes signs, calls a
    line of spaces 0, and brings what does not fit to the largest number that does. Hence the checks.
    """
    if _STRANGE.search(text):
        strange = next(word for word in _SPACES.split(text) if _STRANGE.search(word))
        raise ValueError(f"{strange[:40]!r} is not a number")
    if not text:
        return np.empty(0, dtype=np.int64)
    if text.isspace():
        raise ValueError("nothing but spaces; a blank mask is an empty text")
    numbers = np.fromstring(text, dtype=np.int64, sep=" ")
    if numbers.size % 2:
        raise ValueError(f"{numbers.size} numbers, but every start needs a length")
    if numbers.max() >= 10**18:  # two of these still add up within 64 bits
        raise ValueError("a number of more than 18 digits")
    return numbers
