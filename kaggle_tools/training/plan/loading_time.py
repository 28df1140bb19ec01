"""Whether photos are loaded as fast as a network takes them, told from some that are loaded before the training."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress

from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.augment import Augmenter
from kaggle_tools.data.loading.datasets import AugmentedPhotos
from kaggle_tools.data.loading.pixel_cache import bytes_of
from kaggle_tools.errors import InputError
from kaggle_tools.system.hardware import best_device
from kaggle_tools.system.output import say
from kaggle_tools.system.processes import CORES, device_count
from kaggle_tools.training.task import masked_photos

SOME = 4
"""So many photos are loaded."""
WORTH_A_CACHE = 1.2
"""From so many times the seconds of a step on, a cache is spoken of."""


def seconds_with_loading(
    step: float, photos: Sequence[Photo], config: TrainingConfig, execution: Execution, at_once: int = 1
) -> float:
    """How many seconds a photo takes of which a step on a device takes so many; advises a cache where it would help.

    `at_once` trainings share the processors.
    """
    trainings = at_once * device_count(execution.devices, nodes=1)
    seconds = together(step, seconds_to_load(photos, config, execution), execution.workers, trainings)
    smaller = config.image_size is not None and math.prod(config.image_size) < math.prod(photos[0].size)
    if seconds > WORTH_A_CACHE * step and smaller and not execution.cache:
        say(
            f"loading photos makes the training {seconds / step:.1f} times as long: --cache DIR keeps them resized, "
            f"{bytes_of(photos, set(config.size_by_epoch)) / 1e9:,.1f} GB in a folder of its own"
        )
    return seconds


def seconds_to_load(photos: Sequence[Photo], config: TrainingConfig, execution: Execution) -> float:
    """How long one process takes for a photo, with a cache once it is there; 0 if a photo cannot be read."""
    some = photos[:: -(-len(photos) // SOME)]
    augment = Augmenter(config.augmentation, config.seed, config.cropped)
    dataset = AugmentedPhotos(masked_photos(some, config.image_size, config.fit, execution), augment)
    with suppress(InputError):  # which the training will name
        times = []
        for epoch in range(3):  # the first one fills the cache
            start = time.perf_counter()
            for index in range(len(some)):
                dataset[epoch, index]
            times.append(time.perf_counter() - start)
        return min(times) / len(some)  # other programs only make it longer
    return 0.0


def together(step: float, loading: float, workers: int, trainings: int) -> float:
    """Seconds for a photo of which so many are the step's and so many the loading's.

    A GPU computes while worker processes load, each on one of the cores that all trainings share; on the CPU both take
    the same cores. Without workers one follows the other.
    """
    if not workers:
        return step + loading
    if best_device().type == "cpu":
        return step + loading / CORES
    return max(step, loading / min(workers, max(1, CORES // trainings)))
