"""How well a predicted mask covers the true one. NumPy only.

Every score follows from three pixel counts, so that one pass over a photo is enough for all of them
and for any number of thresholds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Overlap(NamedTuple):
    """Pixel counts of one mask pair, or arrays of counts, one entry for each pair."""

    intersection: ArrayLike
    """Pixels that are set in both masks."""
    predicted: ArrayLike
    """Pixels that are set in the predicted mask."""
    truth: ArrayLike
    """Pixels that are set in the true mask."""


def overlap(predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]) -> Overlap:
    """Count the pixels of two masks of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted_HW.shape != truth_HW.shape:
        raise ValueError(f"a mask of shape {predicted_HW.shape} cannot be compared with one of {truth_HW.shape}")
    return Overlap(
        intersection=int(np.count_nonzero(predicted_HW & truth_HW)),
        predicted=int(np.count_nonzero(predicted_HW)),
        truth=int(np.count_nonzero(truth_HW)),
    )


def dice(counts: Overlap) -> NDArray[np.float64]:
    """Twice the shared pixels over the sum of both areas, in [0, 1]; two empty masks agree: 1."""
    intersection, predicted, truth = (np.asarray(count, dtype=np.float64) for count in counts)
    return _ratio(2 * intersection, predicted + truth)


def iou(counts: Overlap) -> NDArray[np.float64]:
    """The shared pixels over the union (Jaccard index), in [0, 1]; two empty masks agree: 1."""
    intersection, predicted, truth = (np.asarray(count, dtype=np.float64) for count in counts)
    return _ratio(intersection, predicted + truth - intersection)


def mean_precision(counts: Overlap) -> NDArray[np.float64]:
    """The share of the IoU thresholds 0.5, 0.55, … 0.95 that the IoU exceeds, in [0, 1]; two empty masks agree: 1.

    The score of TGS Salt Identification. At one threshold, a photo with one true and one predicted object has a
    precision TP / (TP + FP + FN) of 1 where they match and of 0 where they do not, so that it is 0 as well
    where only one of the two masks is empty (https://www.kaggle.com/c/tgs-salt-identification-challenge, Evaluation).
    """
    intersection, predicted, truth = (np.asarray(count) for count in counts)
    union = predicted + truth - intersection
    # In whole numbers, so that an IoU of 12 / 20 does not exceed 0.6, however that would be rounded.
    exceeded = 20 * intersection[..., None] > np.arange(10, 20) * union[..., None]
    return np.where(union > 0, exceeded.mean(axis=-1), 1.0)


def f_beta(counts: Overlap, beta: float) -> NDArray[np.float64]:
    """F-beta of the pixels, in [0, 1]: recall counts `beta` times as much as precision; two empty masks agree: 1.

    F1 is Dice. With TP, FP and FN as counts of pixels: (1 + b²) TP / ((1 + b²) TP + b² FN + FP) (van Rijsbergen 1979).
    """
    intersection, predicted, truth = (np.asarray(count, dtype=np.float64) for count in counts)
    return _ratio((1 + beta**2) * intersection, beta**2 * truth + predicted)


Score = Callable[[Overlap], NDArray[np.float64]]
"""The score of each photo from its pixel counts; that of a competition is the mean over photos, if not `Pooled`."""


@dataclass(frozen=True)
class Pooled:
    """A score over all pixels of a set of photos: that of their pixel counts added up, as if they were one photo.

    Large objects count for more than in the mean over photos, and blank photos with a blank mask for nothing.
    """

    of_counts: Score

    def __call__(self, counts: Overlap) -> NDArray[np.float64]:
        """The score that each photo would have alone."""
        return self.of_counts(counts)


BY_NAME: Mapping[str, Score] = {
    "Dice": dice,
    "IoU": iou,
    "mean precision": mean_precision,
    "F0.5": partial(f_beta, beta=0.5),
    "F2": partial(f_beta, beta=2),
    "global Dice": Pooled(dice),
}
"""The scores by the names that people have for them."""


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
