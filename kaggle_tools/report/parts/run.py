"""What a page says of one run: its score, whether it can be trusted, and where it fails.

All of it follows from the run's own files (see `run_folder` and `summary`); only the pictures need the photos.
"""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import classes_of_masks, groups_and_views_of_masks
from kaggle_tools.competitions.named import name_of
from kaggle_tools.config.recorded import setting_as_text
from kaggle_tools.data.fingerprint import FileHashes
from kaggle_tools.data.run_length_masks import masks_folder
from kaggle_tools.errors import InputError, counted
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.graphics.pictures import Gallery, PhotoFiles, Picture, pictures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.report.parts.photos import (
    LongTable,
    Pixels,
    blank_table,
    coverage_plot,
    coverage_table,
    held_out_table,
    pixels_of,
    with_pixels,
)
from kaggle_tools.report.parts.run_tables import class_table, fold_table, mean_table
from kaggle_tools.report.trust import Check, checks_of
from kaggle_tools.results import run_folder, summary
from kaggle_tools.results.after_care import chosen
from kaggle_tools.results.fold_table import recorded_files
from kaggle_tools.results.records.histograms import HeldOut
from kaggle_tools.results.records.run import RunConfig, Settings, Timing
from kaggle_tools.results.run_folder import fold_folder
from kaggle_tools.results.scores import Estimate, of_table
from kaggle_tools.results.summary import Summary
from kaggle_tools.results.tables import Column, Table
from kaggle_tools.system.processes import command_to_paste
from kaggle_tools.system.progress import duration

WORST, BEST, RANDOM, WORST_GROUPS = 24, 6, 6, 3
MOST_VIEWS = 100
"""For more of them, each interval takes too long."""
SETTINGS = [Column("setting"), Column("value")]


@dataclass(frozen=True)
class WorstGroup:
    """A group with one of the lowest mean scores, or pooled ones."""

    name: str
    mean: float
    worst_photo: Picture


@dataclass(frozen=True)
class RunPart:
    """One run, as the page has it."""

    name: str
    competition: Competition
    line: str
    """The run in one line."""
    score: Estimate
    photos: int
    groups: int
    checks: list[Check]
    worst_groups: list[WorstGroup]
    galleries: list[Gallery]
    folds: Table
    by_class: Table | None
    by_view: Table | None
    by_group: Table | None
    pixels: Pixels
    """Those of all photos."""
    blanks: Table | None
    """None where no photo may be blank, or nearly none is; so is `by_coverage`."""
    by_coverage: Table | None
    held_out: LongTable
    """Every photo."""
    score_plots: list[Plot]
    probability_plots: list[Plot]
    learning_plots: list[Plot]
    settings: Table
    facts: dict[str, str]
    """How it was made, by what is said."""


def run_part(run: Path, competition: Competition, data: Path | None = None) -> RunPart:
    """Gather what is known of a run.

    `data` is where the photos are, if not where they were in the training.

    Raises:
        InputError: no fold is finished, or the run's files are damaged.
    """
    found = summary.summarise(run, competition)
    config, settings = run_folder.read_config(run), run_folder.read_settings(run)
    folds = found.folds
    held_out = summary.held_out_by(run, folds)
    table = with_pixels(_with_groups(run_folder.read_oof(run, folds), competition), held_out)
    shown = HeldOutPhotos(run, competition, data)
    curves = run_folder.learning_curves(run)
    care = chosen(summary.after_care_trials(held_out, competition))
    early = sum(epochs for *_, epochs in settings.early_sizes)
    of_last_size = {fold: curve.iloc[early:] for fold, curve in curves.items()}
    return RunPart(
        name=run.resolve().name,
        competition=competition,
        line=_line(settings, folds),
        score=found.score,
        photos=found.photos,
        groups=found.groups,
        checks=checks_of(run, found, table, of_last_size, competition),
        worst_groups=_worst_groups(table, shown, competition) if competition.has_groups else [],
        galleries=_galleries(table, shown),
        folds=fold_table(run, table, of_last_size, early, competition),
        by_class=class_table(table, competition) if competition.classes else None,
        by_view=mean_table(table, "view", competition) if competition.has_groups else None,
        by_group=mean_table(table, "group", competition) if competition.has_groups else None,
        pixels=pixels_of(table),
        blanks=blank_table(table, competition) if competition.blank_usual else None,
        by_coverage=coverage_table(table, competition) if competition.blank_usual else None,
        held_out=held_out_table(table, competition),
        score_plots=_score_plots(table, competition),
        probability_plots=_probability_plots(held_out, found, competition),
        learning_plots=figures.learning_curves(curves, sizes_by_first_epoch(settings)) if curves else [],
        settings=Table(SETTINGS, [[name, setting_as_text(name, value)] for name, value in config.settings.items()]),
        facts={**_facts(run, config, settings, folds, competition), "masks of new photos": str(care)},
    )


class HeldOutPhotos:
    """Where the pictures of a run's held-out photos come from: `data`, or else where the run was trained."""

    def __init__(self, run: Path, competition: Competition, data: Path | None) -> None:
        self.run = run
        self.competition = competition
        self.data = data or Path(run_folder.read_config(run).data)
        self.data_recorded = data is None
        self.recorded = recorded_files(run)
        self.true_masks = competition.train_masks
        if competition.masks_are_run_lengths:
            with suppress(InputError):  # a picture then says that there is no mask
                folder = masks_folder(competition, self.data / competition.train_masks)
                self.true_masks = str(folder / f"{{stem}}{'_{class}' if competition.classes else ''}.png")

    def files(self, name: str, fold: int, caption: str) -> PhotoFiles:
        """A photo with the predicted and the true mask of this name."""
        recorded = self.recorded.get(name, FileHashes("", ""))
        stem, of_class = self.competition.stem_and_class(name)
        return PhotoFiles(
            stem=name,
            caption=caption,
            photo=self.data / self.competition.train_photos.format(stem=stem),
            predicted=run_folder.oof_mask_path(fold_folder(self.run, fold), name),
            truth=self.data / self.true_masks.format(stem=stem, **{"class": of_class}),
            photo_sha256=recorded.photo,
            truth_sha256=recorded.mask,
            paths_recorded=self.data_recorded,
        )

    def pictures(self, rows: pd.DataFrame) -> list[Picture]:
        """Pictures of these rows of the out-of-fold table."""
        score_name = self.competition.photo_score_name
        return pictures(
            self.files(name, fold, f"{score_name} {score:.5f}, fold {fold}")
            for name, fold, score in zip(rows["image"], rows["fold"], rows["score"], strict=True)
        )


def _with_groups(table: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    groups, views = groups_and_views_of_masks(table["image"], competition)
    return table.assign(group=groups, view=views, **{"class": classes_of_masks(table["image"], competition)})


def sizes_by_first_epoch(settings: Settings) -> dict[int, str]:
    """The sizes of a run that had several, by the first epoch, from 1, that had them."""
    sizes, first = {}, 1
    for *size, epochs in settings.early_sizes:
        sizes[first] = run_folder.size_name(size)
        first += epochs
    return {**sizes, first: run_folder.size_name(settings.image_size)} if sizes else {}


def _line(settings: Settings, folds: Sequence[int]) -> str:
    sizes = sizes_by_first_epoch(settings).values() or [run_folder.size_name(settings.image_size)]
    size = " then ".join(sizes)
    epochs = counted(settings.epochs, "epoch")
    trained = f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))} of {settings.folds}"
    return f"{settings.model_name}, {size}, {trained}, at most {epochs}, TTA {settings.tta}"


def _worst_groups(table: pd.DataFrame, shown: HeldOutPhotos, competition: Competition) -> list[WorstGroup]:
    means = _by_group(table, competition).nsmallest(WORST_GROUPS)
    worst = table.loc[[table.loc[table["group"] == group, "score"].idxmin() for group in means.index]]
    drawn = shown.pictures(worst)
    return [
        WorstGroup(str(name), float(mean), picture) for (name, mean), picture in zip(means.items(), drawn, strict=True)
    ]


def _galleries(table: pd.DataFrame, shown: HeldOutPhotos) -> list[Gallery]:
    ordered = table.sort_values(["score", "dice", "image"])
    worst = ordered.head(WORST)
    rest = ordered.iloc[len(worst) :]
    best = rest.tail(BEST).iloc[::-1]
    between = rest.iloc[: len(rest) - len(best)]
    random = between.sample(min(RANDOM, len(between)), random_state=0)
    unit = shown.competition.unit
    if len(ordered) == 1:
        title = f"The only {unit}"
    else:
        title = f"The {len(worst)} worst {unit}s" if len(rest) else f"All {len(ordered)} {unit}s, the worst first"
    named = [(title, worst), ("The best", best), ("Drawn at random from the others", random)]
    return [Gallery(title, shown.pictures(rows)) for title, rows in named if len(rows)]


def _score_plots(table: pd.DataFrame, competition: Competition) -> list[Plot]:
    name, few = competition.score_name, table["view"].nunique() <= MOST_VIEWS
    plots = [figures.distribution(table["score"].to_numpy(), competition.photo_score_name)]
    if competition.has_groups:
        by_view = {str(view): _estimate(photos, few, competition) for view, photos in table.groupby("view")}
        by_group = table.groupby("group")["score"].agg(["min", "max"]).assign(mean=_by_group(table, competition))
        plots.append(figures.by_view(by_view, name, competition.view_name))
        plots.append(figures.by_group(by_group.sort_values("mean"), name, competition.group_name))
    if competition.blank_usual:
        plots.append(coverage_plot(table, competition))
    return plots


def _by_group(table: pd.DataFrame, competition: Competition) -> "pd.Series[float]":
    return pd.Series(of_table(table, competition.score).by(table["group"].tolist()))


def _estimate(photos: pd.DataFrame, with_interval: bool, competition: Competition) -> Estimate:
    scores = of_table(photos, competition.score)
    return Estimate(scores.of_set(), scores.interval(photos["group"].tolist()) if with_interval else None)


def _probability_plots(held_out: HeldOut, found: Summary, competition: Competition) -> list[Plot]:
    curve = summary.threshold_curve(held_out.histograms, competition)
    threshold, score = found.threshold, found.score_at_threshold
    return [
        figures.threshold_curve(curve, threshold, score, competition.score_name),
        figures.calibration(held_out.histograms.sum(axis=0)),
    ]


def _facts(
    run: Path, config: RunConfig, settings: Settings, folds: Sequence[int], competition: Competition
) -> dict[str, str]:
    read = {fold: run_folder.read_timing(fold_folder(run, fold)) for fold in folds}
    timings = {fold: timing for fold, timing in read.items() if timing and timing.training_seconds}
    seconds = sum(timing.training_seconds for timing in timings.values())
    machines = sorted({_machine(timing) for timing in timings.values()})
    versions = ", ".join(f"{name} {version}" for name, version in config.versions.items() if version)
    repeated = ["train", "--data", config.data, "--out", "NEW"]
    repeated += ["--config", str(run / run_folder.CONFIG_FILE), "--competition", name_of(run, competition)]
    if len(folds) < settings.folds:
        repeated += [word for fold in folds for word in ("--fold", str(fold))]
    return {
        "begun": f"{config.begun[:16].replace('T', ' ')} UTC" if config.begun else "not recorded",
        "begun with": _begun_with(config.command),
        "to repeat all of it": command_to_paste(*repeated),
        "training": f"{duration(seconds)} (fold {', '.join(map(str, timings))})" if timings else "not recorded",
        "hardware": "; ".join(machines) or "not recorded",
        "versions": versions,
        "code": config.commit or "no git checkout",
        "photos": config.data,
    }


def _begun_with(command: str) -> str:
    """The recorded command, where it is a training, such that nothing else runs where someone pastes it."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    start = 3 if words[:3] == ["-m", "kaggle_tools", "train"] else 1
    if start == 1 and (not words or Path(words[0]).name != "train.py"):
        return "not recorded as a training"
    shown = command_to_paste("train", *words[start:])
    # A line break or Ctrl-C inside of quotes would be obeyed where it is pasted.
    return shown if shown.isprintable() else "not recorded as one line"


def _machine(timing: Timing) -> str:
    return f"{timing.hardware} ({counted(timing.devices, 'device')} used, precision {timing.precision})"
