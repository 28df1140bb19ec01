"""Train several folds of a run: one after the other, or each on a GPU of its own."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from kaggle_tools.competition import Competition
from kaggle_tools.config import TrainingConfig
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import OutOfTimeError, first_few, require
from kaggle_tools.results import run_folder
from kaggle_tools.results.pred_folder import confident_photos
from kaggle_tools.system.processes import device_count, is_first_process, run_on_gpus, visible_gpus
from kaggle_tools.training.fold import Execution, estimated_hours, find_batch_size, train_fold

LONG_HOURS = 24.0
LAPTOP_WIDTH = 16


def train_one_by_one(
    run: Path,
    folds: Sequence[int],
    competition: Competition,
    photos: Sequence[Photo],
    fold_by_stem: dict[str, int],
    config: TrainingConfig,
    execution: Execution,
) -> None:
    """Train those of these folds that are not finished, in this process.

    Raises:
        InputError: see `training.train_fold`; or the weights to start from, or the masks to add, cannot be taken.
        OutOfTimeError: the deadline is near.
    """
    unfinished = _unfinished(run, folds)
    extra = _extra_photos(photos, competition, config)
    if unfinished and is_first_process():
        _warn_of_a_long_run(photos, config, len(unfinished), execution)
    for done, fold in enumerate(unfinished):
        training, held_out = run_folder.split(list(photos), fold_by_stem, fold)
        if config.init:
            run_folder.require_unseen(Path(config.init), fold, held_out, competition)
        if is_first_process():
            added = f" and {len(extra):,} of {config.extra}" if extra else ""
            print(f"fold {fold}: {len(training):,} photos{added} to train on, {len(held_out):,} held out", flush=True)
        left = replace(execution, folds_left=len(unfinished) - done)
        train_fold(run, fold, competition, (training + extra, held_out), config, left)


def train_in_parallel(
    run: Path, folds: Sequence[int], competition: Competition, command: Sequence[str], deadline: float | None = None
) -> None:
    """Train those of these folds that are not finished, each in a process of its own on a GPU of its own.

    `command` starts train.py with the options that do not change the result; what decides it is in the run.

    Raises:
        InputError: there is no GPU, or a fold failed; what it printed says why.
        OutOfTimeError: `deadline`, as `time.monotonic` counts, is near.
    """
    unfinished = _unfinished(run, folds)
    if not unfinished:
        return
    gpus = visible_gpus()
    require(bool(gpus), "--parallel-folds: this machine has no GPU; without it the folds are trained one by one")
    decided = ["--config", str(run / run_folder.CONFIG_FILE), "--out", str(run), "--competition", competition.slug]

    def train(fold: int) -> list[str]:
        left = [] if deadline is None else ["--max-hours", str(max(0.0, deadline - time.monotonic()) / 3600)]
        return [*command, *decided, "--devices", "1", "--fold", str(fold), *left]

    exit_codes = run_on_gpus(unfinished, gpus, train)
    stopped = [fold for fold, exit_code in exit_codes.items() if exit_code == OutOfTimeError.exit_code]
    failed = [fold for fold, exit_code in exit_codes.items() if exit_code and fold not in stopped]
    require(not failed, f"{len(failed)} of {len(unfinished)} folds failed: {', '.join(map(str, failed))}; see above")
    if stopped:
        raise OutOfTimeError(
            f"stopped before {len(stopped)} of {len(unfinished)} folds were done, as --max-hours asks; "
            "the same command goes on from there"
        )


def batch_size_that_fits(photos: list[Photo], config: TrainingConfig, execution: Execution) -> int:
    """The largest batch that the GPU holds.

    Raises:
        InputError: there is not one GPU whose memory could decide, or not even one photo fits.
    """
    one_gpu = torch.cuda.is_available() and device_count(execution.devices, execution.nodes) == 1
    require(one_gpu, "--batch-size auto: needs one GPU, as with --devices 1; give a number")
    found = find_batch_size((photos, photos[:1]), config, execution)
    print(f"batch size: {found} photos fit")
    return found


def _extra_photos(photos: Sequence[Photo], competition: Competition, config: TrainingConfig) -> list[Photo]:
    """The photos of --extra with their predicted masks, as far as these can be trusted."""
    if not config.extra:
        return []
    extra = confident_photos(Path(config.extra), competition, config.extra_confidence)
    known = {competition.group_and_view(photo.stem)[0] for photo in photos}
    flattering = [photo.stem for photo in extra if competition.group_and_view(photo.stem)[0] in known]
    require(
        not flattering, f"--extra {config.extra}: holds photos that are held out in a fold: {first_few(flattering)}"
    )
    alike = config.takes_sizes({photo.size for photo in (*photos, *extra)})
    require(alike, f"--extra {config.extra}: its photos have another size; give --image-size HxW")
    return extra


def _unfinished(run: Path, folds: Sequence[int]) -> list[int]:
    for fold in folds:
        if run_folder.is_finished(run, fold) and is_first_process():
            print(f"fold {fold}: finished before")
    return [fold for fold in folds if not run_folder.is_finished(run, fold)]


def _warn_of_a_long_run(photos: Sequence[Photo], config: TrainingConfig, folds: int, execution: Execution) -> None:
    """Say before it starts that it would take more than a day on this machine, and what to take instead."""
    hours = estimated_hours(photos, config, folds, execution)
    if hours > LONG_HOURS:
        instead = "a smaller --image-size" if config.width <= LAPTOP_WIDTH else "--preset laptop --fold 0"
        about = f"about {hours / 24:.1f} days for {folds} of {config.folds} folds on this machine"
        print(f"warning: {about}; try {instead}", flush=True)
