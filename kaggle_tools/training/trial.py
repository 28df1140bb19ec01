"""What a training needs of the machine: processes, memory and time."""

import math
import time
from collections.abc import Callable, Iterator

import torch

from kaggle_tools.data.datasets import Size

Step = Callable[[int, Size], None]
"""Takes a training step with so many photos of this size, (height, width), and leaves no trace of it."""

SMALL = 128  # pixels
LONG_ENOUGH = 0.5  # seconds


def seconds_per_photo(step: Step, size: Size) -> float:
    """About how long one photo of this size, (height, width), takes in training.

    Timed are steps of two small photos, then of larger ones, until a step takes long enough to be told from
    what a step costs at any size; the rest is in proportion to the pixels.
    """
    seconds = math.inf
    height, width = (min(side, SMALL) for side in size)
    while True:
        try:
            step(2, (height, width))  # the first one of a size chooses its algorithms
            start = time.perf_counter()
            step(2, (height, width))
        except torch.OutOfMemoryError:
            return seconds
        step_seconds = time.perf_counter() - start
        seconds = step_seconds / 2 * (size[0] * size[1]) / (height * width)
        if step_seconds > LONG_ENOUGH or (height, width) == size:
            return seconds
        height, width = min(2 * height, size[0]), min(2 * width, size[1])


def what_fits(step: Step, batch_size: int, size: Size) -> tuple[int, Size] | None:
    """The first smaller batch, or then smaller photo, with which a training step does not run out of memory."""
    for smaller_batch, smaller_size in _smaller(batch_size, size):
        try:
            step(smaller_batch, smaller_size)
        except torch.OutOfMemoryError:
            continue
        return smaller_batch, smaller_size
    return None


def _smaller(batch_size: int, size: Size) -> Iterator[tuple[int, Size]]:
    while batch_size > 1:
        batch_size //= 2
        yield batch_size, size
    for share in (0.8, 0.65, 0.5, 0.35, 0.25, 0.15):
        height, width = (round(side * share / 32) * 32 for side in size)
        if min(height, width) >= 32:
            yield 1, (height, width)
