"""What to do where the memory of a device does not suffice for a training.

H height, W width.
"""

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.config.values import UNET
from kaggle_tools.data.images import Size
from kaggle_tools.errors import InputError, counted
from kaggle_tools.system.hardware import best_device
from kaggle_tools.system.output import warn
from kaggle_tools.system.processes import device_count
from kaggle_tools.training.plan.trial import Step, trial_steps
from kaggle_tools.training.task import SegmentationTask


class OutOfMemoryAfterEpochsError(InputError):
    """The memory sufficed for whole epochs, and then no longer: the training goes on from the last of them."""

    def __init__(self, message: str, epochs: int = 0) -> None:
        super().__init__(message)
        self.epochs = epochs
        """So many were whole."""


def resumed_after_out_of_memory(train: Callable[[], None], execution: Execution) -> None:
    """Train a fold; where memory was lost after whole epochs, go on from the last of them, as the same command would.

    This is done as long as epochs are won by it, and where one process trains alone: several cannot begin anew.

    Raises:
        OutOfMemoryAfterEpochsError: memory was lost once more in the same epoch, or in one of several processes.
    """
    epochs = 0
    while True:
        try:
            return train()
        except OutOfMemoryAfterEpochsError as error:
            if error.epochs <= epochs or ranks_of(execution) > 1:
                raise
            forget(error)
            epochs = error.epochs
            warn(f"{error}\nIt goes on from there now.")


@contextmanager
def explained_memory(task: SegmentationTask, own_size: Size, execution: Execution) -> Iterator[None]:
    """Say what to do where the GPU's memory does not suffice.

    Raises:
        OutOfMemoryAfterEpochsError: it did suffice for whole epochs.
        InputError: it does not suffice; says what would fit.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        forget(error)
        said, config = str(error).splitlines()[0], task.config
        if task.current_epoch:
            raise OutOfMemoryAfterEpochsError(
                f"out of memory in epoch {task.current_epoch + 1} ({said}). Does another program use the GPU? The same "
                f"command continues from the last whole epoch{recompute_advice(config, execution)}.",
                task.current_epoch,
            ) from error
        size = config.trained_size(own_size)
        raise InputError(
            f"out of memory with {counted(config.batch_size, 'photo')} of {size[0]}x{size[1]} ({said}).\n"
            f"{_what_would_fit(task, size, execution)}"
        ) from error


def what_fits(step: Step, batch_size: int, size: Size) -> tuple[int, Size] | None:
    """The first smaller batch, or then smaller photo, with which a training step succeeds."""
    for smaller_batch, smaller_size in _smaller(batch_size, size):
        try:
            step(smaller_batch, smaller_size)
            step(smaller_batch, smaller_size)  # the optimiser has its memory only after the first one
        except Exception as error:  # out of memory, or a batch or a size that the network does not take
            forget(error)
            continue
        return smaller_batch, smaller_size
    return None


def recompute_advice(config: TrainingConfig, execution: Execution) -> str:
    """What the U-Net can do beside, as the end of a sentence."""
    if config.model != UNET or execution.recompute or execution.compiled:
        return ""
    return f"; --recompute {config.depth + 1} takes half the memory, for the same weights"


def divisors(photos: int) -> list[int]:
    """By which a number of photos can be divided, the largest first."""
    return [part for part in range(photos, 0, -1) if photos % part == 0]


def ranks_of(execution: Execution) -> int:
    """How many processes train a fold together."""
    return 1 if execution.parallel_folds else device_count(execution.devices, execution.nodes)


def forget(error: BaseException) -> None:
    """Give back the memory that the frames of a traceback still hold: the tensors of the step that failed."""
    failed: BaseException | None = error
    while failed:
        traceback.clear_frames(failed.__traceback__)
        failed = failed.__context__
    gc.collect()
    torch.cuda.empty_cache()


def _what_would_fit(task: SegmentationTask, size: Size, execution: Execution) -> str:
    config, devices = task.config, ranks_of(execution)
    try:
        with trial_steps(task, best_device()) as step:
            fits = what_fits(step, config.batch_size // devices, size)
    except torch.OutOfMemoryError:
        return "not even the weights fit. Does another program use the GPU?"
    advice = f"{recompute_advice(config, execution)}."
    if fits is None:
        return f"no smaller size fits either; take a smaller model or --width{advice}"
    photos, (height, width) = fits
    accumulate = config.batch_size // (photos * devices) * config.accumulate
    kept = f"; --accumulate {accumulate} keeps {config.batch_size * config.accumulate} photos in each gradient step"
    sized = "--crop" if config.crop else "--image-size"
    would = f"--batch-size {photos * devices} {sized} {height}x{width} would fit"
    return would + (kept if accumulate > 1 else "") + advice


def _smaller(batch_size: int, size: Size) -> Iterator[tuple[int, Size]]:
    yield from ((part, size) for part in divisors(batch_size) if part < batch_size)
    for share in (0.8, 0.65, 0.5, 0.35, 0.25, 0.15):
        height, width = (round(side * share / 32) * 32 for side in size)
        if min(height, width) >= 32:
            yield 1, (height, width)
