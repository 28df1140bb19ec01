"""Train several folds of a run: one after the other, or each on a GPU of its own."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kaggle_tools.competition import Competition
from kaggle_tools.config import Execution, TrainingConfig
from kaggle_tools.data.fingerprint import sha256_of
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, OutOfTimeError, first_few
from kaggle_tools.options import arguments_of
from kaggle_tools.results import fold_table, run_folder
from kaggle_tools.results.pred_folder import confident_photos
from kaggle_tools.system.hardware import best_device, has_its_own_memory, require_working_gpu
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.processes import (
    device_count,
    is_first_process,
    is_started_by_others,
    own_command,
    run_on_gpus,
    visible_gpus,
    warn_of_idle_gpus,
)
from kaggle_tools.training.callbacks import TimeLimit
from kaggle_tools.training.fold import train_fold
from kaggle_tools.training.plan.trial import estimated_hours, find_batch_size, photos_that_fit, require_passes

LONG_HOURS = 24.0
LAPTOP_WIDTH = 16


@dataclass(frozen=True)
class CrossValidation:
    """A run whose folds are to be trained."""

    run: Path
    """Its folder."""
    competition: Competition
    data: Path
    """The folder that the photos are in."""
    photos: Sequence[Photo]
    fold_by_stem: Mapping[str, int]
    """The fold that holds out each photo."""
    config: TrainingConfig


def train(work: CrossValidation, folds: Sequence[int], execution: Execution, deadline: float | None = None) -> None:
    """Train those of these folds that are not finished.

    `deadline` is the time, as `time.monotonic` counts, after which no epoch may end.

    Raises:
        InputError: see `train_one_by_one` and `train_in_parallel`.
        OutOfTimeError: the deadline is near; the same call continues.
    """
    require_working_gpu()
    if is_first_process():
        warn_of_idle_gpus(execution.devices, execution.nodes)
    if execution.parallel_folds:
        train_in_parallel(work, folds, execution, deadline)
    else:
        train_one_by_one(work, folds, execution, deadline)


def train_one_by_one(
    work: CrossValidation, folds: Sequence[int], execution: Execution, deadline: float | None = None
) -> None:
    """Train those of these folds that are not finished, in this process.

    Raises:
        InputError: see `fold.train_fold`; or the network does not take the photos' sizes; or the weights to start from,
            or the masks to add, cannot be used; or photos or masks are not those that the run was begun with.
        OutOfTimeError: the deadline is near.
    """
    unfinished = _unfinished(work.run, folds)
    extra = _extra_photos(work)
    _keep_extra(work.run, extra)
    if unfinished:
        _require_passes(work, unfinished, extra, execution)
    if unfinished and is_first_process():
        _warn_of_a_long_run(work, len(unfinished), execution)
    limit = None if deadline is None else TimeLimit(deadline)
    for done, fold in enumerate(unfinished):
        if done and is_first_process():  # since these were looked at, hours may have passed
            fold_table.keep_files(work.run, work.photos)
            _keep_extra(work.run, extra)
        split = fold_table.split(list(work.photos), work.fold_by_stem, fold)
        if work.config.init:
            fold_table.require_unseen(Path(work.config.init), fold, split.held_out, work.competition)
        if is_first_process():
            added = f" and {len(extra):,} of {work.config.extra}" if extra else ""
            counts = f"{len(split.training):,} photos{added} to train on, {len(split.held_out):,} held out"
            say(f"fold {fold}: {counts}")
        split = replace(split, training=[*split.training, *extra])
        train_fold(
            work.run,
            fold,
            work.competition,
            split,
            work.config,
            execution,
            time_limit=limit,
            folds_left=len(unfinished) - done,
        )


def train_in_parallel(
    work: CrossValidation, folds: Sequence[int], execution: Execution, deadline: float | None = None
) -> None:
    """Train those of these folds that are not finished, each in a process of its own on a GPU of its own.

    Raises:
        InputError: there is no GPU, the network does not take the photos' sizes, or a fold failed; what it printed
            says why.
        OutOfTimeError: the deadline is near.
    """
    unfinished = _unfinished(work.run, folds)
    if not unfinished:
        return
    gpus = visible_gpus(execution.devices)
    if not gpus:
        raise InputError("--parallel-folds: this machine has no GPU; without it the folds are trained one by one")

    alone = replace(execution, devices="1", nodes=1, parallel_folds=False, report=False)
    _require_passes(work, unfinished, [], alone)  # each fold does so for --extra as well
    folds_by_name = {f"fold {fold}": fold for fold in unfinished}

    def command(name: str) -> list[str]:
        hours = None if deadline is None else max(0.0, deadline - time.monotonic()) / 3600
        return fold_command(work, folds_by_name[name], replace(alone, max_hours=hours))

    exit_codes = run_on_gpus([*folds_by_name], gpus, command)
    stopped = [name for name, exit_code in exit_codes.items() if exit_code == OutOfTimeError.exit_code]
    failed = [name for name, exit_code in exit_codes.items() if exit_code and name not in stopped]
    if failed:
        raise InputError(f"{len(failed)} of {len(unfinished)} folds failed: {', '.join(failed)}; see above")
    if stopped:
        raise OutOfTimeError(
            f"stopped before {len(stopped)} of {len(unfinished)} folds were done, as --max-hours asks; "
            "the same command continues from there"
        )


def fold_command(work: CrossValidation, fold: int, execution: Execution) -> list[str]:
    """The command that trains one fold: what decides the result is in the run's `config.json`."""
    decided = ["--config", str(work.run / run_folder.CONFIG_FILE), "--competition", work.competition.slug]
    folder = ["--data", str(work.data), "--out", str(work.run), "--fold", str(fold)]
    return own_command("train", *folder, *decided, *arguments_of(execution))


def automatic_batch_size(run: Path, photos: Sequence[Photo], config: TrainingConfig, execution: Execution) -> int:
    """The batch size that the run was begun with, or else the largest that the GPU holds.

    Raises:
        InputError: there is not exactly one GPU, whose memory could decide, or not even one photo fits.
    """
    if (run / run_folder.CONFIG_FILE).exists():
        return run_folder.recorded_batch_size(run)
    if not (torch.cuda.is_available() and device_count(execution.devices, nodes=1) == 1):
        raise InputError("--batch-size auto: needs one GPU, as with --devices 1; give a number")
    found = find_batch_size(fold_table.Split(list(photos), list(photos[:1])), config, execution)
    say(f"batch size: {found} photos fit")
    return found


def fitted_to_memory(
    run: Path, photos: Sequence[Photo], config: TrainingConfig, execution: Execution
) -> TrainingConfig:
    """The configuration in which as many photos make a gradient step, in batches that the GPU holds.

    A run that was begun so goes on so. Where several processes have been started already, nothing is tried, as they
    would be in each other's way; nor on the processor, where the system and not PyTorch says that memory is short.
    """
    photos_a_step = config.batch_size * config.accumulate
    if recorded := run_folder.recorded_batches(run):
        batch_size, accumulate = recorded
        if batch_size <= config.batch_size and batch_size * accumulate == photos_a_step:
            return replace(config, batch_size=batch_size, accumulate=accumulate)
    require_working_gpu()
    if run_folder.is_begun(run) or not has_its_own_memory(best_device()) or is_started_by_others():
        return config
    devices = 1 if execution.parallel_folds else device_count(execution.devices, execution.nodes)
    largest = max((photo.size for photo in photos), key=lambda size: size[0] * size[1])
    fit = photos_that_fit(config, largest, devices, execution.recompute) if config.batch_size % devices == 0 else None
    if fit is None or fit * devices == config.batch_size:
        return config  # what does not fit at all is refused, with advice, when it is trained
    fitted = replace(config, batch_size=fit * devices, accumulate=photos_a_step // (fit * devices))
    warn(
        f"the GPU does not hold {config.batch_size // devices} photos at once: --batch-size {fitted.batch_size} "
        f"--accumulate {fitted.accumulate} is taken. As many photos make a gradient step, and the gradient is the same "
        "but for the terms that are pooled over a batch: normalisation statistics, the Dice and Lovasz losses"
    )
    return fitted


def _extra_photos(work: CrossValidation) -> list[Photo]:
    """The photos of --extra with their predicted masks (pseudo-labels), as far as these can be trusted."""
    config = work.config
    if not config.extra:
        return []
    extra = confident_photos(Path(config.extra), work.competition, config.extra_confidence, work.data)
    if leaking := _leaking(work, extra):
        raise InputError(
            f"--extra {config.extra}: leak, as it holds photos that are held out in a fold: {first_few(leaking)}"
        )
    if not config.takes_sizes({photo.size for photo in (*work.photos, *extra)}):
        raise InputError(f"--extra {config.extra}: its photos have another size; give --image-size HxW")
    return extra


def _leaking(work: CrossValidation, extra: Sequence[Photo]) -> list[str]:
    """Which of these photos are of a group that is held out, or, named otherwise, copies of a held-out photo."""
    groups = {_group(work.competition, photo.stem) for photo in work.photos}
    others = [photo for photo in extra if _group(work.competition, photo.stem) is None]
    held_out = {sha256_of(photo.path) for photo in work.photos} if others else set()
    copies = {photo.stem for photo in others if sha256_of(photo.path) in held_out}
    return [photo.stem for photo in extra if photo.stem in copies or _group(work.competition, photo.stem) in groups]


def _group(competition: Competition, stem: str) -> str | None:
    """The group of a photo; None of one that is not named as the competition's, such as one's own."""
    try:
        return competition.group_and_view(stem)[0]
    except ValueError:
        return None


def _keep_extra(run: Path, extra: Sequence[Photo]) -> None:
    if extra and is_first_process():
        fold_table.keep_files(run, extra, run_folder.EXTRA_FILE)


def _unfinished(run: Path, folds: Sequence[int]) -> list[int]:
    for fold in folds:
        if run_folder.is_finished(run, fold) and is_first_process():
            say(f"fold {fold}: finished before")
    return [fold for fold in folds if not run_folder.is_finished(run, fold)]


def _require_passes(work: CrossValidation, folds: Sequence[int], extra: Sequence[Photo], execution: Execution) -> None:
    held_out = Counter(work.fold_by_stem.values())
    training_photos = len(work.photos) - max(held_out[fold] for fold in folds) + len(extra)
    sizes = {photo.size for photo in (*work.photos, *extra)}
    require_passes(work.config, sizes, training_photos, execution)


def _warn_of_a_long_run(work: CrossValidation, folds: int, execution: Execution) -> None:
    """Warn, before the training starts, that it would take more than a day, or longer than it may."""
    hours = estimated_hours(work.photos, work.config, folds, execution)
    if hours is None:
        return
    limit = execution.max_hours
    if limit is not None and hours > limit:
        warn(
            f"about {hours:.1f} hours from the start to the end, and --max-hours is {limit:g}: repeat the command then"
        )
    elif hours > LONG_HOURS:
        smaller = work.config.width <= LAPTOP_WIDTH or torch.cuda.is_available()
        instead = "a smaller --image-size, or a single --fold" if smaller else "--preset laptop --fold 0"
        about = f"about {hours / 24:.1f} days for {folds} of {work.config.folds} folds on this machine"
        warn(f"{about}; try {instead}")
