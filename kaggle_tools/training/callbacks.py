"""What happens beside a training: its table of metrics, what it prints, its pictures, and when it stops."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools.data.draw_outlines import draw_outlines
from kaggle_tools.data.loading.datasets import MaskedPhotos
from kaggle_tools.errors import OutOfTimeError
from kaggle_tools.system.files import write_text
from kaggle_tools.system.json_values import floating, mapping
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.progress import duration

LINE_SECONDS = 60.0
"""Between two lines within an epoch."""


class MetricsTable(Callback):
    """Writes every epoch's metrics to a CSV.

    The rows travel in the checkpoint, so that the table of a resumed training is that of an uninterrupted
    one; Lightning's CSVLogger would delete the table that it finds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the rows with the epochs that are over.

        Raises:
            ValueError: there are fewer or more, as the checkpoint is damaged.
        """
        if len(self.rows) != pl_module.current_epoch:
            raise ValueError(f"a table of {len(self.rows)} epochs, where {pl_module.current_epoch} are over")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this epoch's row and write the table."""
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.rows.append({"epoch": pl_module.current_epoch, "step": trainer.global_step, "lr": rate, **values})
        if trainer.is_global_zero:
            write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False, lineterminator="\n"))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the training that is resumed.

        Raises:
            KeyError: there are none.
            MalformedError: a value in them is no number from 0 on.
        """
        self.rows = [{name: floating(value) for name, value in mapping(row).items()} for row in state_dict["rows"]]


class Patience(EarlyStopping):
    """Stops when the validation Dice has not risen for some epochs.

    Unlike Lightning's own it stops again at once where a training that it had stopped is taken up. Epochs before
    `after`, counted from 0, do not count: a score at another size is another score.
    """

    def __init__(self, epochs: int, after: int = 0) -> None:
        super().__init__(monitor="val_dice", mode="max", patience=epochs, check_on_train_epoch_end=True)
        self.after = after

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the score of this epoch, if it counts."""
        if pl_module.current_epoch >= self.after:
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint says of the best epoch.

        Raises:
            ValueError: it is no score.
        """
        super().load_state_dict(state_dict)
        if not (isinstance(self.best_score, Tensor) and self.best_score.numel() == 1):
            raise ValueError(f"a best score of {self.best_score!r}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop where there is no patience left."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class EpochLines(Checkpoint):
    """One line an epoch: its metrics, and how long this fold and the whole run will still take.

    Within a long epoch it says once a minute how far that is, where no progress bar does.

    To Lightning it is a checkpoint, which it calls after all other callbacks and in their order: who reads the line
    knows that the epoch is saved, and a terminal that is gone loses a line and no epoch.

    Args:
        folds_left: how many folds are to be trained, this one included.
        efforts: how long each epoch takes as a share of the last one.
    """

    def __init__(self, folds_left: int, efforts: Sequence[float]) -> None:
        self.folds_left = folds_left
        self.efforts = efforts
        self.seconds, self.effort = 0.0, 0.0  # of the epochs since the training was begun or taken up
        self.fold_left, self.run_left = 0.0, 0.0  # seconds, known once an epoch is over

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.started = self.said = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print how far the epoch is."""
        now = time.monotonic()
        if now - self.said < LINE_SECONDS or sys.stdout.isatty() or not trainer.is_global_zero:
            return
        self.said = now
        done, total = batch_idx + 1, int(trainer.num_training_batches)
        left = duration((now - self.started) / done * (total - done))
        say(f"epoch {pl_module.current_epoch + 1}/{trainer.max_epochs}: {done:,} of {total:,} batches, {left} left")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line."""
        self.seconds += time.monotonic() - self.started
        self.effort += self.efforts[pl_module.current_epoch]
        if not trainer.is_global_zero:
            return
        values = "  ".join(f"{name} {float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items()))
        last_epoch_seconds = self.seconds / self.effort
        self.fold_left = sum(self.efforts[pl_module.current_epoch + 1 :]) * last_epoch_seconds
        self.run_left = self.fold_left + (self.folds_left - 1) * sum(self.efforts) * last_epoch_seconds
        left = f"left: fold {duration(self.fold_left)}, run {duration(self.run_left)}"
        say(f"epoch {pl_module.current_epoch + 1}/{trainer.max_epochs}  {values}  {left}")
        _warn_of_a_constant_prediction(trainer.callback_metrics)


class TimeLimit(Callback):
    """Ends the training between two epochs when the next one would end too late.

    One serves all folds, so that how long a fold's first epoch lasts is known from the fold before.

    Args:
        deadline: as `time.monotonic` counts.
        efforts: how long each epoch takes as a share of the last one.
    """

    def __init__(self, deadline: float, efforts: Sequence[float]) -> None:
        self.deadline = deadline
        self.efforts = efforts
        self.epoch_seconds = 0.0  # of a last epoch
        self.started = 0.0
        self.any_epoch = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the clock with the deadline; the epoch before has been written to disk by now.

        Raises:
            OutOfTimeError: an epoch as fast as the one before would not end in time.
        """
        self.started = time.monotonic()
        # All processes must agree, or those that continue would wait for the others for ever.
        seconds = self.epoch_seconds * self.efforts[pl_module.current_epoch]
        if trainer.strategy.broadcast(self.started + seconds > self.deadline):
            way_on = "the same command continues from there" if self.any_epoch else "not one fits into it: give more"
            raise OutOfTimeError(
                f"stopped after {pl_module.current_epoch} of {trainer.max_epochs} epochs, as --max-hours asks; {way_on}"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.epoch_seconds = (time.monotonic() - self.started) / self.efforts[pl_module.current_epoch]
        self.any_epoch = True

    def state_dict(self) -> dict[str, Any]:
        """How long a last epoch takes, by the one before."""
        return {"epoch_seconds": self.epoch_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up how long an epoch took.

        Raises:
            KeyError: it is not said.
            MalformedError: it is no number from 0 on.
        """
        self.epoch_seconds = floating(state_dict["epoch_seconds"])


class Pictures(Callback):
    """Every few epochs, some validation photos with the true and the predicted outline, to the loggers.

    Of several classes it is the outline of all together.
    """

    COUNT = 4

    def __init__(self, photos: MaskedPhotos, every: int) -> None:
        self.photos = photos
        self.indices = np.linspace(0, len(photos) - 1, min(self.COUNT, len(photos))).astype(int)
        self.every = every

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them: at this moment the averaged weights, where there are some, are in place."""
        if (trainer.current_epoch + 1) % self.every or not trainer.is_global_zero:
            return
        for index in self.indices:
            photo_HW3, masks = self.photos.pixels(index)
            truth_HW = masks.reshape(*masks.shape[:2], -1).max(axis=2) > 127
            tensor = torch.from_numpy(photo_HW3.transpose(2, 0, 1).copy())[None].to(pl_module.device)
            predicted_HW = (pl_module.model(tensor)[0] > 0).any(dim=0).cpu().numpy()  # type: ignore[operator]
            picture_HW3 = draw_outlines(photo_HW3, predicted_HW, truth_HW)
            _log_picture(trainer, f"held out/{self.photos.photos[index].stem}", picture_HW3)


def _log_picture(trainer: Trainer, name: str, picture_HW3: NDArray[np.uint8]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture_HW3, trainer.global_step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture_HW3], step=trainer.global_step)


def _warn_of_a_constant_prediction(values: Mapping[str, Tensor]) -> None:
    """The most common complaint about U-Nets: every mask is black. The Dice alone does not show it."""
    predicted, true = float(values["val_foreground"]), float(values["val_foreground_true"])
    constant = "background" if predicted == 0 < true else "foreground" if predicted == 1 > true else None
    if constant:
        warn(
            f"the model predicts every pixel of every validation photo as {constant}. Unless that changes in the next "
            "epochs: lower --lr, use --dice-weight 1, and look whether the masks fit the photos."
        )
