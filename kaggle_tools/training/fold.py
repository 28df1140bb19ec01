"""Train one fold with Lightning, then score it on the photos that it never saw.

The score comes from the same code path as the masks of the test photos (`prediction`), at the photos'
own size. Knows nothing of the command line.

B batch, H height, W width.
"""

import copy
import gc
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar, Timer, WeightAveraging
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader

from kaggle_tools import metrics
from kaggle_tools.competition import Competition
from kaggle_tools.config import TrainingConfig
from kaggle_tools.data.datasets import AugmentedPhotos, EpochSampler, MaskedPhotos, Size, loader, plain_worker_errors
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, KaggleToolsError, require
from kaggle_tools.inference import out_of_fold
from kaggle_tools.inference.ensemble import Member
from kaggle_tools.models.segmenter import Architecture, ModelCard, Segmenter, build, design, load, save
from kaggle_tools.results import run_folder
from kaggle_tools.system import memory
from kaggle_tools.system.files import locked, write_json
from kaggle_tools.system.hardware import best_device, hardware, has_bfloat16
from kaggle_tools.system.processes import as_started, device_count, is_first_process
from kaggle_tools.training import trial
from kaggle_tools.training.callbacks import Checkpoint, EpochLines, MetricsTable, Patience, Pictures, TimeLimit
from kaggle_tools.training.losses import SegmentationLoss
from kaggle_tools.training.optim import make_optimizer, make_schedule, moving_average

LOCK_SECONDS = 20.0
"""How long to wait for a killed training's processes to let go of the fold."""


@dataclass(frozen=True)
class Execution:
    """How a training is carried out: what decides its speed and what is kept beside it, but not its result."""

    devices: str = "auto"
    """How many devices, as Lightning takes it: `auto`, `2`, or `0,1` for these two."""
    nodes: int = 1
    """How many machines."""
    workers: int = 2
    """Processes that load photos, for each device."""
    compiled: bool = False
    """Compile the network with torch.compile."""
    time_limit: TimeLimit | None = None
    """Begins no epoch that would end too late."""
    pictures_every: int = 0
    """Draw outlines on some validation photos every so many epochs; 0: never."""
    wandb: str | None = None
    """The project at Weights & Biases to which metrics go as well."""
    save_oof_probabilities: bool = False
    """Keep the out-of-fold probabilities as 8-bit images."""
    folds_left: int = 1
    """How many folds there are to train, this one included: for the time that is left."""


class SegmentationTask(LightningModule):
    """How a network is trained and validated. Batches are pairs of uint8 photos and masks (see `data`)."""

    def __init__(self, model: Segmenter, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.loss = loss_of(config)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin every batch from a seed of its own, so that a resumed training draws what an uninterrupted one does."""
        torch.manual_seed((self.config.seed * 10_007 + self.current_epoch) * 1_000_003 + batch_idx)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The loss of a batch.

        Raises:
            InputError: the loss is not a finite number any more.
        """
        photos_B3HW, masks_B1HW = batch
        loss = self.loss(self._logits(photos_B3HW), masks_B1HW.float() / 255)
        if not bool(loss.isfinite()):
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            raise InputError(
                f"the loss became {loss.item()} at step {self.global_step}, where the learning rate was {rate:.3g}. "
                f"The last whole epoch is kept. Train into another --out with a lower --lr (was {self.config.lr:g}), "
                "--clip-norm 1 or --precision 32-true."
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(photos_B3HW), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Let all processes validate the first one's statistics: those of the model that is saved."""
        if self.trainer.world_size > 1:
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log the loss, and the mean Dice, IoU and share of foreground over photos, at the size for training."""
        photos_B3HW, masks_B1HW = batch
        logits_B1HW = self._logits(photos_B3HW)
        counts = overlap_of_batch(logits_B1HW > 0, masks_B1HW > 127)
        pixels = masks_B1HW[0].numel()
        scores = {"val_dice": float(metrics.dice(counts).mean()), "val_iou": float(metrics.iou(counts).mean())}
        others = {
            "val_loss": self.loss(logits_B1HW, masks_B1HW.float() / 255),
            "val_foreground": float(np.asarray(counts.predicted).mean()) / pixels,
            "val_foreground_true": float(np.asarray(counts.truth).mean()) / pixels,
        }
        self.log_dict(scores, prog_bar=True, on_epoch=True, batch_size=len(photos_B3HW), sync_dist=True)
        self.log_dict(others, on_epoch=True, batch_size=len(photos_B3HW), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser and the schedule that the configuration names."""
        optimizer = make_optimizer(self.config, self.parameters())
        # Not `estimated_stepping_batches`: that starts the workers before a resumed training knows its epoch.
        steps = self.config.epochs * self.trainer.datamodule.steps_per_epoch()  # type: ignore[attr-defined]
        schedule = make_schedule(self.config, optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _logits(self, photos_B3HW: Tensor) -> Tensor:
        # The last dimension of every convolution is then contiguous: 2.4 times as fast on a CPU.
        return self.model(photos_B3HW.to(memory_format=torch.channels_last)).float()


class FoldData(LightningDataModule):
    """A fold's photos, shared out over the processes that train together."""

    def __init__(
        self, training: list[Photo], validation: list[Photo], config: TrainingConfig, execution: Execution
    ) -> None:
        super().__init__()
        self.training = AugmentedPhotos(MaskedPhotos(training, config.image_size), config.augmentation, config.seed)
        self.validation = MaskedPhotos(validation, config.image_size)
        self.config = config
        self.batch_size = config.batch_size  # of all processes together; Lightning's tuner tries others
        self.settings: dict[str, Any] = {"workers": execution.workers, "device": best_device().type}

    def train_dataloader(self) -> DataLoader:
        """Shuffled and augmented batches."""
        ranks, rank, batch_size = self._share()
        sampler = EpochSampler(self.training, num_replicas=ranks, rank=rank, shuffle=True, seed=self.config.seed)
        # A last batch of one photo would upset the batch normalisation; each epoch leaves out other photos.
        drop_last = len(sampler) >= batch_size
        batches = loader(self.training, sampler=sampler, batch_size=batch_size, drop_last=drop_last, **self.settings)
        # Lightning starts the workers of a resumed training before it has told the sampler the epoch.
        assert self.trainer is not None
        sampler.set_epoch(self.trainer.global_step // self._steps(len(batches)))
        return batches

    def val_dataloader(self) -> DataLoader:
        """Every validation photo once, as it is, in one of the processes."""
        ranks, rank, batch_size = self._share()
        share = range(rank, len(self.validation), ranks)
        return loader(self.validation, sampler=share, batch_size=batch_size, **self.settings)

    def steps_per_epoch(self) -> int:
        """How often the weights are moved in an epoch."""
        return self._steps(len(self.train_dataloader()))

    def _steps(self, batches: int) -> int:
        return -(-batches // self.config.accumulate)

    def _share(self) -> tuple[int, int, int]:
        """How many processes there are, which one this is, and its photos in each batch."""
        assert self.trainer is not None
        return self.trainer.world_size, self.trainer.global_rank, self.batch_size // self.trainer.world_size


def train_fold(
    run: Path,
    fold: int,
    competition: Competition,
    photos: tuple[list[Photo], list[Photo]],
    config: TrainingConfig,
    execution: Execution,
) -> None:
    """Train a fold, or go on where it was interrupted, and write everything into its folder.

    `photos` are those to train on and those held out.

    Raises:
        InputError: the model cannot be built, a file cannot be read, the loss is no number, the memory does not
            suffice, or another process trains the fold.
        OutOfTimeError: the deadline is near; the same call goes on.
    """
    folder = run_folder.fold_folder(run, fold)
    first = is_first_process()
    with locked(folder, "trains this fold", LOCK_SECONDS) if first else nullcontext():
        memory.keep_freed_memory()
        torch.manual_seed(config.seed)
        architecture, model = _initial_model(config, fold)
        task = SegmentationTask(model.to(memory_format=torch.channels_last), config)
        trainer = _fit(task, FoldData(*photos, config, execution), folder, execution)
        card = ModelCard(architecture, config.image_size, competition.slug, fold, config.tta, config.tta_scales)
        if trainer.is_global_zero:
            save(task.model, card, folder)
            write_json(folder / run_folder.TIMING_FILE, _timing(trainer))
        trained = build(architecture)  # not the task's own, which may be compiled for photos of one size
        trained.load_state_dict(task.model.state_dict())
        trained.to(memory_format=torch.channels_last)
        out_of_fold.score_fold(
            Member(trained.eval(), card, folder),
            competition,
            photos[1],
            device=trainer.strategy.root_device,
            batch_size=max(1, config.batch_size // trainer.world_size),
            workers=execution.workers,
            save_probabilities=execution.save_oof_probabilities,
        )


def make_trainer(folder: Path, config: TrainingConfig, data: FoldData, execution: Execution) -> Trainer:
    """The trainer of a fold, whose files go into `folder`.

    Raises:
        InputError: there are no such devices.
    """
    devices, nodes = as_started(execution.devices, execution.nodes)
    try:
        return Trainer(
            max_epochs=config.epochs,
            devices=devices,
            num_nodes=nodes,
            precision=_precision(config),
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_norm,
            callbacks=_callbacks(folder, config, data, execution),
            enable_progress_bar=sys.stdout.isatty(),
            logger=_loggers(folder, execution),
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            use_distributed_sampler=False,  # it would validate some photos twice
            sync_batchnorm=torch.cuda.is_available(),  # so that devices that share a batch learn what one would
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"--devices {execution.devices} --nodes {execution.nodes}: {error}") from error


def find_batch_size(photos: tuple[list[Photo], list[Photo]], config: TrainingConfig, execution: Execution) -> int:
    """The largest batch, a power of two, that one GPU holds in training.

    Raises:
        InputError: not even one photo fits.
    """
    task = SegmentationTask(_initial_model(config, fold=0)[1].to(memory_format=torch.channels_last), config)
    own_size = photos[0][0].size
    data = FoldData(*photos, replace(config, batch_size=1), execution)
    with TemporaryDirectory() as folder, plain_worker_errors(), _quiet_lightning(), _explained_memory(task, own_size):
        with trial_steps(task, best_device()) as step:  # Lightning's tuner would try no photos after one
            step(1, config.image_size or own_size)
        trainer = Trainer(
            devices=1,
            precision=_precision(config),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=folder,
            max_epochs=-1,
        )
        found = Tuner(trainer).scale_batch_size(task, datamodule=data, mode="power", init_val=1, max_trials=10)
    assert found is not None
    return found


def estimated_hours(photos: Sequence[Photo], config: TrainingConfig, folds: int, execution: Execution) -> float:
    """About how many hours it takes to train `folds` folds, from a step timed on this machine."""
    memory.keep_freed_memory()
    device = best_device()
    model = build(design(config.model, config.width, config.depth)).to(memory_format=torch.channels_last)
    with trial_steps(SegmentationTask(model, config), device) as step:
        seconds = trial.seconds_per_photo(step, config.image_size or photos[0].size)
    training_photos = len(photos) * (config.folds - 1) / config.folds
    devices = device_count(execution.devices, execution.nodes)
    return seconds / devices * training_photos * config.epochs * folds / 3600


@contextmanager
def trial_steps(task: SegmentationTask, device: torch.device) -> Iterator[trial.Step]:
    """Lend training steps of grey photos on a device, to see how long they take and whether they fit.

    In the end the task is as it was before.
    """
    state = copy.deepcopy(task.state_dict())
    half = None if _precision(task.config) == "32-true" else _half()
    task.to(device).train()
    optimizer = make_optimizer(task.config, task.parameters())

    def step(batch_size: int, size: Size) -> None:
        photos_B3HW = torch.full((batch_size, 3, *size), 128, dtype=torch.uint8, device=device)
        targets_B1HW = torch.zeros(batch_size, 1, *size, device=device)
        try:
            with torch.autocast(device.type, dtype=half, enabled=half is not None):
                logits_B1HW = task.model(photos_B3HW.to(memory_format=torch.channels_last))
            task.loss(logits_B1HW.float(), targets_B1HW).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
        finally:
            task.zero_grad(set_to_none=True)

    try:
        yield step
    finally:
        task.load_state_dict(state)


def loss_of(config: TrainingConfig) -> SegmentationLoss:
    """The loss that the configuration describes."""
    return SegmentationLoss(
        bce=config.bce_weight,
        dice=config.dice_weight,
        lovasz=config.lovasz_weight,
        border=config.border_weight,
        border_width=config.border_width,
    )


def overlap_of_batch(predicted_B1HW: Tensor, truth_B1HW: Tensor) -> metrics.Overlap:
    """Count the pixels of each pair of masks: three arrays of shape (B,)."""
    counted = (predicted_B1HW & truth_B1HW, predicted_B1HW, truth_B1HW)
    return metrics.Overlap(*(mask.sum(dim=(1, 2, 3)).cpu().numpy() for mask in counted))


def _initial_model(config: TrainingConfig, fold: int) -> tuple[Architecture, Segmenter]:
    """The network before the first step: fresh, with a pretrained encoder, or from another run's same fold."""
    architecture = design(config.model, config.width, config.depth, config.pretrained)
    if config.init is None:
        return architecture, build(architecture, config.pretrained)
    model, card = load(run_folder.fold_folder(Path(config.init), fold))
    theirs, ours = ((of.name, of.width, of.depth) for of in (card.architecture, architecture))
    require(theirs == ours, f"--init {config.init}: its network is {theirs}, not {ours}; give the same model options")
    return card.architecture, model.train()


def _fit(task: SegmentationTask, data: FoldData, folder: Path, execution: Execution) -> Trainer:
    """Train to the end, from the last checkpoint where there is one; the task then has the best weights."""
    checkpoints = folder / "checkpoints"
    last = checkpoints / "last.ckpt"
    config = task.config
    if execution.compiled:
        task.model.compile()
    ranks = device_count(execution.devices, execution.nodes)
    with plain_worker_errors(), _quiet_lightning(), _explained_memory(task, data.validation.photos[0].size, ranks):
        trainer = make_trainer(folder, config, data, execution)
        ranks = trainer.world_size
        require(
            config.batch_size % ranks == 0,
            f"--batch-size {config.batch_size}: the photos of a batch are shared by {ranks} devices; "
            f"give a multiple of {ranks}",
        )
        require(len(data.validation) >= ranks, f"--devices: {ranks} is more than there are photos held out")
        try:
            trainer.fit(
                task,
                datamodule=data,
                ckpt_path=str(last) if last.exists() else None,
                weights_only=True,  # nothing is unpickled, also not our own
            )
        except SystemExit as end:  # with which Lightning answers Ctrl-C
            raise KaggleToolsError("interrupted; the same command goes on from the last whole epoch") from end
    best = torch.load(checkpoints / "best.ckpt", weights_only=True, map_location="cpu")
    task.load_state_dict(best["state_dict"])
    return trainer


def _timing(trainer: Trainer) -> dict[str, Any]:
    """How long the training took, interruptions left out, and on what."""
    timer = next(callback for callback in trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
    return {
        "training_seconds": round(timer.time_elapsed("train"), 1),
        "epochs": trainer.current_epoch,
        "devices": trainer.world_size,
        "precision": trainer.precision,
        "hardware": hardware(),
    }


def _callbacks(folder: Path, config: TrainingConfig, data: FoldData, execution: Execution) -> list[Callback]:
    callbacks: list[Callback] = [
        MetricsTable(folder / run_folder.METRICS_FILE),
        EpochLines(execution.folds_left),
        Timer(),
        Checkpoint(folder / "checkpoints", "best", monitor="val_dice"),
        Checkpoint(folder / "checkpoints", "last"),
    ]
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    if execution.time_limit:
        callbacks.append(execution.time_limit)
    if execution.pictures_every:
        callbacks.append(Pictures(data.validation, execution.pictures_every))
    if config.patience is not None:
        callbacks.append(Patience(config.patience))
    if config.ema_decay is not None:  # after Pictures, which shall see the averaged weights
        callbacks.append(WeightAveraging(avg_fn=moving_average(config.ema_decay)))
    return callbacks


def _loggers(folder: Path, execution: Execution) -> list[Logger]:
    loggers: list[Logger] = [TensorBoardLogger(folder, name="", version="tensorboard")]
    if execution.wandb:
        run = f"{folder.resolve().parent.name}-{folder.name}"
        try:
            loggers.append(WandbLogger(name=run, id=run, project=execution.wandb, save_dir=folder, resume="allow"))
        except ModuleNotFoundError as error:
            raise InputError("--wandb: Weights & Biases is not installed; run `pip install wandb`") from error
    return loggers


def _precision(config: TrainingConfig) -> Any:
    if config.precision != "auto":
        return config.precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if has_bfloat16() else "16-mixed"


def _half() -> torch.dtype:
    return torch.bfloat16 if not torch.cuda.is_available() or has_bfloat16() else torch.float16


@contextmanager
def _explained_memory(task: SegmentationTask, own_size: Size, devices: int = 1) -> Iterator[None]:
    """Say what would fit where the GPU's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        _forget(error)
        config = task.config
        size = config.image_size or own_size
        with trial_steps(task, best_device()) as step:
            fits = trial.what_fits(step, config.batch_size // devices, size)
        what_to_do = "no smaller size fits either; take a smaller model or --width"
        if fits:
            batch_size, (height, width) = fits
            what_to_do = f"--batch-size {batch_size * devices} --image-size {height}x{width} would fit"
            accumulate = config.batch_size // (batch_size * devices) * config.accumulate
            what_to_do += f"; --accumulate {accumulate} makes as many photos a step" if accumulate > 1 else ""
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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advertisements, and its advice on what was chosen on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
        yield
