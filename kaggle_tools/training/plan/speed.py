"""How fast this machine trains and masks: short trainings on some of the photos, with all that a whole one does.

H height, W width.
"""

import io
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import ceil, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.inference.ensemble import Member
from kaggle_tools.inference.out_of_fold import scored_photos
from kaggle_tools.results.fold_table import Split
from kaggle_tools.system import memory
from kaggle_tools.system.hardware import best_device, one_kind_of_out_of_memory, wait_for
from kaggle_tools.training.fold import as_saved, callbacks_of, card_of, make_trainer
from kaggle_tools.training.plan.shortage import forget
from kaggle_tools.training.plan.trial import architecture_of, untrained
from kaggle_tools.training.task import FoldData, precision_of, quiet_lightning

WARM_UP, TIMED = 3, 8
"""Gradient steps of a short training: the first ones choose algorithms and are not timed, so many others at least."""
QUEUE = 2
"""Batches that a DataLoader's worker keeps ready (its `prefetch_factor`): steps that they feed wait for no photo."""
HELD_OUT = 6
"""Photos that it masks after a first batch."""
PIXELS = 1_000_000
"""So many are trained on, and so many validated, at least: a few small photos would be over too soon to tell."""
LONG_ENOUGH = 1.0
"""Seconds of a gradient step after which no larger size is tried: the others follow from the pixels."""
LARGER = 1.9
"""How many times as many pixels the next size that is tried has."""


class Line(NamedTuple):
    """Seconds of a photo, by the size of the network's input."""

    fixed: float
    per_pixel: float

    def at(self, size: Size) -> float:
        """Seconds at this size, (height, width)."""
        return self.fixed + self.per_pixel * prod(size)


@dataclass(frozen=True)
class Speed:
    """How long a photo takes."""

    training: Line
    """By the size of what is trained on, which may be a part of the photo."""
    validation: Line
    masking: Line
    """Out-of-fold: its probabilities at its own size, its mask and its score."""
    largest: Size
    """No size with more pixels fits into the memory, as far as larger ones were tried."""


class _Times(NamedTuple):
    """Seconds of a photo at one size."""

    training: float
    validation: float
    masking: float


def measured_speed(
    photos: Sequence[Photo],
    competition: Competition,
    config: TrainingConfig,
    execution: Execution,
    sizes: Sequence[Size],
    seconds: float,
) -> Speed:
    """How fast one device trains and masks these photos at some of the ascending sizes, (height, width).

    After so many `seconds` no further size is tried: what larger ones take follows from the pixels.

    Raises:
        InputError: no size fits into the memory, or photos cannot be read.
    """
    memory.keep_freed_memory()
    alone = replace(execution, devices="1", nodes=1, parallel_folds=False, pictures_every=0, wandb=None)
    found: dict[Size, _Times] = {}
    largest, started = sizes[-1], time.monotonic()
    for size in sizes:
        if found and prod(size) < LARGER * prod([*found][-1]) and size != sizes[-1]:
            continue
        try:
            with one_kind_of_out_of_memory():
                at_size = replace(config, image_size=size, early_sizes=(), epochs=1)
                found[size] = _timed(photos, competition, at_size, alone)
        except torch.OutOfMemoryError as error:
            forget(error)
            if not found:
                raise InputError(f"--budget: out of memory with photos of {size[0]}x{size[1]}") from error
            largest = [*found][-1]
            break
        if found[size].training * config.batch_size > LONG_ENOUGH or time.monotonic() - started > seconds:
            break
    training, validation, masking = zip(*found.values(), strict=True)
    whole, cropped = [*found], [config.cropped(size) for size in found]
    return Speed(_line(cropped, training), _line(whole, validation), _line(whole, masking), largest)


def _line(sizes: Sequence[Size], seconds: Sequence[float]) -> Line:
    """Through the last two points, and through the origin where their sizes are equal, or the fixed part negative."""
    pixels = [prod(size) for size in sizes]
    if pixels[-1] > pixels[max(0, len(sizes) - 2)]:
        per_pixel = (seconds[-1] - seconds[-2]) / (pixels[-1] - pixels[-2])
        fixed = seconds[-1] - per_pixel * pixels[-1]
        if min(per_pixel, fixed) >= 0:
            return Line(fixed, per_pixel)
    return Line(0.0, seconds[-1] / pixels[-1])


def _timed(photos: Sequence[Photo], competition: Competition, config: TrainingConfig, execution: Execution) -> _Times:
    """The seconds of a photo in a short training of one device."""
    ready = QUEUE * execution.workers
    untimed = WARM_UP * config.accumulate + ready
    least = TIMED * config.accumulate + execution.workers
    training = untimed + max(least, _batches(config, config.trained_size((1, 1))))
    validation = ready + max(TIMED, execution.workers, _batches(config, config.image_size or (1, 1)))
    split = Split(*([*islice(cycle(photos), number * config.batch_size)] for number in (training, validation)))
    masked = max(HELD_OUT, config.batch_size)
    task, watch = untrained(config, execution), _Stopwatch()
    with TemporaryDirectory() as folder, quiet_lightning(), redirect_stdout(io.StringIO()):
        data = FoldData(split, config, execution)
        trainer = make_trainer(Path(folder), config, execution, [*callbacks_of(Path(folder), data, execution), watch])
        if execution.compiled:
            task.model.compile()
        trainer.fit(task, datamodule=data)
        architecture = architecture_of(config)
        card = card_of(config, architecture, competition, fold=0)
        scored = scored_photos(
            Member(as_saved(task.model, architecture), card, Path(folder)),
            competition,
            split.held_out[: config.batch_size + masked],
            device=best_device(),
            precision=precision_of(config),
            batch_size=config.batch_size,
            workers=execution.workers,
        )
        ends = [time.perf_counter() for _ in scored]
    return _Times(
        training=_mean_gap(watch.training[untimed:]) / config.batch_size,
        validation=_mean_gap(watch.validation[ready:]) / config.batch_size,
        masking=(ends[-1] - ends[config.batch_size * config.classes - 1]) / masked,
    )


def _batches(config: TrainingConfig, size: Size) -> int:
    """How many it takes until there are `PIXELS`, in photos of this size."""
    return ceil(PIXELS / prod(size) / config.batch_size)


def _mean_gap(ends: Sequence[float]) -> float:
    return (ends[-1] - ends[0]) / max(1, len(ends) - 1)


class _Stopwatch(Callback):
    """Notes when each batch was done."""

    def __init__(self) -> None:
        self.training: list[float] = []
        self.validation: list[float] = []

    def on_train_batch_end(self, _: Trainer, pl_module: LightningModule, *__: Any) -> None:
        wait_for(pl_module.device)
        self.training.append(time.perf_counter())

    def on_validation_batch_end(self, _: Trainer, pl_module: LightningModule, *__: Any) -> None:
        wait_for(pl_module.device)
        self.validation.append(time.perf_counter())
