"""What Lightning trains: the network with its loss and scores, and the photos of a fold.

B batch, C classes, H height, W width.
"""

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from kaggle_tools import metrics
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import Fit, TrainingConfig
from kaggle_tools.config.values import AUTO
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.augment import Augmenter
from kaggle_tools.data.loading.datasets import AugmentedPhotos, EpochSampler, InOrder, MaskedPhotos, PhotosByEpoch
from kaggle_tools.data.loading.pixel_cache import PixelCache
from kaggle_tools.data.loading.workers import loader
from kaggle_tools.errors import InputError, SharedError, counted
from kaggle_tools.models.encoders.depthwise import DepthwiseInFloat32
from kaggle_tools.models.segmenter import Architecture, Segmenter, build, design
from kaggle_tools.models.weights import load
from kaggle_tools.precision import FixedPrecision
from kaggle_tools.results import run_folder
from kaggle_tools.results.fold_table import Split
from kaggle_tools.system.hardware import best_device, fast_memory_format, fast_precision
from kaggle_tools.training.losses import SegmentationLoss
from kaggle_tools.training.optim import make_optimizer, make_schedule
from kaggle_tools.training.ranks.failures import any_of_all_ranks, require_all_well

Batch = tuple[Tensor, Tensor]
"""Photos, uint8 (B, 3, H, W), and masks, uint8 (B, C, H, W) from 0 to 255."""
VALIDATED = ("val_dice", "val_iou", "val_loss", "val_foreground", "val_foreground_true")
"""What is logged of the held-out photos: means over photos and classes."""
PROGRESS = ("val_dice", "val_iou")
"""Those of them that the progress bar shows."""


class SegmentationTask(LightningModule):
    """How a network is trained and validated."""

    def __init__(self, model: Segmenter, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.loss = loss_of(config)
        # Weighted by photos and added up over processes as real numbers; Lightning's own means round these down.
        self.means = nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in VALIDATED})

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin every batch from a seed of its own, so that a resumed training draws what an uninterrupted one does.

        Raises:
            SharedError: another process could not read its photos.
        """
        require_all_well()  # before DistributedDataParallel does anything together
        of_batch = (self.config.seed * 10_007 + self.current_epoch) * 1_000_003 + batch_idx
        of_rank = self.global_rank * 0x9E3779B97F4A7C15  # so that dropout is not the same in each share of the batch
        torch.manual_seed((of_batch + of_rank) % 2**64)  # of which torch takes no more bits

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch.

        Raises:
            InputError: the loss became NaN or infinite.
        """
        photos_B3HW, masks_BCHW = batch
        loss: Tensor = self.loss(self.logits(photos_B3HW), masks_BCHW.float() / 255)
        self._require_finite(any_of_all_ranks(not bool(loss.isfinite())), loss, "loss")
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(photos_B3HW), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Let all processes validate the first one's statistics: those of the model that is saved."""
        self.worst_loss = torch.zeros((), device=self.device)
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: Batch, _: int) -> Tensor:
        """Log the loss, and the mean Dice, IoU and share of foreground over masks, at the size for training.

        The processes have different numbers of photos, so here none waits for another one.

        Returns:
            The predicted masks, for the callbacks.
        """
        photos_B3HW, masks_BCHW = batch
        logits_BCHW = self.logits(photos_B3HW)
        predicted_BCHW = logits_BCHW > 0
        counts = overlap_of_batch(predicted_BCHW, masks_BCHW > 127)
        pixels = masks_BCHW[0, 0].numel()
        loss = self.loss(logits_BCHW, masks_BCHW.float() / 255)
        self.worst_loss = self.worst_loss + loss  # NaN and infinity stay what they are
        values = {
            "val_dice": float(metrics.dice(counts).mean()),
            "val_iou": float(metrics.iou(counts).mean()),
            "val_loss": loss,
            "val_foreground": float(np.asarray(counts.predicted).mean()) / pixels,
            "val_foreground_true": float(np.asarray(counts.truth).mean()) / pixels,
        }
        for name, value in values.items():
            mean = cast(MeanMetric, self.means[name])
            mean.update(value, weight=len(photos_B3HW))
            self.log(name, mean, prog_bar=name in PROGRESS, on_step=False, on_epoch=True)
        return predicted_BCHW

    def on_validation_batch_end(self, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After the last batch, and before the means are taken over all processes, wait for the others.

        Raises:
            SharedError: a loss became NaN or infinite, or another process could not read its photos.
        """
        if batch_idx + 1 < self.trainer.num_val_batches[0]:
            return
        require_all_well()
        is_bad = any_of_all_ranks(not bool(self.worst_loss.isfinite()))
        self._require_finite(is_bad, self.worst_loss, "loss on held-out photos")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and the schedule that the configuration names."""
        optimizer = make_optimizer(self.config, self.parameters())
        # Not `estimated_stepping_batches`: that starts the workers before a resumed training knows its epoch.
        steps = self.config.epochs * self.trainer.datamodule.steps_per_epoch()  # type: ignore[attr-defined]
        schedule = make_schedule(self.config, optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _require_finite(self, is_bad: bool, loss: Tensor, name: str) -> None:
        """End the training of all processes if the loss of one is bad."""
        if not is_bad:
            return
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        became = "infinite" if bool(loss.isinf()) else "NaN"
        kept = "The last whole epoch is kept." if self.current_epoch else "No epoch was whole yet, so none is kept."
        raise SharedError(
            f"the {name} became {became} at gradient step {self.global_step}, where the learning rate was "
            f"{rate:.3g}. {kept} Train into another --out with a lower --lr "
            f"(was {self.config.lr:g}), --clip-norm 1 or --precision 32-true."
        )

    def logits(self, photos_B3HW: Tensor) -> Tensor:
        """The logits (B, C, H, W), float32, of photos (B, 3, H, W), uint8, in the way that is fast on their device."""
        # The last dimension of every convolution is then contiguous: 2.4 times as fast on a CPU.
        photos_B3HW = photos_B3HW.to(memory_format=fast_memory_format(photos_B3HW.device))
        on_cpu = photos_B3HW.device.type == "cpu"
        with DepthwiseInFloat32() if on_cpu and torch.is_grad_enabled() else nullcontext():
            logits_BCHW: Tensor = self.model(photos_B3HW)
        return logits_BCHW.float()


class FoldData(LightningDataModule):
    """A fold's photos, shared out over the processes that train together."""

    def __init__(self, split: Split, config: TrainingConfig, execution: Execution) -> None:
        super().__init__()
        changed = Augmenter(config.augmentation, config.seed, config.cropped)
        self.training = photos_by_epoch(split.training, config, execution, changed)
        self.validation = photos_by_epoch(split.held_out, config, execution, Augmenter("none", config.seed))
        self.held_out = masked_photos(split.held_out, config.image_size, config.fit, execution)
        self.config = config
        self.loader = partial(loader, workers=execution.workers, device=best_device().type)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled and augmented batches."""
        ranks, rank, batch_size = self._share()
        order = {"num_replicas": ranks, "rank": rank, "shuffle": True, "seed": self.config.seed}
        sampler = EpochSampler(self.training, batch_size, self.config.accumulate, **order)
        batches = self.loader(self.training, sampler=sampler, batch_size=batch_size)
        # Lightning starts the workers of a resumed training before the sampler knows the epoch.
        assert self.trainer is not None
        sampler.set_epoch(self.trainer.global_step // self._steps(len(batches)))
        return batches

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every validation photo once, as it is, in one of the processes."""
        ranks, rank, batch_size = self._share()
        share = InOrder(range(rank, len(self.validation), ranks))
        return self.loader(self.validation, sampler=share, batch_size=self._whole_photos(batch_size))

    def steps_per_epoch(self) -> int:
        """Gradient steps in an epoch."""
        return self._steps(len(self.train_dataloader()))

    def _steps(self, batches: int) -> int:
        return -(-batches // self.config.accumulate)

    def _whole_photos(self, parts: int) -> int:
        """How many photos that are not cropped have as many pixels as so many that are; at least one."""
        whole = self.config.image_size or self.held_out.photos[0].size
        return max(1, parts * math.prod(self.config.trained_size(whole)) // math.prod(whole))

    def _share(self) -> tuple[int, int, int]:
        """How many processes there are, which one this is, and its photos in each batch."""
        assert self.trainer is not None
        return self.trainer.world_size, self.trainer.global_rank, self.config.batch_size // self.trainer.world_size


def photos_by_epoch(
    photos: Sequence[Photo], config: TrainingConfig, execution: Execution, augment: Augmenter
) -> PhotosByEpoch:
    """These photos with their masks as the epochs of a training take them."""
    by_size = {
        size: AugmentedPhotos(masked_photos(photos, size, config.fit, execution), augment)
        for size in set(config.size_by_epoch)
    }
    return PhotosByEpoch([by_size[size] for size in config.size_by_epoch])


def masked_photos(photos: Sequence[Photo], size: Size | None, fit: Fit, execution: Execution) -> MaskedPhotos:
    """These photos with their masks at this size, from the cache where there is one."""
    return MaskedPhotos(photos, size, PixelCache(Path(execution.cache)) if execution.cache else None, fit)


def loss_of(config: TrainingConfig) -> SegmentationLoss:
    """The loss that the configuration describes."""
    return SegmentationLoss(
        bce=config.bce_weight,
        dice=config.dice_weight,
        lovasz=config.lovasz_weight,
        border=config.border_weight,
        border_width=config.border_width,
    )


def overlap_of_batch(predicted_BCHW: Tensor, truth_BCHW: Tensor) -> metrics.Overlap:
    """Count the pixels of each pair of masks: three arrays of shape (B, C)."""
    counted = (predicted_BCHW & truth_BCHW, predicted_BCHW, truth_BCHW)
    return metrics.Overlap(*(mask.sum(dim=(2, 3)).cpu().numpy() for mask in counted))


def initial_model(config: TrainingConfig, fold: int) -> tuple[Architecture, Segmenter]:
    """The architecture, and the network before the first gradient step.

    Its weights are fresh, those of a pretrained encoder, or those of the same fold of another run.
    """
    architecture = design(config)
    if config.init is None:
        return architecture, build(architecture, config.pretrained)
    model, card = load(run_folder.fold_folder(Path(config.init), fold), fold)
    if card.architecture.classes != architecture.classes:
        knows = counted(card.architecture.classes, "class", "classes")
        raise InputError(f"--init {config.init}: its network knows {knows}, not {architecture.classes}")
    theirs = replace(card.architecture, mean=architecture.mean, std=architecture.std)
    if theirs != architecture:
        raise InputError(
            f"--init {config.init}: its network is {theirs.options}, not {architecture.options}; give the same options"
        )
    return card.architecture, model.train()


def precision_of(config: TrainingConfig) -> FixedPrecision:
    """The arithmetic of the training on this machine."""
    return fast_precision(best_device()) if config.precision == AUTO else config.precision


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advertisements, and its advice on what was chosen on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        # Only where float32 was asked for would it change anything, and there it would take digits away.
        logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
        # As where a training that had --max-hours is resumed without.
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")
        yield
