"""Train one fold with Lightning, then score it on the photos that it never saw.

The score comes from the same code path as the masks of the test photos (`inference`), at the photos' own size.
Knows nothing of the command line.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, RichProgressBar, Timer, WeightAveraging
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies.ddp import DDPStrategy

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.recorded import settings_of
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.loading.workers import plain_worker_errors
from kaggle_tools.errors import InputError, KaggleToolsError
from kaggle_tools.inference import out_of_fold
from kaggle_tools.inference.ensemble import Member
from kaggle_tools.models.frozen_weights import freeze_idle_weights, freeze_levels
from kaggle_tools.models.segmenter import Architecture, Segmenter, build, recompute_levels
from kaggle_tools.models.weights import ModelCard, save
from kaggle_tools.results import run_folder
from kaggle_tools.results.fold_table import Split
from kaggle_tools.results.records.progress import remove_progress
from kaggle_tools.results.records.run import Timing
from kaggle_tools.system import memory
from kaggle_tools.system.files import locked, naming, remove_left_behind
from kaggle_tools.system.hardware import best_device, fast_memory_format, hardware, one_kind_of_out_of_memory
from kaggle_tools.system.processes import as_started, device_count, is_first_process
from kaggle_tools.training.callbacks import EpochLines, MetricsTable, Patience, Pictures, TimeLimit
from kaggle_tools.training.checkpoints import BEST, LAST, Checkpoint, CheckpointFiles, explained_restoring
from kaggle_tools.training.optim import moving_average
from kaggle_tools.training.plan.shortage import explained_memory
from kaggle_tools.training.progress import ProgressRecord
from kaggle_tools.training.ranks.failures import Failures, ends_with_its_parent, explained_loss_of_a_process
from kaggle_tools.training.ranks.norms import SyncNorms
from kaggle_tools.training.task import FoldData, SegmentationTask, initial_model, precision_of, quiet_lightning

NOWHERE = os.devnull
"""Where Lightning keeps files of its own, and under SLURM looks for checkpoints: there shall be none."""
LOCK_SECONDS = 20.0
"""How long to wait for a killed training's processes to let go of the fold."""


def train_fold(
    run: Path,
    fold: int,
    competition: Competition,
    split: Split,
    config: TrainingConfig,
    execution: Execution,
    *,
    time_limit: TimeLimit | None = None,
    folds_left: int = 1,
) -> None:
    """Train a fold, or continue where it was interrupted, and write everything into its folder.

    Args:
        run: the folder of the run.
        fold: the number of the fold.
        competition: whose photos these are.
        split: the photos to train on, and those that the fold holds out.
        config: what decides the result.
        execution: what does not.
        time_limit: begins no epoch that would end too late.
        folds_left: how many folds are to be trained, this one included, for the time that is left.

    Raises:
        InputError: the model cannot be built, a file cannot be read, the loss became NaN, the memory does not
            suffice, or another process trains the fold.
        OutOfTimeError: the deadline is near; the same call continues.
    """
    folder = run_folder.fold_folder(run, fold)
    first = is_first_process()
    with (
        locked(folder, "trains this fold", LOCK_SECONDS) if first else nullcontext(),
        ends_with_its_parent(not first),
    ):
        if first:
            run_folder.checkpoints_folder(folder).mkdir(exist_ok=True)
            remove_left_behind(run_folder.checkpoints_folder(folder))
        memory.keep_freed_memory()
        torch.manual_seed(config.seed)
        architecture, model = initial_model(config, fold)
        recompute_levels(model, execution.recompute)
        size = config.trained_size(split.training[0].size)
        freeze_levels(model, architecture, size, config.frozen_levels)
        if device_count(execution.devices, execution.nodes) > 1:
            freeze_idle_weights(model, architecture, size)
        task = SegmentationTask(model.to(memory_format=fast_memory_format(best_device())), config)
        data = FoldData(split, config, execution)
        limits = [time_limit] if time_limit else []
        lines = EpochLines(folds_left, config.effort_by_epoch)
        record = ProgressRecord(folder, [photo.stem for photo in split.held_out], lines)
        beside = [Failures(), *limits, *callbacks_of(folder, data, execution), lines, record]
        trainer = _fit(task, data, folder, execution, beside, CheckpointFiles(identity(fold, config, split)))
        card = card_of(config, architecture, competition, fold)
        if trainer.is_global_zero:
            save(task.model, card, folder)
            run_folder.write_timing(folder, _timing(trainer))
        out_of_fold.score_fold(
            Member(as_saved(task.model, architecture), card, folder),
            competition,
            split.held_out,
            device=trainer.strategy.root_device,
            precision=precision_of(config),
            batch_size=max(1, config.batch_size // trainer.world_size),
            workers=execution.workers,
            save_probabilities=execution.save_oof_probabilities,
        )
        if first:
            remove_progress(folder)


def as_saved(model: Segmenter, architecture: Architecture) -> Segmenter:
    """A trained network in evaluation mode; not the task's own, which may be compiled for photos of one size."""
    saved = build(architecture)
    saved.load_state_dict(model.state_dict())
    return saved.eval()


def card_of(config: TrainingConfig, architecture: Architecture, competition: Competition, fold: int) -> ModelCard:
    """What must be known of the weights that a training makes."""
    return ModelCard(architecture, config.image_size, competition.slug, fold, config.tta, config.tta_scales, config.fit)


def make_trainer(
    folder: Path,
    config: TrainingConfig,
    execution: Execution,
    callbacks: Sequence[Callback] = (),
    files: CheckpointFiles | None = None,
) -> Trainer:
    """The trainer of a fold, whose files go into `folder`; `files` writes and reads the checkpoints.

    Raises:
        InputError: there are no such devices.
    """
    devices, nodes = as_started(execution.devices, execution.nodes)
    # In validation, where processes have different numbers of photos, a broadcast in each step would wait for ever.
    together = DDPStrategy(forward_sync_buffers=False)
    try:
        return Trainer(
            max_epochs=config.epochs,
            devices=devices,
            num_nodes=nodes,
            strategy=together if device_count(execution.devices, execution.nodes) > 1 else "auto",
            precision=precision_of(config),
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_norm,
            callbacks=[*callbacks],
            plugins=_plugins(files),
            enable_progress_bar=sys.stdout.isatty(),
            logger=_loggers(folder, execution),
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            use_distributed_sampler=False,  # it would validate some photos twice
            default_root_dir=NOWHERE,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"--devices {execution.devices} --nodes {execution.nodes}: {error}") from error


def _plugins(files: CheckpointFiles | None) -> list[Any]:
    plugins: list[Any] = [files] if files else []
    if torch.cuda.is_available():  # so that devices that share a batch learn what one would
        plugins.append(SyncNorms())
    if SLURMEnvironment.detect():  # it would write a checkpoint of its own, and begin the next fold from it
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _fit(
    task: SegmentationTask,
    data: FoldData,
    folder: Path,
    execution: Execution,
    callbacks: Sequence[Callback],
    files: CheckpointFiles,
) -> Trainer:
    """Train to the end, from the last checkpoint where there is one; the task then has the best weights."""
    config = task.config
    if execution.compiled:
        task.model.compile()
    best, last = (one for one in callbacks if isinstance(one, Checkpoint))
    resumed = files.newest(best, last, task)
    with (
        explained_memory(task, data.held_out.photos[0].size, execution),
        plain_worker_errors(),
        quiet_lightning(),
        explained_loss_of_a_process(),
        explained_restoring(resumed) as begun,
        naming(folder),
        one_kind_of_out_of_memory(),
    ):
        trainer = make_trainer(folder, config, execution, [*callbacks, begun], files)
        _require_photos_for_all(trainer.world_size, config, data)
        try:
            trainer.fit(
                task,
                datamodule=data,
                ckpt_path=resumed and resumed.path,
                weights_only=True,  # nothing is unpickled, also not our own
            )
        except SystemExit as end:  # with which Lightning answers Ctrl-C
            kept = "from the last whole epoch" if last.path.is_file() else "this fold from the start: no epoch is whole"
            raise KaggleToolsError(f"interrupted; the same command continues {kept}") from end
    files.load_best(best, best.best_model_score, task)
    return trainer


def identity(fold: int, config: TrainingConfig, split: Split) -> dict[str, Any]:
    """Of which training a checkpoint is: which fold, with which settings, and without having seen which photos.

    Where other photos come from is not in it, as a folder may be called otherwise from elsewhere.
    """
    settings = {name: value for name, value in settings_of(config).items() if name not in ("init", "extra")}
    held_out = "\n".join(sorted(photo.stem for photo in split.held_out))
    return {"fold": fold, **settings, "held_out": hashlib.sha256(held_out.encode()).hexdigest()[:16]}


def _require_photos_for_all(ranks: int, config: TrainingConfig, data: FoldData) -> None:
    if config.batch_size % ranks:
        raise InputError(
            f"--batch-size {config.batch_size}: the photos of a batch are shared by {ranks} devices; "
            f"give a multiple of {ranks}"
        )
    if len(data.validation) < ranks:
        raise InputError(f"--devices: {ranks} is more than there are photos held out")


def _timing(trainer: Trainer) -> Timing:
    """How long the training took, interruptions left out, and on what."""
    timer = next(callback for callback in trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
    return Timing(
        training_seconds=round(timer.time_elapsed("train"), 1),
        epochs=trainer.current_epoch,
        devices=trainer.world_size,
        precision=str(trainer.precision),
        hardware=hardware(),
    )


def callbacks_of(folder: Path, data: FoldData, execution: Execution) -> list[Callback]:
    """What runs beside every training of a fold: its learning curves, checkpoints and what was asked for."""
    config = data.config
    checkpoints = run_folder.checkpoints_folder(folder)
    callbacks: list[Callback] = [
        MetricsTable(folder / run_folder.METRICS_FILE),
        Timer(),
        Checkpoint(checkpoints, BEST, monitor="val_dice", after=config.early_epochs),
        Checkpoint(checkpoints, LAST),
    ]
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    if execution.pictures_every:
        callbacks.append(Pictures(data.held_out, execution.pictures_every))
    if config.patience is not None:
        callbacks.append(Patience(config.patience, after=config.early_epochs))
    if config.ema_decay is not None:  # after Pictures, which shall see the averaged weights
        callbacks.append(WeightAveraging(multi_avg_fn=moving_average(config.ema_decay)))
    return callbacks


def _loggers(folder: Path, execution: Execution) -> list[Logger]:
    loggers: list[Logger] = [TensorBoardLogger(folder, name="", version=run_folder.TENSORBOARD)]
    if execution.wandb:
        run = f"{folder.resolve().parent.name}-{folder.name}"
        try:
            loggers.append(WandbLogger(name=run, id=run, project=execution.wandb, save_dir=folder, resume="allow"))
        except ModuleNotFoundError as error:
            raise InputError("--wandb: Weights & Biases is not installed; run `pip install wandb`") from error
    return loggers
