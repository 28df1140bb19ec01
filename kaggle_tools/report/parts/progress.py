"""What a page says of a run of which no fold is finished, or of which one is being trained: how far it is.

All of it follows from small files in the folders of the folds, so that such a page is written within a second.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import counted
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.report.parts.run import sizes_by_first_epoch
from kaggle_tools.results import run_folder
from kaggle_tools.results.records.progress import PROGRESS_FILE, HeldOutPicture, Progress, read_progress
from kaggle_tools.results.records.run import Settings
from kaggle_tools.results.run_folder import fold_folder
from kaggle_tools.results.scores import of_table
from kaggle_tools.results.tables import Cell, Column, Table
from kaggle_tools.system.files import LOCK_FILE, is_locked
from kaggle_tools.system.progress import duration

MOST_SHOTS = 10
"""Of folds that are begun, the pictures of those with higher numbers are left out."""
MOST_FOLDS = 100
"""Of folds that are not begun, those with higher numbers are left out."""


@dataclass(frozen=True)
class FoldInTraining:
    """A fold that is being trained, in words."""

    title: str
    """`Fold 1: epoch 3 of 10 is over`."""
    times: Sequence[str]
    """How long it will take."""


@dataclass(frozen=True)
class Shots:
    """The pictures of a fold's last epoch."""

    title: str
    pictures: Sequence[HeldOutPicture]


@dataclass(frozen=True)
class ProgressPart:
    """A run that is not finished, as the page has it."""

    line: str
    """The run in one line, which begins with the word that it is unfinished."""
    written: str
    """When this was so."""
    in_training: list[FoldInTraining]
    folds: Table
    shots: list[Shots]
    learning_plots: list[Plot]

    @property
    def is_live(self) -> bool:
        """Whether there will be news."""
        return bool(self.in_training)


def has_begun(run: Path) -> bool:
    """Whether there is anything to say of how far a run is."""
    return bool(run_folder.begun_folds(run) or run_folder.folds_with(run, PROGRESS_FILE))


def progress_part(
    run: Path, competition: Competition, since: float | None = None, asked: Sequence[int] | None = None
) -> ProgressPart:
    """Gather how far a run is.

    The folds that are being trained are those that another process holds; where the disk has no locks, those that have
    told of themselves since this time, in seconds since 1970. `asked` are the folds that are to be trained, where that
    is known.

    Raises:
        InputError: the run's files are damaged.
    """
    now = time.time()
    settings = run_folder.read_settings(run)
    finished = run_folder.finished_folds(run)
    begun = [fold for fold in run_folder.folds_with(run, PROGRESS_FILE) if fold not in finished]
    records = {fold: record for fold in begun if (record := read_progress(fold_folder(run, fold)))}
    in_training = _in_training(run, records, since)
    curves = _curves(run, records)
    scores = {fold: of_table(run_folder.read_oof(run, [fold]), competition.score).of_set() for fold in finished}
    states = _states_before(settings.folds, asked, bool(in_training))
    states |= dict.fromkeys(curves, "interrupted")
    states |= {fold: _state(record, fold in in_training) for fold, record in records.items()}
    states |= dict.fromkeys(finished, "finished")
    return ProgressPart(
        line=f"Unfinished: {settings.model_name}, {run_folder.size_name(settings.image_size)}, "
        f"{len(finished)} of {counted(settings.folds, 'fold')} finished",
        written=f"{_clock(now)} on {datetime.fromtimestamp(now, UTC):%Y-%m-%d}",
        in_training=[_in_words(fold, records[fold], now) for fold in in_training],
        folds=_fold_table(settings, competition, states, curves, scores, records),
        shots=[
            Shots(f"Fold {fold}, after epoch {record.epochs_done}", record.pictures)
            for fold, record in records.items()
            if record.pictures
        ][:MOST_SHOTS],
        learning_plots=figures.learning_curves(curves, sizes_by_first_epoch(settings)) if curves else [],
    )


def _in_training(run: Path, records: Mapping[int, Progress], since: float | None) -> list[int]:
    held = [fold for fold in records if _is_held(fold_folder(run, fold))]
    recent = [fold for fold, record in records.items() if since is not None and record.written >= since]
    return held or recent


def _is_held(folder: Path) -> bool:
    with suppress(OSError):  # a folder that takes no writes has no lock that could be tried
        return (folder / LOCK_FILE).exists() and is_locked(folder)
    return False


def _curves(run: Path, records: Mapping[int, Progress]) -> dict[int, pd.DataFrame]:
    """The learning curves of all folds, as far as their records go: a table may be that of a training before."""
    done = {fold: record.epochs_done for fold, record in records.items()}
    curves = run_folder.learning_curves(run)
    return {fold: curve.head(done.get(fold, len(curve))) for fold, curve in curves.items() if done.get(fold) != 0}


def _states_before(folds: int, asked: Sequence[int] | None, goes_on: bool) -> dict[int, str]:
    """What is said of each fold as long as nothing else is known of it."""
    waits = "waiting" if goes_on and asked is not None else "not begun"
    return {
        fold: waits if asked is None or fold in asked else "not asked for" for fold in range(min(folds, MOST_FOLDS))
    }


def _state(record: Progress, is_in_training: bool) -> str:
    if not is_in_training:
        return "interrupted"
    return "being scored" if record.is_trained else "in training"


def _in_words(fold: int, record: Progress, now: float) -> FoldInTraining:
    if record.is_trained:
        over = f"Fold {fold}: trained"
        times = ["Its held-out photos are being masked at their own size, and scored"]
    else:
        over = f"Fold {fold}: {record.epochs_done} of {counted(record.epochs, 'epoch')}"
        times = [_left("this fold", record.seconds_left, record.written, now)]
    if record.folds_left > 1 and record.all_seconds_left is not None:
        of = f"the {record.folds_left} folds that the command has left"
        times.append(_left(of, record.all_seconds_left, record.written, now))
    return FoldInTraining(over, times)


def _left(of: str, seconds: float | None, since: float, now: float) -> str:
    if seconds is None:
        return f"How long {of} will take is known after an epoch"
    left = max(0.0, since + seconds - now)
    return f"About {duration(left)} left for {of}, until about {_clock(now + left)}"


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M} UTC"


def _fold_table(
    settings: Settings,
    competition: Competition,
    states: Mapping[int, str],
    curves: Mapping[int, pd.DataFrame],
    scores: Mapping[int, float],
    records: Mapping[int, Progress],
) -> Table:
    columns = [
        Column("fold"),
        Column("state"),
        Column("epochs", "{:.0f}"),
        Column("of", "{:.0f}"),
        Column("last validation Dice", "{:.5f}"),
        Column("best so far", "{:.5f}"),
        Column("its epoch", "{:.0f}"),
        Column(f"{competition.score_name} at the photos' own size", "{:.5f}"),
    ]
    early = sum(epochs for *_, epochs in settings.early_sizes)
    rows: list[list[Cell]] = []
    for fold, state in sorted(states.items()):
        curve = curves.get(fold)
        done = records[fold].epochs_done if fold in records else None if curve is None else len(curve)
        rows.append([str(fold), state, done, settings.epochs, *_last_and_best(curve, early), scores.get(fold)])
    return Table(columns, rows)


def _last_and_best(curve: pd.DataFrame | None, early: int) -> list[Cell]:
    """The validation Dice of the last epoch, that of the best after the early ones, and which one that is."""
    if curve is None:
        return [None, None, None]
    last, counting = curve["val_dice"].iloc[-1], curve.iloc[early:]
    known = None if pd.isna(last) else float(last)
    if counting["val_dice"].notna().sum() == 0:
        return [known, None, None]
    best = counting.iloc[int(counting["val_dice"].fillna(0).argmax())]
    return [known, float(best["val_dice"]), float(best["epoch"]) + 1]
