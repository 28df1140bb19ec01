"""Which sizes and how many epochs make the best of a given time, from how long a photo takes.

Most is learnt from small photos, which take less time; outlines need large ones (progressive resizing).

H height, W width.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, prod, sqrt

import numpy as np

from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.training.plan.speed import Speed

COUNTS = 200
"""So many numbers of epochs are tried at most: of short epochs there may be thousands."""
EarlySizes = tuple[tuple[int, int, int], ...]
"""(height, width, epochs) each."""

MULTIPLE = 32
"""Of which the sides are multiples: encoders halve the size five times."""
STEP = 2**0.25
"""By which the sides grow from one size to the next."""
SMALLEST_SIDE = 96
"""No side of a size that is chosen is shorter, where the photos are not."""
SEEN = 8_000
"""So many photos a fresh network must see before a larger size is worth its time."""
SEEN_LAST = 5_000
"""So many of them at the last size: what it knows of context is bound to sizes in pixels, and must be learnt anew."""
PRETRAINED = 0.4
"""How many of these an encoder needs that has seen photos before."""
SHARE_OF_LAST = 0.7
"""Of the time of all epochs, what those of the last size shall take."""
LEAST_PIXELS, MOST_PIXELS = 0.2, 0.55
"""Of those of the last size, what a smaller one may have."""
SIDES_OF_EARLY = 0.7
"""Of those of the last size, what the sides of the smaller one shall be."""
LEAST_USED = 0.96
"""A plan that uses less of the time is worse than one with other shares."""


@dataclass(frozen=True)
class Fold:
    """What there is to do for each fold."""

    training: int
    """Photos to train on."""
    held_out: int
    """Photos that each epoch validates, and that are masked at the end."""
    speed: Speed
    """Of the machine."""
    cropped: Callable[[Size], Size] = lambda size: size
    """How much of a photo of this size is trained on."""

    def epoch_seconds(self, size: Size) -> float:
        """How long an epoch takes with photos of this size, (height, width)."""
        training = self.training * self.speed.training.at(self.cropped(size))
        return training + self.held_out * self.speed.validation.at(size) + self.speed.epoch

    def masking_seconds(self, size: Size) -> float:
        """How long the held-out photos take in the end."""
        return self.held_out * self.speed.masking.at(size)


@dataclass(frozen=True)
class Plan:
    """What to train, and how long that takes for each fold."""

    config: TrainingConfig
    training_seconds: float
    masking_seconds: float

    @property
    def seconds(self) -> float:
        """Of all of it."""
        return self.training_seconds + self.masking_seconds

    def last_seen(self, fold: Fold) -> int:
        """How many photos are seen at the last size, each as often as it is."""
        return (self.config.epochs - self.config.early_epochs) * fold.training

    def is_enough(self, fold: Fold) -> bool:
        """Whether so many photos are seen that no smaller size would be better."""
        needed = PRETRAINED if self.config.pretrained or self.config.init else 1
        return self.config.epochs * fold.training >= needed * SEEN and self.last_seen(fold) >= needed * SEEN_LAST

    def distance(self, seconds: float) -> float:
        """How far it is from the best use of so many seconds: all of them, in the best shares and sizes."""
        effort, early = self.config.effort_by_epoch, self.config.early_epochs
        share, sides = sum(effort[early:]) / sum(effort), sqrt(effort[0]) if early else 1
        unused = max(0.0, LEAST_USED - self.seconds / seconds)
        return abs(share - SHARE_OF_LAST) + abs(sides - SIDES_OF_EARLY) / 2 + 4 * unused


def sizes_for(photo: Size) -> list[Size]:
    """The sizes, (height, width), from which a budget chooses for photos of this size: ascending, to the photo's own.

    From each to the next the sides grow by about a fifth.
    """
    sizes, scale = [_multiples(photo, 1, ceil)], 1 / STEP
    while min(smaller := _multiples(photo, scale, round)) >= SMALLEST_SIDE:
        sizes.append(smaller)
        scale /= STEP
    return list(dict.fromkeys(sizes))[::-1]


def planned(
    config: TrainingConfig, seconds: float, fold: Fold, sizes: Sequence[Size], given: Collection[str]
) -> Plan | None:
    """The best use of so many seconds for each fold: the largest size for which there is time to learn enough.

    None where not one epoch of the smallest size fits into the time, or not those that are given.

    Args:
        config: what is to be trained; those of its settings that are `given` stay as they are.
        seconds: for each fold.
        fold: what there is to do.
        sizes: those to choose from, (height, width), ascending.
        given: names of `PLANNED` that were decided by whoever asks.
    """
    found: list[Plan] = []
    for last in _last_sizes(config, fold, sizes, given):
        plans = [*_plans(config, seconds, fold, sizes, last, given)]
        enough = [plan for plan in plans if plan.is_enough(fold)]
        if enough:
            return min(enough, key=lambda plan: plan.distance(seconds))
        found += plans
    # Too little time to learn enough at any size: as many photos as possible are seen.
    return max(found, key=lambda plan: (plan.config.epochs, plan.seconds), default=None)


def least_plan(config: TrainingConfig, fold: Fold, sizes: Sequence[Size], given: Collection[str]) -> Plan:
    """One epoch of the smallest size, or those that are given; the arguments are those of `planned`."""
    last = _last_sizes(config, fold, sizes, given)[-1]
    early = config.early_sizes if "early_sizes" in given else ()
    of_early = sum(epochs for *_, epochs in early)
    epochs = config.epochs if "epochs" in given else of_early + 1
    seconds = sum(number * fold.epoch_seconds((h, w)) for h, w, number in early)
    seconds += (epochs - of_early) * fold.epoch_seconds(last)
    config = replace(config, image_size=last, early_sizes=early, epochs=epochs)
    return Plan(config, seconds, fold.masking_seconds(last))


def _last_sizes(config: TrainingConfig, fold: Fold, sizes: Sequence[Size], given: Collection[str]) -> list[Size]:
    """What the size of the last epochs may be, in descending order."""
    if "image_size" in given:
        return [config.image_size or sizes[-1]]
    early = max((h * w for h, w, _ in config.early_sizes), default=0) if "early_sizes" in given else 0
    usable = [size for size in reversed(sizes) if prod(size) >= early] or [sizes[-1]]
    return [size for size in usable if prod(size) <= prod(fold.speed.largest)] or [usable[-1]]


def _multiples(photo: Size, scale: float, rounded: Callable[[float], int]) -> Size:
    height, width = (max(1, rounded(side * scale / MULTIPLE)) * MULTIPLE for side in photo)
    return height, width


def _plans(
    config: TrainingConfig, seconds: float, fold: Fold, sizes: Sequence[Size], last: Size, given: Collection[str]
) -> Iterator[Plan]:
    """Yield what fits with each number of epochs at this last size."""
    smaller = [size for size in sizes if _is_worth_a_stage(size, last)]
    masking, each = fold.masking_seconds(last), fold.epoch_seconds(last)
    most = max(0, floor((seconds - masking) / each))
    if "epochs" in given:
        most = min(most, config.epochs)
    for epochs in np.unique(np.linspace(1, most, min(most, COUNTS)).astype(int)).tolist():
        wanted = config.epochs - epochs if "epochs" in given else None
        left = seconds - masking - epochs * each
        for early in _early_sizes(config, left, fold, smaller, given, wanted):
            in_all = epochs + sum(early_epochs for *_, early_epochs in early)
            if "epochs" in given and in_all != config.epochs:
                continue
            used = epochs * each + sum(number * fold.epoch_seconds((h, w)) for h, w, number in early)
            yield Plan(replace(config, image_size=last, early_sizes=early, epochs=in_all), used, masking)


def _early_sizes(
    config: TrainingConfig,
    left: float,
    fold: Fold,
    smaller: Sequence[Size],
    given: Collection[str],
    wanted: int | None,
) -> Iterator[EarlySizes]:
    """Yield what fits into the seconds that are left before the last size: nothing, or epochs of one smaller size.

    These are as many as fit, or so many as are `wanted`.
    """
    if "early_sizes" in given:
        if sum(number * fold.epoch_seconds((h, w)) for h, w, number in config.early_sizes) <= left:
            yield config.early_sizes
        return
    yield ()
    for size in smaller:
        most = floor(left / fold.epoch_seconds(size))
        number = most if wanted is None else wanted
        if 1 <= number <= most:
            yield ((*size, number),)


def _is_worth_a_stage(size: Size, last: Size) -> bool:
    """Whether it is so much smaller that it saves time, and not so much that little is learnt for the last size."""
    return LEAST_PIXELS <= prod(size) / prod(last) <= MOST_PIXELS
