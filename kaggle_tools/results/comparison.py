"""Runs side by side, on the photos of the folds that all of them have finished.

Differences are those on the same photos, so that what is hard for all runs cancels out, and their interval is drawn
over groups, as the score's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from kaggle_tools.competitions import named
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import groups_and_views_of_masks
from kaggle_tools.config.recorded import as_recorded_now, setting_as_text
from kaggle_tools.data.fingerprint import differences
from kaggle_tools.data.images import Size
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.results import run_folder
from kaggle_tools.results.fold_table import recorded_files
from kaggle_tools.results.records.run import RunConfig
from kaggle_tools.results.scores import FEWEST_GROUPS, Estimate, Interval, PhotoScores, of_table
from kaggle_tools.results.tables import Cell, Column, NumberInWords, Table
from kaggle_tools.system.output import printable

Verdict = Literal["better", "worse", "cannot tell"]
IN_OTHER_COLUMNS = ("competition", "model", "width", "unshuffle", "image_size")
"""Settings that the model's name and its size say."""


@dataclass(frozen=True)
class Difference:
    """The difference in score between two runs."""

    mean: float
    interval: Interval | None
    """95 %, over groups; None where there is only one."""
    groups: int
    """How many there are."""

    @property
    def verdict(self) -> Verdict:
        """Whether it is more than chance: whether there are enough groups, and the interval leaves out 0."""
        if self.interval is None or self.groups < FEWEST_GROUPS:
            return "cannot tell"
        return "better" if self.interval[0] > 0 else "worse" if self.interval[1] < 0 else "cannot tell"

    def __str__(self) -> str:
        """`0.00352 (0.00276 to 0.00433)`."""
        return str(Estimate(self.mean, self.interval))


@dataclass(frozen=True)
class ComparedRun:
    """One run's scores on the photos that the runs have in common."""

    run: Path
    model: str
    image_size: Size | None
    """(height, width) in pixels that the network saw; None: the photos' own."""
    fold_scores: dict[int, float]
    """The score of each fold."""
    score: Estimate
    """The score of all photos."""
    photo_scores: PhotoScores
    """Those of the single photos, in the order of their stems."""
    further: dict[str, float]
    """The means of the other columns of `oof.csv`: dice and iou."""
    to_first: Difference
    """To the first of the runs."""
    begun: str
    """When: `2026-11-28 09:48`, UTC."""
    settings: Mapping[str, str]
    """All of `config.json`, as people read them."""


@dataclass(frozen=True)
class Comparison:
    """Runs on the same held-out photos."""

    competition: Competition
    runs: list[ComparedRun]
    """In the order in which they were given."""
    scores: pd.DataFrame
    """Photos by runs: a row for each stem, a column for each run in their order, numbered from 0."""
    folds: pd.Series
    """The fold of each row of `scores`."""
    groups: tuple[str, ...]
    """The group of each row of `scores`."""

    @property
    def best(self) -> int:
        """Which run has the highest score."""
        return max(range(len(self.runs)), key=lambda at: self.runs[at].score.score)

    @property
    def second(self) -> int | None:
        """Which of the others has; None where there is no other."""
        others = [at for at in range(len(self.runs)) if at != self.best]
        return max(others, key=lambda at: self.runs[at].score.score, default=None)

    def difference(self, run: int, other: int) -> Difference:
        """What `run` has more than `other`."""
        return _difference(self.runs[run].photo_scores, self.runs[other].photo_scores, self.groups)

    def names(self) -> list[str]:
        """The runs as tables, plots and sentences call them: by their folders' names where these tell them apart."""
        names = [compared.run.resolve().name for compared in self.runs]
        told_apart = names if len(set(names)) == len(names) else [str(compared.run) for compared in self.runs]
        return list(map(printable, told_apart))

    @property
    def ranked(self) -> list[int]:
        """The numbers of the runs, that with the highest score first."""
        return sorted(range(len(self.runs)), key=lambda at: -self.runs[at].score.score)

    @property
    def differing_settings(self) -> list[str]:
        """The names of the settings that are not the same in all runs and that no other column of `table` shows."""
        names = dict.fromkeys(name for compared in self.runs for name in compared.settings)
        values = {name: {compared.settings.get(name) for compared in self.runs} for name in names}
        return [name for name in names if len(values[name]) > 1 and name not in IN_OTHER_COLUMNS]

    def in_words(self) -> str:
        """Which run is the best, and whether that is more than chance."""
        names, second = self.names(), self.second
        if second is None:
            return f"{names[0]} has {self.runs[0].score}"
        return f"{names[self.best]} is the best with {self.runs[self.best].score}; {self.against(self.best, second)}"

    def against(self, run: int, other: int) -> str:
        """Whether one run is better or worse than another, in words."""
        difference, names = self.difference(run, other), self.names()
        if difference.verdict == "cannot tell":
            few = f", of too few {self.competition.group_name}s" if difference.groups < FEWEST_GROUPS else ""
            return f"whether that is better than {names[other]} cannot be told: the difference is {difference}{few}"
        lead = self.difference(other, run) if difference.verdict == "worse" else difference
        return f"it is {difference.verdict} than {names[other]}, by {lead}"


def compare(runs: Sequence[Path], competition: Competition) -> Comparison:
    """Compare runs.

    Raises:
        InputError: the runs have no finished fold in common, or hold out different photos in it, by name or content.
    """
    folds = sorted(set.intersection(*(set(run_folder.finished_folds(run)) for run in runs)))
    if not folds:
        raise InputError(f"no fold is finished in all of {', '.join(map(str, runs))}")
    tables = [run_folder.read_oof(run, folds).set_index("image").sort_index() for run in runs]
    for run, table in zip(runs[1:], tables[1:], strict=True):
        _require_same_photos(runs[0], tables[0], run, table)
    groups = tuple(groups_and_views_of_masks(tables[0].index, competition)[0])
    photo_scores = [of_table(table, competition.score) for table in tables]
    compared = [
        _compared(run, table, scores, photo_scores[0], groups)
        for run, table, scores in zip(runs, tables, photo_scores, strict=True)
    ]
    scores = pd.DataFrame({at: table["score"] for at, table in enumerate(tables)})
    return Comparison(competition, compared, scores, tables[0]["fold"], groups)


def comparable_neighbours(run: Path) -> list[Path]:
    """The runs beside this one, of the same competition, that held out the same photos in its finished folds."""
    folds = run_folder.finished_folds(run)
    if not folds:
        return []
    own, competition = _photos(run, folds), _competition(run)
    beside = (path.parent for path in run.resolve().parent.glob(f"*/{run_folder.CONFIG_FILE}"))
    others = sorted({path.resolve() for path in beside} - {run.resolve()})  # without links to others, or to itself
    return [
        path
        for path in others
        if set(folds) <= set(run_folder.finished_folds(path))
        and _is_about(path, competition)
        and _holds_out(path, folds, own, as_in=run)
    ]


def _competition(run: Path) -> Competition:
    return named.recorded(run, run_folder.read_settings(run).competition)


def _is_about(run: Path, competition: Competition) -> bool:
    """Whether a run records the same competition, whose score and classes it then has."""
    try:
        return not named.differences(competition, _competition(run))
    except InputError:  # damaged, or of a version that knew other competitions
        return False


def table(comparison: Comparison, *, with_settings: bool = True) -> Table:
    """A row for each run, the best first and marked; `with_settings` with a column for each one that differs.

    A single run has nothing that it could be held against, and so neither rank nor difference.
    """
    score_name, folds = comparison.competition.score_name, list(comparison.runs[0].fold_scores)
    further = comparison.competition.further_scores
    settings = comparison.differing_settings if with_settings else []
    names = comparison.names()
    several = len(comparison.runs) > 1
    differences = [
        Column(f"to {names[0]}", "{:+.5f}"),
        Column("its 95 % interval", "{:+.5f}"),
        Column("verdict"),
    ]
    columns = [
        Column("run"),
        *([Column("rank")] if several else []),
        Column(f"{score_name} (score)", "{:.5f}"),
        Column("95 % interval", "{:.5f}"),
        *(differences if several else []),
        Column("model"),
        Column("size"),
        *map(Column, settings),
        Column("begun, UTC"),
        *(Column(f"fold {fold}", "{:.5f}") for fold in folds),
        *(Column(name, "{:.5f}") for name in further),
    ]
    rows: list[list[Cell]] = []
    for rank, at in enumerate(comparison.ranked, start=1):
        compared = comparison.runs[at]
        to_first = compared.to_first
        to_itself: list[Cell] = [None, None, None]
        verdict = [to_first.mean, _spread(to_first.interval, "{:+.5f} to {:+.5f}"), to_first.verdict]
        rows.append(
            [
                names[at],
                *(["1, the best" if rank == 1 else str(rank)] if several else []),
                compared.score.score,
                _spread(compared.score.interval, "{:.5f} to {:.5f}"),
                *((verdict if at else to_itself) if several else []),
                compared.model,
                run_folder.size_name(compared.image_size),
                *(compared.settings.get(setting) for setting in settings),
                compared.begun,
                *compared.fold_scores.values(),
                *(compared.further[name] for name in further.values()),
            ]
        )
    return Table(columns, rows)


def _compared(
    run: Path, table: pd.DataFrame, scores: PhotoScores, first: PhotoScores, groups: tuple[str, ...]
) -> ComparedRun:
    settings, config = run_folder.read_settings(run), run_folder.read_config(run)
    return ComparedRun(
        run=run,
        model=settings.model_name,
        image_size=settings.image_size,
        fold_scores=scores.by(table["fold"].tolist()),
        score=scores.estimate(groups),
        photo_scores=scores,
        further={name: float(table[name].mean()) for name in ("dice", "iou")},
        to_first=_difference(scores, first, groups),
        begun=_begun(run, config),
        settings={name: setting_as_text(name, value) for name, value in as_recorded_now(config.settings).items()},
    )


def _begun(run: Path, config: RunConfig) -> str:
    """As recorded; of older runs the date of `config.json`, which is written first, and which a copy may have lost."""
    dated = datetime.fromtimestamp((run / run_folder.CONFIG_FILE).stat().st_mtime, UTC).isoformat()
    return (config.begun or dated)[:16].replace("T", " ")


def _difference(scores: PhotoScores, others: PhotoScores, groups: tuple[str, ...]) -> Difference:
    difference = scores.minus(others)
    return Difference(difference.of_set(), difference.interval(groups), len(set(groups)))


def _spread(interval: Interval | None, form: str) -> NumberInWords | None:
    return NumberInWords(interval[0], form.format(*interval)) if interval else None


def _photos(run: Path, folds: list[int]) -> set[tuple[str, int]]:
    table = run_folder.read_oof(run, folds)
    return set(zip(table["image"], table["fold"], strict=True))


def _holds_out(run: Path, folds: list[int], photos: set[tuple[str, int]], as_in: Path) -> bool:
    try:
        run_folder.read_settings(run)
        return _photos(run, folds) == photos and not _changed_files(as_in, run, {stem for stem, _ in photos})
    except InputError:  # damaged: for the command about that run to say
        return False


def _require_same_photos(first_run: Path, first: pd.DataFrame, run: Path, table: pd.DataFrame) -> None:
    here, there = (set(zip(rows.index, rows["fold"], strict=True)) for rows in (first, table))
    if here != there:
        strange = sorted(f"{image} (fold {fold})" for image, fold in here ^ there)
        raise InputError(
            f"{run} and {first_run} hold out different photos, so their scores cannot be compared: {first_few(strange)}"
        )
    changed = _changed_files(first_run, run, set(table.index))
    if changed:
        raise InputError(f"{run} was scored on other photos or masks than {first_run} ({changed}): not to be compared")


def _changed_files(run: Path, other: Path, stems: set[str]) -> str:
    """How photos and masks of these stems differ between two runs, as far as both have recorded them."""
    here, there = recorded_files(run), recorded_files(other)
    both = sorted(stems & here.keys() & there.keys())
    return differences({stem: here[stem] for stem in both}, {stem: there[stem] for stem in both})
