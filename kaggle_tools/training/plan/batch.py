"""The largest batch that fits into a GPU's memory, found before the training; a smaller one is accumulated.

H height, W width.
"""

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from kaggle_tools.config.execution import Execution
from kaggle_tools.config.recorded import config_of_settings, settings_of
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo, largest_size
from kaggle_tools.errors import InputError, counted
from kaggle_tools.models import probe
from kaggle_tools.models.segmenter import blueprint, recompute_levels
from kaggle_tools.precision import FP32
from kaggle_tools.results import run_folder
from kaggle_tools.system.hardware import (
    GIB,
    best_device,
    has_its_own_memory,
    memory_bytes,
    require_working_gpu,
)
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.processes import device_count, is_started_by_others, on_a_gpu, own_gpu
from kaggle_tools.training.plan.shortage import divisors, forget, ranks_of, recompute_advice
from kaggle_tools.training.plan.trial import Step, architecture_of, trial_steps, untrained
from kaggle_tools.training.task import precision_of

Search = Callable[[Callable[[int], bool], Sequence[int]], int | None]
"""Which of these numbers of photos to take, given what tells whether so many fit; None where none of them does."""

LARGEST_AUTOMATIC = 1024
"""No larger batch is tried."""
RESERVE = GIB // 2
"""Bytes of a GPU that a trial leaves free: for the next photos, the libraries, and the gaps between blocks."""


def planned(run: Path, photos: Sequence[Photo], config: TrainingConfig, execution: Execution) -> TrainingConfig:
    """The configuration in which as many photos make a gradient step, in batches that the GPU holds.

    It is decided once: a run that was begun goes on as it was. On a processor nothing is tried, as there the system
    ends what takes too much memory; see `warn_of_little_memory`.

    Raises:
        InputError: the GPU cannot be used, or the network does not take the photos.
    """
    begun = _as_begun(run, config)
    if begun is not None:
        return begun
    if not has_its_own_memory(best_device()):
        return config
    return _fitted(config, photos, execution)


def batches_of(config: TrainingConfig) -> dict[str, int]:
    """The settings that say how the photos of a gradient step are taken."""
    return {"batch_size": config.batch_size, "accumulate": config.accumulate}


def automatic_batch_size(run: Path, photos: Sequence[Photo], config: TrainingConfig, execution: Execution) -> int:
    """The batch size that the run was begun with, or else the largest, in powers of two, that the GPU holds.

    Raises:
        InputError: there is not exactly one GPU, whose memory could decide, or not even one photo fits.
    """
    if (run / run_folder.CONFIG_FILE).exists():
        return run_folder.asked_batch_size(run)
    if not (has_its_own_memory(best_device()) and device_count(execution.devices, nodes=1) == 1):
        where = "--devices 1" if has_its_own_memory(best_device()) else "a number"
        raise InputError(f"--batch-size auto: needs one GPU, whose memory decides; give {where}")
    size = config.trained_size(largest_size(photos))
    smallest = probe.smallest_batch(architecture_of(config), size)
    most = max(smallest, min(LARGEST_AUTOMATIC, len(photos)))
    counts = [smallest * 2**power for power in range(11) if smallest * 2**power <= most]
    found = _search(last_that_fits, counts, config, size, execution)
    if found is None:
        raise InputError(
            f"--batch-size auto: out of memory with {counted(smallest, 'photo')} of {size[0]}x{size[1]}; "
            f"give a smaller --image-size or --crop{recompute_advice(config, execution)}"
        )
    say(f"batch size: {counted(found, 'photo fits', 'photos fit')}")
    return found


def first_that_fits(fits: Callable[[int], bool], counts: Sequence[int]) -> int | None:
    """The first of these numbers of photos that fits."""
    return next(filter(fits, counts), None)


def last_that_fits(fits: Callable[[int], bool], counts: Sequence[int]) -> int | None:
    """The last of these ascending numbers of photos that fits; none above one that does not is tried."""
    return max(takewhile(fits, counts), default=None)


def _as_begun(run: Path, config: TrainingConfig) -> TrainingConfig | None:
    """The configuration of the run that was begun when this one was asked for; None if nothing was begun with it."""
    if not (run / run_folder.CONFIG_FILE).exists():
        return None
    begun = run_folder.read_config(run)
    if begun.asked == batches_of(config):
        config = config_of_settings({**settings_of(config), **{name: begun.settings.get(name) for name in begun.asked}})
    if run_folder.is_begun(run) or (is_started_by_others() and not run_folder.differing(begun, config)):
        return config  # of processes that are started together, another has planned it
    return None


def _fitted(config: TrainingConfig, photos: Sequence[Photo], execution: Execution) -> TrainingConfig:
    """With the largest batch that fits and divides the one that is asked for, or all photos where these are fewer."""
    devices, size = ranks_of(execution), config.trained_size(largest_size(photos))
    photos_of_fold = len(photos) - len(photos) // config.folds
    share = max(1, min(config.batch_size, photos_of_fold) // devices)
    smallest = probe.smallest_batch(architecture_of(config), size)
    counts = [part for part in divisors(share) if part >= smallest]
    if config.batch_size % devices:
        return config  # refused when it is trained
    fit = _search(first_that_fits, counts, config, size, execution)
    if fit is None or fit == share:
        return config  # what does not fit at all is refused, with advice, when it is trained
    taken = replace(config, batch_size=fit * devices, accumulate=share // fit * config.accumulate)
    warn(
        f"{share} photos do not fit into the GPU's memory: --batch-size {taken.batch_size} --accumulate "
        f"{taken.accumulate} is taken. As many photos make a gradient step, and the gradient is the same but for what "
        "is pooled over the photos at once: normalisation statistics, the Dice and Lovasz losses"
        f"{recompute_advice(config, execution)}"
    )
    return taken


def _search(
    search: Search, counts: Sequence[int], config: TrainingConfig, size: Size, execution: Execution
) -> int | None:
    """Try numbers of photos in a process of its own, so that all memory is free again afterwards."""
    try:
        gpu = own_gpu("auto" if execution.parallel_folds else execution.devices)
        return on_a_gpu(gpu, tried, search, counts, config, size, execution, ranks_of(execution))
    except BrokenProcessPool:
        warn("the process that tried which batch fits was ended by a signal: it is not known whether the batch fits")
        return None


def tried(
    search: Search, counts: Sequence[int], config: TrainingConfig, size: Size, execution: Execution, ranks: int
) -> int | None:
    """Which number of photos of this size, (height, width), the search takes, by gradient steps on this device.

    Beside a step the device holds what a training does: averaged weights, gradients that are accumulated or
    exchanged by `ranks` processes, and something in reserve.

    Raises:
        InputError: the GPU cannot be used.
    """
    require_working_gpu()
    device, task = best_device(), untrained(config, execution)
    copies = 1 + (config.ema_decay is not None) + (ranks > 1)
    try:
        with trial_steps(task, device) as step:
            held = [torch.empty_like(weight) for weight in task.parameters() for _ in range(copies)]
            held.append(torch.empty(RESERVE, dtype=torch.uint8, device=device))
            return search(partial(_fits, step, size), counts)
    except torch.OutOfMemoryError:  # not even the weights fit
        return None


def _fits(step: Step, size: Size, photos: int) -> bool:
    """Tried twice, as the optimiser has its memory only after the first step."""
    try:
        step(photos, size)
        step(photos, size)
    except torch.OutOfMemoryError as error:
        forget(error)
        return False
    return True


def warn_of_little_memory(photos: Sequence[Photo], config: TrainingConfig, execution: Execution) -> None:
    """Say, where there is no GPU, that the system may end the training, if a step needs more than there is."""
    there_is = memory_bytes()
    if there_is is None or best_device().type != "cpu" or precision_of(config) != FP32:
        return
    needed = needed_bytes(config, config.trained_size(largest_size(photos)), execution)
    if needed > there_is:
        warn(
            f"a gradient step needs at least {needed / GIB:,.0f} GiB by computation, and this machine has "
            f"{there_is / GIB:,.0f} GiB of memory: the system may end it. Give a smaller --image-size, --crop or "
            f"--batch-size{recompute_advice(config, execution)}"
        )


def needed_bytes(config: TrainingConfig, size: Size, execution: Execution) -> int:
    """A lower bound of the memory of a gradient step in float32, found on tensors without contents.

    What is kept for the backward pass, the weights among it, their gradients, and what the optimiser keeps.
    """
    model = blueprint(architecture_of(config)).train()
    recompute_levels(model, execution.recompute)
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    photos_B3HW = torch.empty(config.batch_size, 3, *size, dtype=torch.uint8, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(photos_B3HW)
    weights = sum(weight.nbytes for weight in model.parameters())
    buffers = 1 if config.optimizer == "sgd" else 2
    return sum(storage.nbytes() for storage in kept.values()) + (1 + buffers) * weights
