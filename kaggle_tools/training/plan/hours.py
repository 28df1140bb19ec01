"""How long a training will take, estimated from a trial step."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import torch

from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import best_device
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.processes import device_count
from kaggle_tools.system.progress import duration, more_than_allowed
from kaggle_tools.training.plan.loading_time import seconds_with_loading
from kaggle_tools.training.plan.shortage import forget
from kaggle_tools.training.plan.trial import Step, trial_steps, untrained

SMALL = 128  # pixels
LONG_ENOUGH = 0.5  # seconds
FORWARD_SHARE = 1 / 3
"""Of the time of a step; validating a photo takes as long."""
WORTH_A_LINE = 1 / 60  # hours
LONG_HOURS = 24.0
LAPTOP_WIDTH = 16


def announce(
    hours: float | None, folds: int, config: TrainingConfig, limit: float | None = None, epochs: float = 1
) -> None:
    """Say, before the training starts, how long it will take: a warning if that is more than a day, or than the limit.

    Args:
        hours: of the folds that are to be trained; None if that is not known.
        folds: how many they are.
        config: what decides the result.
        limit: in hours.
        epochs: how many take these hours.
    """
    if hours is None:
        return
    of = f"for {folds} of {config.folds} folds on this machine"
    if limit and hours / max(1, epochs) > limit:
        warn(f"about {duration(hours / epochs * 3600)} for each epoch, of which --max-hours allows none: give more")
    elif limit and hours > limit:
        warn(more_than_allowed(f"about {duration(hours * 3600)} {of}", hours * 3600, limit * 3600))
    elif limit is None and hours > LONG_HOURS:
        smaller = config.width <= LAPTOP_WIDTH or torch.cuda.is_available()
        instead = "a smaller --image-size, or a single --fold" if smaller else "--preset laptop --fold 0"
        warn(f"about {hours / 24:.1f} days {of}; try {instead}")
    elif hours > WORTH_A_LINE:
        say(f"about {duration(hours * 3600)} {of}, estimated from a trial step")


def estimated_hours(
    photos: Sequence[Photo], config: TrainingConfig, epochs: float, execution: Execution, at_once: int = 1
) -> float | None:
    """About how many hours it takes to train so many epochs, from a step timed here; None if no step succeeds.

    `at_once` trainings, each on devices of its own, share the processors, which load the photos.
    """
    memory.keep_freed_memory()
    step_seconds = None
    with (
        suppress(torch.OutOfMemoryError),  # not even the weights fit, which the training will explain
        trial_steps(untrained(config, execution), best_device()) as step,
    ):
        step_seconds = seconds_per_photo(step, config.trained_size(photos[0].size))
    if step_seconds is None:
        return None
    seconds = seconds_with_loading(step_seconds, photos, config, execution, at_once)
    held_out = len(photos) / config.folds
    photos_an_epoch = len(photos) - held_out + FORWARD_SHARE * held_out
    return seconds / device_count(execution.devices, execution.nodes) * photos_an_epoch * epochs / 3600


def busiest(epochs: Sequence[float], gpus: int) -> float:
    """The epochs of the GPU that has most of them, where each fold in turn goes to the first one that is free."""
    loads = [0.0] * gpus
    for of_fold in epochs:
        loads[loads.index(min(loads))] += of_fold
    return max(loads)


def seconds_per_photo(step: Step, size: Size) -> float | None:
    """About how many seconds one photo of this size, (height, width), takes in training; None if no step succeeds.

    Steps of two small photos are timed, then of larger ones, until the time of a step is well above the fixed cost
    of any step; it is then scaled by the number of pixels.
    """
    seconds = None
    for height, width in _growing(size):
        try:
            step_seconds = _shortest(partial(step, 2, (height, width)))
        except torch.OutOfMemoryError as error:
            forget(error)
            return seconds
        except Exception:  # some networks take no photos as small as that, each with an error of its own
            continue
        seconds = step_seconds / 2 * (size[0] * size[1]) / (height * width)
        if step_seconds > LONG_ENOUGH:
            break
    return seconds


def _shortest(work: Callable[[], None]) -> float:
    """Of two times, as other programs only make it longer, after a first one, in which algorithms are chosen."""
    work()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _growing(size: Size) -> Iterator[Size]:
    """Sizes from a small one to this one, each with twice the sides of the one before."""
    height, width = (min(side, SMALL) for side in size)
    while (height, width) != size:
        yield height, width
        height, width = min(2 * height, size[0]), min(2 * width, size[1])
    yield size
