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

import numpy as np
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
from kaggle_tools.system.processes import CORES
from kaggle_tools.training.fold import as_saved, callbacks_of, card_of, make_trainer
from kaggle_tools.training.plan.loading_time import seconds_to_load
from kaggle_tools.training.plan.shortage import forget
from kaggle_tools.training.plan.trial import architecture_of, untrained
from kaggle_tools.training.task import FoldData, precision_of, quiet_lightning

WARM_UP, TIMED = 3, 8
"""Gradient steps of a short training: the first ones choose algorithms and are not timed, so many others at least."""
SHARE_OF_STEPS = 0.3
"""Of the time that is left for a size, what its gradient steps may take: workers start, and masks are made, besides."""
HELD_OUT = 6
"""Photos that are masked, at least, after a first batch."""
PIXELS = 1_000_000
"""So many are trained on and validated, at least: on small photos the first batches, which lie ready, would decide."""
LONG_ENOUGH = 1.0
"""Seconds of a gradient step after which no larger size is tried: the others follow from the pixels."""
LARGER = 1.9
"""How many times as many pixels the next size that is tried has."""


class Line(NamedTuple):
    """Seconds of a photo, by the size of the network's input."""

    fixed: float
    per_pixel: float
    measured: tuple[tuple[int, float], ...] = ()
    """Pixels, ascending, and the seconds that they took: the line is for larger sizes."""

    def at(self, size: Size) -> float:
        """Seconds at this size, (height, width)."""
        pixels = prod(size)
        if self.measured and pixels <= self.measured[-1][0]:
            known, seconds = zip(*self.measured, strict=True)
            return float(np.interp(pixels, known, seconds))
        return self.fixed + self.per_pixel * pixels


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
    epoch: float = 0.0
    """Seconds of an epoch besides its photos: checkpoints and records."""


class _Times(NamedTuple):
    """Seconds of a photo at one size, and those of an epoch besides its photos."""

    training: float
    validation: float
    masking: float
    epoch: float = 0.0


def measured_speed(
    photos: Sequence[Photo],
    competition: Competition,
    config: TrainingConfig,
    execution: Execution,
    sizes: Sequence[Size],
    seconds: float,
) -> Speed:
    """How fast one device trains and masks these photos at some of the ascending sizes, (height, width).

    One size is tried in any case. No further one is for which the `seconds` would not suffice, to tell from the last
    one: what larger ones take follows from the pixels.

    Raises:
        InputError: no size fits into the memory, or photos cannot be read.
    """
    memory.keep_freed_memory()
    alone = replace(execution, devices="1", nodes=1, parallel_folds=False, pictures_every=0, wandb=None)
    found: dict[Size, _Times] = {}
    largest, ends = sizes[-1], time.monotonic() + seconds
    for size in sizes:
        if found and prod(size) < LARGER * prod([*found][-1]) and size != sizes[-1]:
            continue
        started = time.monotonic()
        try:
            with one_kind_of_out_of_memory():
                at_size = replace(config, image_size=size, early_sizes=(), epochs=1)
                found[size] = _timed(photos, competition, at_size, alone, SHARE_OF_STEPS * (ends - started))
        except torch.OutOfMemoryError as error:
            forget(error)
            if not found:
                raise InputError(f"--budget: out of memory with photos of {size[0]}x{size[1]}") from error
            largest = [*found][-1]
            break
        now = time.monotonic()
        if found[size].training * config.batch_size > LONG_ENOUGH or now + (now - started) > ends:
            break
    training, validation, masking, epoch = zip(*found.values(), strict=True)
    whole, cropped = [*found], [config.cropped(size) for size in found]
    return Speed(_line(cropped, training), _line(whole, validation), _line(whole, masking), largest, min(epoch))


def _line(sizes: Sequence[Size], seconds: Sequence[float]) -> Line:
    """Through the last two points, and through the origin where their sizes are equal, or the fixed part negative."""
    pixels = [prod(size) for size in sizes]
    measured = tuple(sorted(dict(zip(pixels, seconds, strict=True)).items()))
    if pixels[-1] > pixels[max(0, len(sizes) - 2)]:
        per_pixel = (seconds[-1] - seconds[-2]) / (pixels[-1] - pixels[-2])
        fixed = seconds[-1] - per_pixel * pixels[-1]
        if min(per_pixel, fixed) >= 0:
            return Line(fixed, per_pixel, measured)
    return Line(0.0, seconds[-1] / pixels[-1], measured)


def _timed(
    photos: Sequence[Photo], competition: Competition, config: TrainingConfig, execution: Execution, seconds: float
) -> _Times:
    """The seconds of a photo in a short training of one device, whose gradient steps take about so many `seconds`."""
    first, training, validation = photos_to_time(config)
    alike = [photo for photo in photos if photo.size == photos[0].size]  # which are masked in whole batches
    split = Split([*islice(cycle(photos), first + training)], [*islice(cycle(photos), validation)])
    masked = max(HELD_OUT, config.batch_size)
    least = first + TIMED * config.batch_size * config.accumulate
    task, watch = untrained(config, execution), _Stopwatch(least, seconds)
    with TemporaryDirectory() as folder, quiet_lightning(), redirect_stdout(io.StringIO()):
        data = FoldData(split, config, execution)
        trainer = make_trainer(Path(folder), config, execution, [*callbacks_of(Path(folder), data, execution), watch])
        if execution.compiled:
            task.model.compile()
        try:
            trainer.fit(task, datamodule=data)
        except SystemExit as end:  # with which Lightning answers Ctrl-C
            raise KeyboardInterrupt from end
        architecture = architecture_of(config)
        card = card_of(config, architecture, competition, fold=0)
        scored = scored_photos(
            Member(as_saved(task.model, architecture), card, Path(folder)),
            competition,
            [*islice(cycle(alike), config.batch_size + masked)],
            device=best_device(),
            precision=precision_of(config),
            batch_size=config.batch_size,
            workers=execution.workers,
        )
        ends = [time.perf_counter() for _ in scored]
    masking = (ends[-1] - ends[config.batch_size * config.classes - 1]) / masked
    # So short a training may live on what workers had ready, while a whole one waits for them.
    loading = seconds_to_load(photos, config, execution) / max(1, min(execution.workers, CORES))
    return _Times(
        training=max(loading, watch.training.seconds_a_photo(first)),
        validation=max(loading, watch.validation.seconds_a_photo(1)),
        masking=max(loading, masking),
        epoch=watch.after_validation,
    )


def photos_to_time(config: TrainingConfig) -> tuple[int, int, int]:
    """How many photos a short training is given before it is timed, while it is, and to validate."""
    size = config.image_size
    assert size is not None
    step = config.batch_size * config.accumulate
    training = max(TIMED * step, ceil(PIXELS / prod(config.cropped(size)) / step) * step)
    return WARM_UP * step, training, max(2 * config.batch_size, ceil(PIXELS / prod(size)))


class _Laps:
    """When each batch was done, and how many photos were then."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, int]] = []

    def note(self, photos: int) -> None:
        """A batch of so many photos is done."""
        self._ends.append((time.perf_counter(), photos + (self._ends[-1][1] if self._ends else 0)))

    @property
    def photos(self) -> int:
        """How many are done."""
        return self._ends[-1][1]

    @property
    def end(self) -> float:
        """When the last one was."""
        return self._ends[-1][0]

    def seconds_a_photo(self, first: int) -> float:
        """On average, from the end of the batch on in which the `first` photos are done."""
        (start, before), *_ = (end for end in self._ends if end[1] >= first)
        end, photos = self._ends[-1]
        return (end - start) / (photos - before)


class _Stopwatch(Callback):
    """Notes when each batch was done, and stops a training that takes too long."""

    def __init__(self, least: int, seconds: float) -> None:
        self.training, self.validation = _Laps(), _Laps()
        self.after_validation = 0.0
        """Seconds of the end of the epoch."""
        self._least, self._seconds = least, seconds
        self._started = 0.0

    def on_train_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, _: Any, batch: Any, *__: Any) -> None:
        wait_for(pl_module.device)
        self.training.note(len(batch[0]))
        if self.training.photos >= self._least and time.perf_counter() - self._started > self._seconds:
            trainer.should_stop = True  # it validates before

    def on_train_end(self, *_: Any) -> None:
        self.after_validation = time.perf_counter() - self.validation.end

    def on_validation_batch_end(self, _: Trainer, pl_module: LightningModule, __: Any, batch: Any, *___: Any) -> None:
        wait_for(pl_module.device)
        self.validation.note(len(batch[0]))
