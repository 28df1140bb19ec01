"""Train one fold with Lightning, then score it on the photos that it never saw.

The score comes from the same code path as the masks of the test photos (`prediction`), at the photos'
own size. Knows nothing of the command line.

B batch, H height, W width.
"""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from kaggle_tools import metrics, run_folder
from kaggle_tools.competition import Competition
from kaggle_tools.data import AugmentedPhotos, EpochSampler, MaskedPhotos, loader, plain_worker_errors
from kaggle_tools.errors import InputError
from kaggle_tools.files import replacing, write_text
from kaggle_tools.images import Photo, read_mask, write_mask
from kaggle_tools.losses import BceDiceLoss
from kaggle_tools.model import ModelCard, Segmenter, build, design, save
from kaggle_tools.prediction import Member, has_bfloat16, predict
from kaggle_tools.presets import TrainingConfig
from kaggle_tools.progress import track


@dataclass(frozen=True)
class Hardware:
    """What a training runs on. It decides the speed, and with several devices how many photos make a step."""

    devices: str = "auto"
    """How many devices, as Lightning takes it: `auto`, `2`, or `0,1` for these two."""
    nodes: int = 1
    """How many machines."""
    workers: int = 2
    """Processes that load photos, for each device."""


class SegmentationTask(LightningModule):
    """How a network is trained and validated. Batches are pairs of uint8 photos and masks (see `data`)."""

    def __init__(self, model: Segmenter, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.loss = BceDiceLoss(config.bce_weight, config.dice_weight)

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin every step from a seed of its own, so that a resumed training draws what an uninterrupted one does."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a batch.

        Raises:
            InputError: the loss is not a finite number any more.
        """
        photos_B3HW, masks_B1HW = batch
        loss = self.loss(self._logits(photos_B3HW), masks_B1HW.float() / 255)
        if not bool(loss.isfinite()):
            raise InputError(
                f"the loss became {loss.item()} at step {self.global_step}: lower --lr or --precision 32-true"
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(photos_B3HW), sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log the loss, and the mean Dice and IoU over photos at the size for training."""
        photos_B3HW, masks_B1HW = batch
        logits_B1HW = self._logits(photos_B3HW)
        counts = _overlap(logits_B1HW > 0, masks_B1HW > 127)
        values = {
            "val_loss": self.loss(logits_B1HW, masks_B1HW.float() / 255),
            "val_dice": float(metrics.dice(counts).mean()),
            "val_iou": float(metrics.iou(counts).mean()),
        }
        self.log_dict(values, on_epoch=True, prog_bar=True, batch_size=len(photos_B3HW), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and the schedule that the configuration names."""
        config = self.config
        if config.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(self.parameters(), lr=config.lr)
        else:
            optimizer = torch.optim.AdamW(self.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        if config.schedule == "constant":
            return optimizer
        # Not `estimated_stepping_batches`: that starts the workers before a resumed training knows its epoch.
        steps = config.epochs * len(self.trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        warm_up = min(0.9, max(0.1, 1.5 / steps))  # a tenth of the steps, but more than one: torch divides by the rest
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=warm_up)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _logits(self, photos_B3HW: Tensor) -> Tensor:
        # The last dimension of every convolution is then contiguous: 2.4 times as fast on a CPU.
        return self.model(photos_B3HW.to(memory_format=torch.channels_last)).float()


class FoldData(LightningDataModule):
    """A fold's photos, shared out over the devices."""

    def __init__(
        self, training: list[Photo], validation: list[Photo], config: TrainingConfig, hardware: Hardware
    ) -> None:
        super().__init__()
        self.training = AugmentedPhotos(MaskedPhotos(training, config.image_size), config.augmentation, config.seed)
        self.validation = MaskedPhotos(validation, config.image_size)
        self.settings: dict[str, Any] = {
            "batch_size": config.batch_size,
            "workers": hardware.workers,
            "pin_memory": torch.cuda.is_available(),
        }
        self.seed = config.seed

    def train_dataloader(self) -> DataLoader:
        """Shuffled and augmented batches."""
        assert self.trainer is not None
        ranks, rank = self.trainer.world_size, self.trainer.global_rank
        sampler = EpochSampler(self.training, num_replicas=ranks, rank=rank, shuffle=True, seed=self.seed)
        # A last batch of one photo would upset the batch normalisation; each epoch leaves out other photos.
        drop_last = len(sampler) >= self.settings["batch_size"]
        batches = loader(self.training, sampler=sampler, drop_last=drop_last, **self.settings)
        # Lightning starts the workers of a resumed training before it has told the sampler the epoch.
        sampler.set_epoch(self.trainer.global_step // len(batches))
        return batches

    def val_dataloader(self) -> DataLoader:
        """Every validation photo, as it is."""
        return loader(self.validation, **self.settings)


class MetricsTable(Callback):
    """Writes every epoch's metrics to a CSV.

    The rows travel in the checkpoint, so that the table of a resumed training is that of an uninterrupted
    one; Lightning's CSVLogger would delete the table that it finds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this epoch's row and write the table."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": pl_module.current_epoch, "step": trainer.global_step, "lr": _learning_rate(trainer), **values}
        self.rows.append(row)
        if trainer.is_global_zero:
            write_text(self.path, pd.DataFrame(self.rows).to_csv(index=False, lineterminator="\n"))

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the training that is resumed."""
        self.rows = state_dict["rows"]


class EpochLines(Callback):
    """One line an epoch, where there is no terminal on which a bar could move."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics."""
        if trainer.is_global_zero:
            values = "  ".join(f"{name} {float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items()))
            print(f"epoch {pl_module.current_epoch + 1}/{trainer.max_epochs}  {values}", flush=True)


def train_fold(
    run: Path,
    fold: int,
    competition: Competition,
    photos: tuple[list[Photo], list[Photo]],
    config: TrainingConfig,
    hardware: Hardware,
) -> None:
    """Train a fold, or go on where it was interrupted, and write everything into its folder.

    `photos` are those to train on and those held out.

    Raises:
        InputError: the model cannot be built, or a file cannot be read.
    """
    folder = run_folder.fold_folder(run, fold)
    checkpoints = folder / "checkpoints"
    last = checkpoints / "last.ckpt"
    torch.manual_seed(config.seed)
    architecture = design(config.model, config.width, config.depth, config.pretrained)
    task = SegmentationTask(build(architecture, config.pretrained).to(memory_format=torch.channels_last), config)
    with plain_worker_errors(), _quiet_lightning():
        trainer = _trainer(folder, checkpoints, config, hardware)
        trainer.fit(
            task,
            datamodule=FoldData(*photos, config, hardware),
            ckpt_path=str(last) if last.exists() else None,
            weights_only=True,  # nothing is unpickled, also not our own
        )
    if not is_first_process():
        return
    best = torch.load(checkpoints / "best.ckpt", weights_only=True, map_location="cpu")
    task.load_state_dict(best["state_dict"])
    card = ModelCard(architecture, config.image_size, competition.slug, fold)
    save(task.model, card, folder)
    member = Member(task.model.eval().to(trainer.strategy.root_device), card, folder)
    score_fold(member, competition, photos[1], config, hardware)


def score_fold(
    member: Member, competition: Competition, photos: Sequence[Photo], config: TrainingConfig, hardware: Hardware
) -> None:
    """Predict a fold's own validation photos at their own size: masks, histograms and, last, `oof.csv`."""
    rows, histograms = [], []
    predictions = predict([member], photos, tta=config.tta, batch_size=config.batch_size, workers=hardware.workers)
    for photo, probability_HW in track(predictions, len(photos), "out-of-fold masks"):
        assert photo.mask is not None, f"{photo.stem} has no mask"
        truth_HW = read_mask(photo.mask)
        mask_HW = (probability_HW >= run_folder.DEFAULT_THRESHOLD).cpu().numpy()
        write_mask(member.folder / "oof" / "masks" / f"{photo.stem}.png", mask_HW)
        histograms.append(_histogram(probability_HW, torch.from_numpy(truth_HW).to(probability_HW.device)))
        rows.append(_row(photo.stem, member.card.fold, metrics.overlap(mask_HW, truth_HW), competition))
    with replacing(member.folder / run_folder.HISTOGRAMS_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, histograms=np.stack(histograms))
    table = pd.DataFrame(rows, columns=run_folder.OOF_COLUMNS)
    write_text(member.folder / run_folder.OOF_FILE, table.to_csv(index=False, lineterminator="\n"))


def is_first_process() -> bool:
    """Whether this is the process, of the several that train together, that writes the results."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _trainer(folder: Path, checkpoints: Path, config: TrainingConfig, hardware: Hardware) -> Trainer:
    best = ModelCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor="val_dice",
        mode="max",
        save_last=True,
        save_on_train_epoch_end=True,  # after MetricsTable has added the epoch, not before
        enable_version_counter=False,
    )
    try:
        return Trainer(
            max_epochs=config.epochs,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            precision=_precision(config),
            callbacks=[
                best,
                MetricsTable(folder / "metrics.csv"),
                RichProgressBar(leave=True) if sys.stdout.isatty() else EpochLines(),
            ],
            enable_progress_bar=sys.stdout.isatty(),
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_model_summary=False,
        )
    except MisconfigurationException as error:
        raise InputError(f"--devices {hardware.devices} --nodes {hardware.nodes}: {error}") from error


def _precision(config: TrainingConfig) -> Any:
    if config.precision != "auto":
        return config.precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if has_bfloat16() else "16-mixed"


def _overlap(predicted_B1HW: Tensor, truth_B1HW: Tensor) -> metrics.Overlap:
    counted = (predicted_B1HW & truth_B1HW, predicted_B1HW, truth_B1HW)
    return metrics.Overlap(*(mask.sum(dim=(1, 2, 3)).cpu().numpy() for mask in counted))


def _histogram(probability_HW: Tensor, truth_HW: Tensor) -> NDArray[np.uint32]:
    """Pixels of background and foreground by probability, shape (2, BINS)."""
    bins_HW = (probability_HW * run_folder.BINS).long().clamp(max=run_folder.BINS - 1)
    counts = torch.bincount((bins_HW + truth_HW * run_folder.BINS).ravel(), minlength=2 * run_folder.BINS)
    return counts.view(2, run_folder.BINS).cpu().numpy().astype(np.uint32)


def _row(stem: str, fold: int, counts: metrics.Overlap, competition: Competition) -> tuple[Any, ...]:
    return stem, fold, float(competition.score(counts)), float(metrics.dice(counts)), float(metrics.iou(counts))


def _learning_rate(trainer: Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"])


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advertisements, and its advice on what was chosen on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
        yield
