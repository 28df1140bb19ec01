"""Train several folds of a run: one after the other, or each on a GPU of its own."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.named import name_of
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.fingerprint import sha256_of
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, OutOfTimeError, counted, first_few
from kaggle_tools.inference import out_of_fold
from kaggle_tools.inference.ensemble import Member
from kaggle_tools.models.weights import load
from kaggle_tools.options import arguments_of
from kaggle_tools.results import fold_table, run_folder
from kaggle_tools.results.pred_folder import confident_photos
from kaggle_tools.system.files import locked
from kaggle_tools.system.hardware import best_device, require_working_gpu
from kaggle_tools.system.output import say
from kaggle_tools.system.processes import (
    is_first_process,
    on_a_gpu,
    own_command,
    run_on_gpus,
    visible_gpus,
    warn_of_idle_gpus,
)
from kaggle_tools.training.callbacks import TimeLimit
from kaggle_tools.training.fold import LOCK_SECONDS, train_fold
from kaggle_tools.training.plan.batch import warn_of_little_memory
from kaggle_tools.training.plan.hours import announce, busiest, estimated_hours
from kaggle_tools.training.plan.shortage import resumed_after_out_of_memory
from kaggle_tools.training.plan.trial import require_passes
from kaggle_tools.training.task import precision_of


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
    is_timed: bool = False
    """Whether it has been said how long it takes, as with a budget."""


def train(work: CrossValidation, folds: Sequence[int], execution: Execution, deadline: float | None = None) -> None:
    """Train those of these folds that are not finished, and keep the probabilities of all, where asked for.

    `deadline` is the time, as `time.monotonic` counts, after which no epoch may end.

    Raises:
        InputError: see `train_one_by_one` and `train_in_parallel`.
        OutOfTimeError: the deadline is near; the same call continues.
    """
    if execution.parallel_folds:
        train_in_parallel(work, folds, execution, deadline)  # which leaves the memory of the GPUs to the folds
    else:
        require_working_gpu()
        if is_first_process():
            warn_of_idle_gpus(execution.devices, execution.nodes)
        train_one_by_one(work, folds, execution, deadline)
    if execution.save_oof_probabilities and is_first_process():
        for fold in folds:
            save_missing_probabilities(work, fold, execution)


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
        warn_of_little_memory(work.photos, work.config, execution)
        if not work.is_timed:
            _say_hours(work, unfinished, execution)
    limit = None if deadline is None else TimeLimit(deadline, work.config.effort_by_epoch)
    for done, fold in enumerate(unfinished):
        if done and is_first_process():  # since these were looked at, hours may have passed
            fold_table.keep_files(work.run, work.photos)
            _keep_extra(work.run, extra)
        split = fold_table.split(list(work.photos), work.fold_by_stem, fold)
        if work.config.init:
            fold_table.require_unseen(Path(work.config.init), fold, split.held_out, work.competition)
        if is_first_process():
            added = f" and {len(extra):,} of {work.config.extra}" if extra else ""
            counts = f"{counted(len(split.training), 'photo')}{added} to train on, {len(split.held_out):,} held out"
            say(f"fold {fold}: {counts}")
        split = replace(split, training=[*split.training, *extra])
        left = len(unfinished) - done
        one = partial(train_fold, work.run, fold, work.competition, split, work.config, execution)
        resumed_after_out_of_memory(partial(one, time_limit=limit, folds_left=left), execution)


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
    if not work.is_timed:
        _say_parallel_hours(work, unfinished, gpus, alone)
    folds_by_name = {f"fold {fold}": fold for fold in unfinished}

    def command(name: str) -> list[str]:
        hours = None if deadline is None else max(0.0, deadline - time.monotonic()) / 3600
        return fold_command(work, folds_by_name[name], replace(alone, max_hours=hours))

    exit_codes = run_on_gpus([*folds_by_name], gpus, command)
    stopped = [name for name, exit_code in exit_codes.items() if exit_code == OutOfTimeError.exit_code]
    failed = [name for name, exit_code in exit_codes.items() if exit_code and name not in stopped]
    if failed:
        raise InputError(f"{len(failed)} of {counted(len(unfinished), 'fold')} failed: {', '.join(failed)}; see above")
    if stopped:
        raise OutOfTimeError(
            f"stopped before {len(stopped)} of {counted(len(unfinished), 'fold')} were done, as --max-hours asks; "
            "the same command continues from there"
        )


def save_missing_probabilities(work: CrossValidation, fold: int, execution: Execution) -> None:
    """Keep the out-of-fold probabilities of a fold that was finished when they were not asked for yet.

    Raises:
        InputError: see `out_of_fold.save_probabilities`; or the weights cannot be loaded.
    """
    folder = run_folder.fold_folder(work.run, fold)
    held_out = fold_table.split(list(work.photos), work.fold_by_stem, fold).held_out
    missing = [
        photo
        for photo in held_out
        if not all(run_folder.oof_probability_path(folder, one.stem).exists() for one in photo.targets)
    ]
    if not missing:
        return
    with locked(folder, "trains this fold", LOCK_SECONDS):
        out_of_fold.save_probabilities(
            Member(*load(folder, fold), folder),
            missing,
            device=best_device(),
            precision=precision_of(work.config),
            batch_size=work.config.batch_size,
            workers=execution.workers,
        )


def fold_command(work: CrossValidation, fold: int, execution: Execution) -> list[str]:
    """The command that trains one fold: what decides the result is in the run's `config.json`."""
    decided = ["--config", str(work.run / run_folder.CONFIG_FILE), "--competition", name_of(work.run, work.competition)]
    folder = ["--data", str(work.data), "--out", str(work.run), "--fold", str(fold)]
    return own_command("train", *folder, *decided, *arguments_of(execution))


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


def _say_hours(work: CrossValidation, folds: Sequence[int], execution: Execution) -> None:
    """Say how long the epochs of these folds that are left will take, one after the other."""
    epochs = sum(_epochs_left(work, fold) for fold in folds)
    hours = estimated_hours(work.photos, work.config, epochs, execution)
    announce(hours, len(folds), work.config, execution.max_hours, epochs)


def _say_parallel_hours(work: CrossValidation, folds: Sequence[int], gpus: Sequence[str], alone: Execution) -> None:
    """Say how long the epochs that are left will take on several GPUs, by a step on the first of them."""
    epochs = busiest([_epochs_left(work, fold) for fold in folds], len(gpus))
    with suppress(BrokenProcessPool):
        hours = on_a_gpu(gpus[0], estimated_hours, work.photos, work.config, epochs, alone, len(gpus))
        announce(hours, len(folds), work.config, alone.max_hours, epochs)


def _epochs_left(work: CrossValidation, fold: int) -> float:
    """How many epochs are left, those of smaller sizes as the share of a last one that they take."""
    epochs = 0
    with suppress(InputError):  # that the table is damaged shall stop no training, which writes it anew
        epochs = len(run_folder.read_metrics(work.run, fold))
    return sum(work.config.effort_by_epoch[epochs:])
