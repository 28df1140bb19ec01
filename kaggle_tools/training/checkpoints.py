"""A fold's two checkpoints: written whole or not at all, and taken up only where they are whole and of this training.

RUN/fold<K>/checkpoints/best.ckpt    the epoch with the highest validation Dice
RUN/fold<K>/checkpoints/last.ckpt    the last epoch, to continue from

Both hold everything: weights, optimiser, schedule and callbacks. Knows nothing of photos.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from kaggle_tools.errors import OF_A_WORKER, InputError, KaggleToolsError
from kaggle_tools.models import saved_tensors
from kaggle_tools.models.saved_tensors import DamagedError
from kaggle_tools.system.files import replacing

BEST, LAST = "best", "last"
MADE_BY = "kaggle_tools"
"""Under this name a checkpoint says of which training it is; those of older versions do not."""
PARTS = {
    "epoch": int,
    "global_step": int,
    "state_dict": dict,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What Lightning restores a training from."""
MACHINE_ERRORS = (KaggleToolsError, OSError, torch.OutOfMemoryError, torch.AcceleratorError)
"""What a checkpoint is not to blame for."""
OF_VALUES = (TypeError, ValueError, AttributeError, LookupError)
"""What values of a wrong kind lead to, also later than in the first gradient step."""
MOST_BYTES = 2**38
"""No checkpoint is larger."""


class Checkpoint(ModelCheckpoint):
    """Writes one file: the epoch with the highest `monitor`, or without one the last epoch, to continue from.

    Two of these, as Lightning's own `save_last` writes the last epoch only if it was the best. And unlike
    Lightning's own it believes no path that a checkpoint names: it has one, wherever the run was moved to.

    Epochs before `after`, counted from 0, are not written: a score at another size is another score.
    """

    def __init__(self, folder: Path, filename: str, monitor: str | None = None, after: int = 0) -> None:
        super().__init__(
            dirpath=folder,
            filename=filename,
            monitor=monitor,
            mode="max",
            save_on_train_epoch_end=True,  # after MetricsTable has added the epoch, not before
            enable_version_counter=False,
        )
        self.after = after

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch, if it is to be written."""
        if pl_module.current_epoch >= self.after:
            super().on_train_epoch_end(trainer, pl_module)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.format_checkpoint_name({}))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score of the training that is resumed."""
        score, path = _best_score(state_dict), str(self.path)
        known: dict[str, Any] = {"dirpath": self.dirpath, "best_model_path": path, "best_model_score": score}
        if score is not None:
            known |= {"kth_best_model_path": path, "kth_value": score, "best_k_models": {path: score}}
        super().load_state_dict(known)


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints.

    Lightning's own writes into the folder for temporary files and moves: not in one step where RUN is on another disk.

    Args:
        made_by: of which training they are; compared with what a checkpoint says of itself, name by name.
    """

    def __init__(self, made_by: Mapping[str, Any]) -> None:
        super().__init__()
        self.made_by = dict(made_by)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint in the place of the one before.

        Raises:
            InputError: it cannot be written.
        """
        content = io.BytesIO()  # torch itself writes to a full disk without an exception that says so
        torch.save({**checkpoint, MADE_BY: self.made_by}, content)
        try:
            with replacing(Path(path)) as temporary:
                temporary.write_bytes(content.getbuffer())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror or error}). The epochs before this one are kept. "
                "Make room or let the folder be written: the same command continues from there."
            ) from error

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: Any = True) -> dict[str, Any]:
        """Read a checkpoint; nothing in it is run, whatever `weights_only` says.

        Raises:
            InputError: it is missing, damaged or of another training.
        """
        path = Path(path)
        checkpoint = _read(path)
        made_by = checkpoint.get(MADE_BY, {})
        if not isinstance(made_by, dict):
            raise unusable(path, f"{MADE_BY} is {type(made_by).__name__}")
        differing = [name for name in self.made_by if made_by.get(name, self.made_by[name]) != self.made_by[name]]
        if differing:
            changes = "; ".join(f"{name} was {made_by[name]}, now {self.made_by[name]}" for name in differing)
            raise InputError(
                f"{path}: of another training ({changes}). Put back the checkpoints of this one, or delete "
                f"{path.parent}: this fold is then trained from the start."
            )
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove nothing: a checkpoint is replaced by the next one, and no other file is Lightning's business."""

    def newest(self, best: Checkpoint, last: Checkpoint, task: LightningModule) -> "Resumed | None":
        """The checkpoint to continue from, if there is one; the weights that `task` then has are not its own.

        It is the last one; or the best one, where the command was killed between writing the two.

        Raises:
            InputError: one is missing, damaged or of another training, or they do not belong together.
        """
        if not last.path.is_file():
            return _resumed(best.path, self.load_checkpoint(best.path)) if best.path.is_file() else None
        checkpoint = self.load_checkpoint(last.path)
        if checkpoint["epoch"] < best.after and not best.path.is_file():
            return _resumed(last.path, checkpoint)
        newer = self.load_checkpoint(best.path)
        if newer["epoch"] > checkpoint["epoch"]:
            return _resumed(best.path, newer)
        _take_best(best, newer, _best_score(checkpoint["callbacks"].get(best.state_key)), task)
        return _resumed(last.path, checkpoint)

    def load_best(self, best: Checkpoint, score: Tensor | None, into: LightningModule) -> None:
        """Give a network the weights of the best epoch, of which the training says that it had this score.

        Raises:
            InputError: its checkpoint is missing, damaged, or that of another epoch.
        """
        _take_best(best, self.load_checkpoint(best.path), score, into)


class Resumed(NamedTuple):
    """The checkpoint that a training continues from."""

    path: Path
    epochs: int
    """How many are over."""
    steps: int
    """Gradient steps that were taken."""


class Begun(Callback):
    """Knows whether the training has begun, so that everything is restored."""

    def __init__(self, resumed: Resumed | None) -> None:
        self.resumed = resumed
        self.now = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """It has, once the optimiser has used its state."""
        self.now = self.now or self.resumed is None or trainer.global_step > self.resumed.steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare where it begins with the checkpoint.

        Raises:
            ValueError: it would begin at another epoch than that after the checkpoint's.
        """
        begins = (trainer.current_epoch, trainer.global_step)
        if self.resumed and begins != self.resumed[1:]:
            raise ValueError(f"it would begin after {begins[0]} epochs and {begins[1]} gradient steps")


@contextmanager
def explained_restoring(resumed: Resumed | None) -> Iterator[Begun]:
    """Say that a checkpoint is at fault for what is raised before the first gradient step is done, or for its values.

    Yields a callback, the last one to be called, by which the trainer tells that it has.

    Raises:
        InputError: the training cannot be restored from the checkpoint.
    """
    begun = Begun(resumed)
    try:
        yield begun
    except MACHINE_ERRORS:
        raise
    except Exception as error:  # Lightning and torch believe what is in a checkpoint, and fail anywhere
        if resumed is None or OF_A_WORKER in str(error) or (begun.now and not isinstance(error, OF_VALUES)):
            raise
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise unusable(resumed.path, f"cannot be continued from ({type(error).__name__}: {reason})") from error


def unusable(path: Path, reason: str) -> InputError:
    """The message about a checkpoint that a training cannot continue from."""
    way_on = f"Delete it: the same command then continues from {BEST}.ckpt, or from the start."
    if path.stem == BEST:
        way_on = f"Delete {BEST}.ckpt and {LAST}.ckpt: this fold is then trained from the start."
    return InputError(f"{path}: {reason}. {way_on}")


def _take_best(best: Checkpoint, checkpoint: Mapping[str, Any], score: Tensor | None, into: LightningModule) -> None:
    """`CheckpointFiles.load_best`, of a checkpoint that has been read."""
    saved = _best_score(checkpoint["callbacks"].get(best.state_key))
    if saved is None or score is None or float(saved) != float(score):
        raise InputError(
            f"{best.path}: not that of the best epoch ({best.monitor} is {_digits(saved)} in it and was "
            f"{_digits(score)}). Delete {LAST}.ckpt: the same command then continues from {best.path.name}."
        )
    try:
        into.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise unusable(best.path, f"its weights do not fit ({type(error).__name__})") from error
    if not all(bool(tensor.isfinite().all()) for tensor in into.state_dict().values()):
        raise unusable(best.path, "its weights are NaN or infinite")


def _read(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint whose bytes are as they were written.

    Raises:
        InputError: it is missing or damaged.
        PermissionError: it cannot be read.
    """
    try:
        checkpoint = saved_tensors.read(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise unusable(path, "missing") from error
    except DamagedError as error:
        raise unusable(path, f"damaged ({error})") from error
    contents = checkpoint if isinstance(checkpoint, dict) else {}
    wrong = [name for name, kind in PARTS.items() if not isinstance(contents.get(name), kind)]
    if wrong:
        raise unusable(path, f"damaged (no {', '.join(wrong)} in it)")
    return contents


def _resumed(path: Path, checkpoint: Mapping[str, Any]) -> Resumed:
    return Resumed(path, checkpoint["epoch"] + 1, checkpoint["global_step"])


def _best_score(state: object) -> Tensor | None:
    """The best score in the state of a `Checkpoint`, where there is one."""
    score = state.get("best_model_score") if isinstance(state, dict) else None
    return score if isinstance(score, Tensor) and score.is_floating_point() and score.numel() == 1 else None


def _digits(score: Tensor | None) -> str:
    return "unknown" if score is None else f"{float(score):.6g}"
