"""Training steps on trial: which the network takes, how long they take, which fit into memory, what to do if none does.

H height, W width.
"""

import copy
import gc
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch
from lightning import Trainer
from lightning.pytorch.tuner.tuning import Tuner

from kaggle_tools.config import Execution, TrainingConfig
from kaggle_tools.data.datasets import InputSize, plain_worker_errors
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.models import probe
from kaggle_tools.models.segmenter import Architecture, blueprint, build, design, recompute_levels
from kaggle_tools.results.fold_table import Split
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import (
    best_device,
    fast_memory_format,
    half_precision,
    one_kind_of_out_of_memory,
    wait_for,
)
from kaggle_tools.system.processes import device_count
from kaggle_tools.training.optim import make_optimizer
from kaggle_tools.training.task import (
    FoldData,
    SegmentationTask,
    initial_model,
    precision_of,
    quiet_lightning,
)

Step = Callable[[int, Size], None]
"""Takes a training step with a number of photos of a size, (height, width)."""

SMALL = 128  # pixels
LONG_ENOUGH = 0.5  # seconds


def require_passes(config: TrainingConfig, sizes: Iterable[Size], training_photos: int, execution: Execution) -> None:
    """Check, before hours are spent, that the network takes all batches that a training will bring.

    Args:
        config: what decides the result.
        sizes: the photos' own sizes, (height, width), of those to train on and those held out.
        training_photos: how many there are to train on, at least.
        execution: on how many devices.

    Raises:
        InputError: there is no such network, or a batch that it does not take, or no levels to compute twice.
    """
    architecture = _architecture(config)
    recompute_levels(blueprint(architecture), execution.recompute)
    probe.require(architecture, _passes(config, sizes, training_photos, execution))


def _passes(
    config: TrainingConfig, sizes: Iterable[Size], training_photos: int, execution: Execution
) -> Iterator[probe.Pass]:
    devices = device_count(execution.devices, execution.nodes)
    a_device = max(1, config.batch_size // devices)
    share = -(-training_photos // devices)  # of one device; the smaller batch at its end is left out, see `task`
    photos = min(a_device, share) * (devices if torch.cuda.is_available() else 1)  # GPUs share batch statistics
    why = f"--batch-size {config.batch_size}" if share >= a_device else f"{training_photos} photos to train on"
    for own_size in [config.image_size] if config.image_size else probe.some_sizes(sizes):
        yield probe.Pass(photos, own_size, training=True, given_by=why)
        yield probe.Pass(1, own_size, training=False, given_by="--image-size")
        for scale in config.tta_scales:
            size = InputSize(config.image_size, scale).of(own_size)
            yield probe.Pass(1, size, training=False, given_by=f"--tta-scales {scale:g}")


def _architecture(config: TrainingConfig) -> Architecture:
    """As `design` has it, without what a pretrained encoder would need to be asked for."""
    return Architecture(config.model, config.width, config.depth)


def find_batch_size(split: Split, config: TrainingConfig, execution: Execution) -> int:
    """The largest batch, a power of two, that one GPU holds in training.

    Raises:
        InputError: not even one photo fits, or the network does not take photos of this size.
    """
    own_size = split.training[0].size
    smallest = probe.smallest_batch(_architecture(config), config.image_size or own_size)
    config = replace(config, batch_size=smallest)
    task = SegmentationTask(
        initial_model(config, fold=0)[1].to(memory_format=fast_memory_format(best_device())), config
    )
    data = FoldData(split, config, execution)
    with (
        TemporaryDirectory() as folder,
        plain_worker_errors(),
        quiet_lightning(),
        explained_memory(task, own_size),
        one_kind_of_out_of_memory(),
    ):
        with trial_steps(task, best_device()) as step:  # Lightning's tuner would try no photos after one
            step(smallest, config.image_size or own_size)
        trainer = Trainer(
            devices=1,
            precision=precision_of(config),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=folder,
            max_epochs=-1,
        )
        found = Tuner(trainer).scale_batch_size(task, datamodule=data, mode="power", init_val=smallest, max_trials=10)
    assert found is not None
    return found


def photos_that_fit(config: TrainingConfig, own_size: Size, devices: int, recompute: int = 0) -> int | None:
    """How many of the photos of a batch a device takes at once, such that equal parts make up the batch.

    Tried twice each, as the optimiser has its memory only after the first step.

    Args:
        config: what decides the result.
        own_size: (height, width) of the largest photo.
        devices: how many share a batch.
        recompute: of how many levels of the U-Net features are computed twice.

    Returns:
        None where not even the smallest part fits.
    """
    size, share = config.image_size or own_size, config.batch_size // devices
    smallest = probe.smallest_batch(_architecture(config), size)
    device = best_device()
    model = build(_architecture(config)).to(memory_format=fast_memory_format(device))
    recompute_levels(model, recompute)
    with trial_steps(SegmentationTask(model, config), device) as step:
        for photos in (part for part in range(share, smallest - 1, -1) if share % part == 0):
            try:
                step(photos, size)
                step(photos, size)
            except torch.OutOfMemoryError as error:
                _forget(error)
                continue
            return photos
    return None


def estimated_hours(photos: Sequence[Photo], config: TrainingConfig, folds: int, execution: Execution) -> float | None:
    """About how many hours it takes to train `folds` folds, from a step timed here; None if no step succeeds."""
    memory.keep_freed_memory()
    device = best_device()
    model = build(design(config.model, config.width, config.depth)).to(memory_format=fast_memory_format(device))
    with trial_steps(SegmentationTask(model, config), device) as step:
        seconds = seconds_per_photo(step, config.image_size or photos[0].size)
    if seconds is None:
        return None
    training_photos = len(photos) * (config.folds - 1) / config.folds
    devices = device_count(execution.devices, execution.nodes)
    return seconds / devices * training_photos * config.epochs * folds / 3600


@contextmanager
def trial_steps(task: SegmentationTask, device: torch.device) -> Iterator[Step]:
    """Training steps on grey photos on a device, to see how long they take and whether they fit.

    Afterwards the task is as it was before.
    """
    state = copy.deepcopy(task.state_dict())
    half = None if precision_of(task.config) == "32-true" else half_precision()
    task.to(device).train()
    optimizer = make_optimizer(task.config, task.parameters())

    @one_kind_of_out_of_memory()
    def step(batch_size: int, size: Size) -> None:
        photos_B3HW = torch.full((batch_size, 3, *size), 128, dtype=torch.uint8, device=device)
        targets_B1HW = torch.zeros(batch_size, 1, *size, device=device)
        try:
            with torch.autocast(device.type, dtype=half, enabled=half is not None):
                logits_B1HW = task.model(photos_B3HW.to(memory_format=fast_memory_format(device)))
            task.loss(logits_B1HW.float(), targets_B1HW).backward()
            optimizer.step()
            wait_for(device)
        finally:
            task.zero_grad(set_to_none=True)

    try:
        yield step
    finally:
        task.load_state_dict(state)


def seconds_per_photo(step: Step, size: Size) -> float | None:
    """About how many seconds one photo of this size, (height, width), takes in training; None if no step succeeds.

    Steps of two small photos are timed, then of larger ones, until the time of a step is well above the fixed cost
    of any step; it is then scaled by the number of pixels.
    """
    seconds = None
    for height, width in _growing(size):
        try:
            step(2, (height, width))  # the first one of a size chooses its algorithms
            start = time.perf_counter()
            step(2, (height, width))
        except torch.OutOfMemoryError:
            return seconds
        except Exception:  # some networks take no photos as small as that, each with an error of its own
            continue
        step_seconds = time.perf_counter() - start
        seconds = step_seconds / 2 * (size[0] * size[1]) / (height * width)
        if step_seconds > LONG_ENOUGH:
            break
    return seconds


def _growing(size: Size) -> Iterator[Size]:
    """Sizes from a small one to this one, each with twice the sides of the one before."""
    height, width = (min(side, SMALL) for side in size)
    while (height, width) != size:
        yield height, width
        height, width = min(2 * height, size[0]), min(2 * width, size[1])
    yield size


def what_fits(step: Step, batch_size: int, size: Size) -> tuple[int, Size] | None:
    """The first smaller batch, or then smaller photo, with which a training step succeeds."""
    for smaller_batch, smaller_size in _smaller(batch_size, size):
        try:
            step(smaller_batch, smaller_size)
        except Exception:  # out of memory, or a batch or a size that the network does not take
            continue
        return smaller_batch, smaller_size
    return None


@contextmanager
def explained_memory(task: SegmentationTask, own_size: Size, devices: int = 1) -> Iterator[None]:
    """Say what would fit where the GPU's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        _forget(error)
        config = task.config
        size = config.image_size or own_size
        with trial_steps(task, best_device()) as step:
            fits = what_fits(step, config.batch_size // devices, size)
        if task.current_epoch:  # so that it did fit
            raise InputError(
                f"out of memory in epoch {task.current_epoch + 1} ({str(error).splitlines()[0]}). Does another program "
                "use the GPU? The same command continues from the last whole epoch."
            ) from error
        what_to_do = "no smaller size fits either; take a smaller model or --width"
        if fits:
            batch_size, (height, width) = fits
            what_to_do = f"--batch-size {batch_size * devices} --image-size {height}x{width} would fit"
            accumulate = config.batch_size // (batch_size * devices) * config.accumulate
            photos = config.batch_size * config.accumulate
            what_to_do += (
                f"; --accumulate {accumulate} keeps {photos} photos in each gradient step" if accumulate > 1 else ""
            )
        raise InputError(
            f"out of memory with {config.batch_size} photos of {size[0]}x{size[1]} ({str(error).splitlines()[0]}).\n"
            f"{what_to_do}."
        ) from error


def _forget(error: BaseException) -> None:
    """Give back the memory that the frames of a traceback still hold: the tensors of the step that failed."""
    failed: BaseException | None = error
    while failed:
        traceback.clear_frames(failed.__traceback__)
        failed = failed.__context__
    gc.collect()
    torch.cuda.empty_cache()


def _smaller(batch_size: int, size: Size) -> Iterator[tuple[int, Size]]:
    while batch_size > 1:
        batch_size //= 2
        yield batch_size, size
    for share in (0.8, 0.65, 0.5, 0.35, 0.25, 0.15):
        height, width = (round(side * share / 32) * 32 for side in size)
        if min(height, width) >= 32:
            yield 1, (height, width)
