"""The weights of a mix of runs, chosen on the photos that all of them held out.

H height, W width.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import groups_and_views_of_masks
from kaggle_tools.data.images import read_gray, read_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.results.run_folder import DEFAULT_THRESHOLD, saved_oof_probabilities
from kaggle_tools.results.scores import Estimate, nested_choice, of_counts
from kaggle_tools.system.progress import track

Weights = tuple[int, ...]

FEW_RUNS, STEPS, STEPS_OF_MANY = 3, 10, 5
"""Weights are multiples of a tenth of their sum, and of a fifth for more runs than a few."""


def stems_in_common(runs: Sequence[Path]) -> set[str]:
    """The photos of which all the runs have saved out-of-fold probabilities.

    Raises:
        InputError: there are none.
    """
    common = set.intersection(*(set(saved_oof_probabilities(run)) for run in runs))
    if not common:
        raise InputError(
            f"--search: {', '.join(map(str, runs))} held out no photo in common with --save-oof-probabilities"
        )
    return common


def searched_weights(
    runs: Sequence[Path], photos: Collection[Photo], competition: Competition
) -> tuple[Weights, Estimate]:
    """The weights with the highest score of the mix, and what such a choice gains over equal weights.

    The gain is that on groups on which the choice was not made; see `nested_choice`.

    Raises:
        InputError: a map or a true mask cannot be read, or they differ in size.
    """
    mixes = mixes_of(len(runs))
    saved = [saved_oof_probabilities(run) for run in runs]
    counts, stems = [], []
    for photo in track(photos, len(photos), "mixes of held-out photos"):
        assert photo.mask is not None, f"{photo.stem} has no mask"
        paths = [of_run[photo.stem] for of_run in saved]
        truth_HW, maps_HW = read_mask(photo.mask), [read_gray(path) for path in paths]
        for path, map_HW in zip(paths, maps_HW, strict=True):
            if map_HW.shape != truth_HW.shape:
                raise InputError(f"{path}: has another size than the true mask {photo.mask}; was the photo replaced?")
        counts.append([metrics.overlap(mask, truth_HW) for mask in _masks(maps_HW, mixes)])
        stems.append(photo.stem)
    of_mixes = metrics.Overlap(*np.array(counts).T)  # each of shape (mixes, photos)
    scores = of_counts(of_mixes, competition.score)
    best, gain = nested_choice(scores, groups_and_views_of_masks(stems, competition)[0])
    return mixes[best], gain


def mixes_of(runs: int) -> list[Weights]:
    """The weights that are tried: equal ones first, then all with the same sum."""
    steps = STEPS if runs <= FEW_RUNS else STEPS_OF_MANY
    return [(1,) * runs, *_parts(steps, runs)]


def _parts(total: int, count: int) -> Iterator[Weights]:
    if count == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *others) for others in _parts(total - first, count - 1))


def _masks(maps_HW: Sequence[NDArray[np.uint8]], mixes: Sequence[Weights]) -> Iterator[NDArray[np.bool_]]:
    """In whole numbers, so that no rounding decides."""
    maps_NHW = np.stack(maps_HW).astype(np.int32)
    for weights in mixes:
        yield np.tensordot(weights, maps_NHW, axes=1) >= DEFAULT_THRESHOLD * 255 * sum(weights)
