"""Trial steps before a training: whether the network takes its batches, how long one takes, and whether it fits.

H height, W width.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.errors import counted
from kaggle_tools.models import probe
from kaggle_tools.models.frozen_weights import freeze_levels
from kaggle_tools.models.segmenter import Architecture, blueprint, build, design, recompute_levels
from kaggle_tools.system.hardware import (
    best_device,
    fast_memory_format,
    half_of,
    one_kind_of_out_of_memory,
    wait_for,
)
from kaggle_tools.system.processes import device_count
from kaggle_tools.training.optim import make_optimizer
from kaggle_tools.training.task import SegmentationTask, precision_of

SOME_SIZE = (256, 256)
"""In the place of the photos' own, where only the shares of sizes count."""
Step = Callable[[int, Size], None]
"""Takes a training step with a number of photos of a size, (height, width)."""


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
    architecture = architecture_of(config)
    recompute_levels(blueprint(architecture), execution.recompute)
    probe.require(architecture, _passes(config, sizes, training_photos, execution))


def _passes(
    config: TrainingConfig, sizes: Iterable[Size], training_photos: int, execution: Execution
) -> Iterator[probe.Pass]:
    devices = device_count(execution.devices, execution.nodes)
    a_device = max(1, config.batch_size // devices)
    share = -(-training_photos // devices)  # of one device; the smaller batch at its end is left out, see `task`
    photos = min(a_device, share) * (devices if torch.cuda.is_available() else 1)  # GPUs share batch statistics
    all_photos = f"{counted(training_photos, 'photo')} to train on"
    why = f"--batch-size {config.batch_size}" if share >= a_device else all_photos
    for height, width, _ in config.early_sizes:
        yield probe.Pass(photos, config.cropped((height, width)), training=True, given_by="--early-sizes")
        yield probe.Pass(1, (height, width), training=False, given_by="--early-sizes")
    for own_size in [config.image_size] if config.image_size else probe.some_sizes(sizes):
        yield probe.Pass(photos, config.cropped(own_size), training=True, given_by=why)
        yield probe.Pass(1, own_size, training=False, given_by="--image-size")
        for scale in config.tta_scales:
            size = InputSize(config.image_size, scale, config.fit).of(own_size)
            yield probe.Pass(1, size, training=False, given_by=f"--tta-scales {scale:g}")


def architecture_of(config: TrainingConfig) -> Architecture:
    """As `design` has it, without what a pretrained encoder would need to be asked for."""
    return design(replace(config, pretrained=None, frozen_levels=0))  # which only pretrained ones may have


def untrained(config: TrainingConfig, execution: Execution) -> SegmentationTask:
    """What is trained, with fresh weights.

    Raises:
        InputError: there is no such network, or no levels to compute twice.
    """
    architecture = architecture_of(config)
    model = build(architecture).to(memory_format=fast_memory_format(best_device()))
    recompute_levels(model, execution.recompute)
    freeze_levels(model, architecture, config.trained_size(SOME_SIZE), config.frozen_levels)
    return SegmentationTask(model, config)


@contextmanager
def trial_steps(task: SegmentationTask, device: torch.device) -> Iterator[Step]:
    """Training steps on grey photos on a device, to see how long they take and whether they fit.

    Afterwards the task is as it was before.

    Raises:
        OutOfMemoryError: the device has no room for the weights, or for what the block itself puts there.
    """
    state = copy.deepcopy(task.state_dict())
    half = half_of(precision_of(task.config))
    with one_kind_of_out_of_memory():
        task.to(device).train()
    optimizer = make_optimizer(task.config, task.parameters())

    @one_kind_of_out_of_memory()
    def step(batch_size: int, size: Size) -> None:
        photos_B3HW = torch.full((batch_size, 3, *size), 128, dtype=torch.uint8, device=device)
        targets_BCHW = torch.zeros(batch_size, task.config.classes, *size, device=device)
        try:
            with torch.autocast(device.type, dtype=half, enabled=half is not None):
                logits_BCHW = task.logits(photos_B3HW)
            task.loss(logits_BCHW, targets_BCHW).backward()
            optimizer.step()
            wait_for(device)
        finally:
            task.zero_grad(set_to_none=True)

    try:
        with one_kind_of_out_of_memory():
            yield step
    finally:
        task.load_state_dict(state)
