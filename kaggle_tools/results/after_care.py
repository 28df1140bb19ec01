"""What is done to masks after the networks, as far as held-out photos show that it pays.

Either another threshold than 0.5, or small parts removed and small holes filled. Each is chosen on some of the held-out
groups and tried on the others (nested cross-validation): on the photos on which it was chosen, every choice looks good.

H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.metrics import Overlap
from kaggle_tools.results.run_folder import DEFAULT_THRESHOLD
from kaggle_tools.results.scores import Estimate, nested_choice, of_counts

LEVELS = 24
"""Parts and holes are counted by the power of two that their area reaches: 1, 2 to 3, 4 to 7 pixels, and so on."""


@dataclass(frozen=True)
class AfterCare:
    """How probabilities become a mask."""

    threshold: float = DEFAULT_THRESHOLD
    """Foreground has at least this probability."""
    smallest_part: int = 0
    """Connected parts of the mask with fewer pixels are removed."""
    smallest_hole: int = 0
    """Holes in it with fewer pixels are filled."""
    by_class: tuple[tuple[str, "AfterCare"], ...] = ()
    """Where classes are treated each in its own way: how, by their names; then nothing else counts."""

    def of(self, of_class: str) -> "AfterCare":
        """How the probabilities of a class become a mask."""
        return dict(self.by_class).get(of_class, self)

    @property
    def class_thresholds(self) -> list[float]:
        """Those of the classes, where each has one of its own."""
        return [care.threshold for _, care in self.by_class]

    @property
    def is_more_than_a_threshold(self) -> bool:
        """Whether masks are changed after the threshold."""
        return bool(self.smallest_part or self.smallest_hole) or any(
            care.is_more_than_a_threshold for _, care in self.by_class
        )

    def applied(self, mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask without its small parts and holes."""
        labels_HW, areas, is_hole = _components(mask_HW)
        changes = np.where(is_hole, areas < self.smallest_hole, areas < self.smallest_part)
        changes[0] = False
        changed: NDArray[np.bool_] = mask_HW ^ changes[labels_HW]
        return changed

    def __str__(self) -> str:
        """`threshold 0.5, parts of fewer than 64 pixels removed`; of several classes, `1: threshold 0.5; 2: …`."""
        if self.by_class:
            return "; ".join(f"{of_class}: {care}" for of_class, care in self.by_class)
        parts = [f"parts of fewer than {self.smallest_part:,} pixels removed"] if self.smallest_part else []
        holes = [f"holes of fewer than {self.smallest_hole:,} pixels filled"] if self.smallest_hole else []
        return ", ".join([f"threshold {self.threshold:.4g}", *parts, *holes])


@dataclass(frozen=True)
class Trial:
    """A way of after-care that was tried."""

    care: AfterCare
    """The best on all held-out photos."""
    gain: Estimate
    """What such a choice gains on groups that it was not made on, over the threshold 0.5 alone."""
    of_class: str = ""
    """On whose masks it was tried, where there are several classes."""

    def to_json(self) -> dict[str, Any]:
        """As `summary.json` has it."""
        return {
            **({"class": self.of_class} if self.of_class else {}),
            "threshold": self.care.threshold,
            "smallest_part": self.care.smallest_part,
            "smallest_hole": self.care.smallest_hole,
            "gain": self.gain.score,
            "gain_interval": self.gain.interval,
        }


def chosen(trials: Sequence[Trial]) -> AfterCare:
    """The way with the largest gain among those whose gain is real, or none of them; of each class by itself."""
    classes = dict.fromkeys(trial.of_class for trial in trials)
    by_class = {one: _best([trial for trial in trials if trial.of_class == one]) for one in classes}
    if all(care == AfterCare() for care in by_class.values()):
        return AfterCare()
    return by_class[""] if "" in by_class else AfterCare(by_class=tuple(by_class.items()))


def _best(trials: Sequence[Trial]) -> AfterCare:
    real = [trial for trial in trials if trial.gain.is_above_0]
    return max(real, key=lambda trial: trial.gain.score).care if real else AfterCare()


def trials_of(
    competition: Competition,
    groups: Sequence[str],
    at_thresholds: Mapping[float, Overlap],
    levels: NDArray[np.int64] | None,
) -> list[Trial]:
    """Try other thresholds, and, where they were counted, the removal of parts and holes.

    Args:
        competition: its score decides.
        groups: of the held-out photos.
        at_thresholds: the pixel counts of their masks, among them those at 0.5.
        levels: see `levels_of`, of their masks at 0.5, in one array (n, 2, LEVELS, 2).
    """
    plain = at_thresholds[DEFAULT_THRESHOLD]
    by_threshold = {AfterCare(threshold): overlap for threshold, overlap in at_thresholds.items()}
    trials = [_tried(by_threshold, competition, groups)]
    if levels is not None:
        trials.append(_tried(_without_small_parts(plain, levels), competition, groups))
    return trials


def levels_of(mask_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The pixels of a mask's parts and holes by the power of two of their area, int64 (2, LEVELS, 2).

    Along the first axis parts and holes, along the last how many pixels, and how many of these are truly foreground.
    """
    labels_HW, areas, is_hole = _components(mask_HW)
    true = np.bincount(labels_HW.ravel(), weights=truth_HW.ravel(), minlength=len(areas)).astype(np.int64)
    levels = np.zeros((2, LEVELS, 2), dtype=np.int64)
    at = np.minimum(np.log2(np.maximum(areas, 1)).astype(int), LEVELS - 1)
    for kind in (0, 1):
        ours = is_hole == bool(kind)
        ours[0] = False
        for column, values in enumerate((areas, true)):
            np.add.at(levels[kind, :, column], at[ours], values[ours])
    return levels


def _components(mask_HW: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]]:
    """Number the parts and the holes of a mask from 1 on; 0 is the background around them.

    Returns:
        The numbers of the pixels, (H, W); and for each number its area, and whether it is a hole.
    """
    count, parts_HW, of_parts, _ = cv2.connectedComponentsWithStats(mask_HW.view(np.uint8), connectivity=8)
    # A frame of background joins all that reaches the edge: what is left inside are holes.
    around_HW = np.pad(~mask_HW, 1, constant_values=True).view(np.uint8)
    _, others_HW, of_others, _ = cv2.connectedComponentsWithStats(around_HW, connectivity=4)
    outside = others_HW[0, 0]
    number = np.zeros(len(of_others), dtype=np.int32)
    holes = [label for label in range(1, len(of_others)) if label != outside]
    number[holes] = np.arange(count, count + len(holes))
    labels_HW = np.where(mask_HW, parts_HW, number[others_HW[1:-1, 1:-1]])
    areas = np.concatenate([of_parts[:, cv2.CC_STAT_AREA], of_others[holes, cv2.CC_STAT_AREA]]).astype(np.int64)
    return labels_HW, areas, np.arange(len(areas)) >= count


def _without_small_parts(plain: Overlap, levels: NDArray[np.int64]) -> dict[AfterCare, Overlap]:
    """The pixel counts of masks for each smallest part and hole."""
    most_of_parts, most_of_holes = (_highest_level(levels[:, kind]) for kind in (0, 1))
    cares = [
        AfterCare(smallest_part=2**part if part else 0, smallest_hole=2**hole if hole else 0)
        for part in range(most_of_parts + 2)
        for hole in range(most_of_holes + 2)
    ]
    return {care: changed_overlap(plain, levels, care) for care in cares}


def changed_overlap(plain: Overlap, levels: NDArray[np.int64], care: AfterCare) -> Overlap:
    """The pixel counts of masks after small parts are removed and small holes filled.

    `plain` are those before, and `levels` those of their parts and holes, (n, 2, LEVELS, 2), by the power of two of
    their area, so that the smallest part and hole must be powers of two.
    """
    below = [size.bit_length() - 1 if size else 0 for size in (care.smallest_part, care.smallest_hole)]
    removed, filled = (levels[:, kind, : below[kind]].sum(axis=1) for kind in (0, 1))
    change = filled - removed
    return Overlap(
        np.asarray(plain.intersection) + change[:, 1], np.asarray(plain.predicted) + change[:, 0], plain.truth
    )


def _highest_level(levels: NDArray[np.int64]) -> int:
    """The highest level at which there is anything; -1 if there is nothing at all."""
    return int(np.flatnonzero(levels.any(axis=(0, 2))).max(initial=-1))


def _tried(ways: Mapping[AfterCare, Overlap], competition: Competition, groups: Sequence[str]) -> Trial:
    cares = sorted(ways, key=_distance)  # among equals the one that changes least; nothing at all comes first
    counts = Overlap(*map(np.array, zip(*(ways[care] for care in cares), strict=True)))  # each of shape (ways, photos)
    best, gain = nested_choice(of_counts(counts, competition.score), groups)
    return Trial(cares[best], gain)


def _distance(care: AfterCare) -> tuple[float, int]:
    return abs(care.threshold - DEFAULT_THRESHOLD), care.smallest_part + care.smallest_hole
