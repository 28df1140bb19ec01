"""What a training tells of itself while it goes on: how far it is, and how its last epoch masks a few held-out photos.

It goes into a small file of the fold's folder, from which another process writes the page (`report.live`). The masks
are those of the validation, so that nothing is computed twice. A file that cannot be written ends no training.

B batch, C classes, H height, W width.
"""

import base64
import io
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kaggle_tools import metrics
from kaggle_tools.data.draw_outlines import colour_errors, draw_outlines
from kaggle_tools.data.images import resize
from kaggle_tools.errors import InputError
from kaggle_tools.results.records.progress import (
    LONGEST_SIDE,
    HeldOutPicture,
    Progress,
    read_progress,
    write_progress,
)
from kaggle_tools.system.output import warn_once
from kaggle_tools.training.callbacks import EpochLines

COUNT = 4  # photos
RECORD_SECONDS = 30.0
"""Shorter epochs are not all recorded: a page is written once a minute at most."""
QUALITY = 70  # of a JPEG


class ProgressRecord(Checkpoint):
    """Records, in the first process, how far the training of a fold is.

    To Lightning it is a checkpoint, as `EpochLines` is: the epoch that is said to be over is saved.

    Args:
        fold_folder: where the record lies.
        stems: of the held-out photos, in the order in which they are validated.
        lines: knows the time that is left; comes before this one.
    """

    def __init__(self, fold_folder: Path, stems: Sequence[str], lines: EpochLines) -> None:
        self.fold_folder = fold_folder
        self.stems = stems
        self.lines = lines
        self.now: Progress | None = None
        self.recorded = 0.0  # as `time.monotonic` counts
        self.wanted: dict[int, str] = {}  # photos to keep, by their place among those of this process
        self.validated = 0  # photos of this process in this epoch
        self.masked: list[tuple[str, Tensor, Tensor, Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that it has begun, or goes on: then the pictures and the time left of before still hold."""
        if not trainer.is_global_zero:
            return
        done, before = pl_module.current_epoch, self._before()
        now = Progress(done, trainer.max_epochs or 1, 0.0, None, self.lines.folds_left, None)
        if before is not None and before.epochs_done == done:
            now = replace(now, seconds_left=before.seconds_left, pictures=before.pictures)
        self._record(now)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the masks of the epoch before, and choose a few photos that lie evenly among those of this process."""
        self.validated, self.masked = 0, []
        ours = self.stems[:: trainer.world_size]  # of the first process, which alone keeps any
        places = np.linspace(0, len(ours) - 1, min(COUNT, len(ours))).astype(int).tolist()
        self.wanted = {place: ours[place] for place in places}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the masks of the chosen photos; `outputs` are the predicted ones of the batch."""
        if not trainer.is_global_zero:
            return
        photos_B3HW, masks_BCHW = batch
        for at in range(len(photos_B3HW)):
            if stem := self.wanted.get(self.validated + at):
                kept = [values[at].cpu().clone() for values in (photos_B3HW, masks_BCHW, outputs)]
                self.masked.append((stem, kept[0], kept[1], kept[2]))
        self.validated += len(photos_B3HW)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch, if the last record is old enough or was made before any epoch."""
        if not trainer.is_global_zero:
            return
        done, lines = pl_module.current_epoch + 1, self.lines
        is_first = self.now is None or self.now.seconds_left is None
        self.now = Progress(done, trainer.max_epochs or done, 0.0, lines.fold_left, lines.folds_left, lines.run_left)
        if is_first or time.monotonic() - self.recorded >= RECORD_SECONDS:
            self._record(self._with_pictures(self.now))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that no epoch is left: what follows is the score of the held-out photos."""
        if trainer.is_global_zero and self.now is not None:
            later = max(0.0, (self.now.all_seconds_left or 0.0) - (self.now.seconds_left or 0.0))
            self._record(self._with_pictures(replace(self.now, seconds_left=0.0, all_seconds_left=later)))

    def _before(self) -> Progress | None:
        """What an interrupted training has recorded; a record that is damaged is written anew."""
        try:
            return read_progress(self.fold_folder)
        except InputError:
            return None

    def _with_pictures(self, progress: Progress) -> Progress:
        return replace(progress, pictures=tuple(picture(*one) for one in self.masked) or progress.pictures)

    def _record(self, progress: Progress) -> None:
        self.now, self.recorded, self.masked = progress, time.monotonic(), []
        try:
            write_progress(self.fold_folder, replace(progress, written=time.time()))
        except OSError as error:
            warn_once(f"how far the training is cannot be recorded, so no page shows it: {error}")


def picture(stem: str, photo_3HW: Tensor, masks_CHW: Tensor, predicted_CHW: Tensor) -> HeldOutPicture:
    """A small picture of a photo, uint8, with its true masks, uint8 from 0 to 255, and the predicted ones, bool.

    Its Dice is the mean over the classes, of which the picture shows all together.
    """
    photo_HW3 = np.ascontiguousarray(photo_3HW.numpy().transpose(1, 2, 0))
    pairs = [*zip(predicted_CHW.numpy(), masks_CHW.numpy() > 127, strict=True)]
    predicted_HW, truth_HW = (np.any(masks, axis=0) for masks in zip(*pairs, strict=True))
    height, width = photo_HW3.shape[:2]
    share = min(1.0, LONGEST_SIDE / max(height, width))
    small = (max(1, round(share * height)), max(1, round(share * width)))
    drawn_HW3 = resize(photo_HW3, small)
    small_masks = [resize(mask_HW.astype(np.uint8) * 255, small) > 127 for mask_HW in (predicted_HW, truth_HW)]
    drawn_HW3 = draw_outlines(colour_errors(drawn_HW3, *small_masks), *small_masks)
    dice = float(np.mean([metrics.dice(metrics.overlap(*pair)) for pair in pairs]))
    return HeldOutPicture(stem, dice, _jpeg(drawn_HW3))


def _jpeg(pixels_HW3: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels_HW3).save(file, format="JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode()
