"""What a page says of one run: its score, whether it can be trusted, and where it fails.

All of it follows from the run's own files (see `run_folder` and `summary`); only the pictures need the photos.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kaggle_tools import comparison, run_folder, summary
from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.files import read_json
from kaggle_tools.progress import duration
from kaggle_tools.report import figures
from kaggle_tools.report.figures import Plot
from kaggle_tools.report.pictures import Picture, Subject, pictures
from kaggle_tools.run_folder import DEFAULT_THRESHOLD, fold_folder
from kaggle_tools.summary import Estimate, HeldOut
from kaggle_tools.tables import Column, Table

WORST, BEST, RANDOM, WORST_GROUPS = 24, 6, 6, 3
TRUSTED = 0.002
"""By so much a score may be flattered without a warning."""


SETTINGS = [Column("setting"), Column("value")]


@dataclass(frozen=True)
class Check:
    """A reason to trust the score, or not to."""

    holds: bool
    text: str


@dataclass(frozen=True)
class WorstGroup:
    """A group with one of the lowest mean scores."""

    name: str
    mean: float
    worst_photo: Picture


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together."""

    title: str
    pictures: list[Picture]


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
    by_view: Table | None
    by_group: Table | None
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
    config = run_folder.read_config(run)
    folds = found["folds"]
    table = _with_groups(run_folder.read_oof(run, folds), competition)
    held_out = summary.held_out_by(run, folds)
    shown = Photos(run, competition, data or Path(config["data"]))
    return RunPart(
        name=run.resolve().name,
        competition=competition,
        line=_line(config["settings"], folds),
        score=Estimate(found["score_mean"], found["score_interval"]),
        photos=found["photos"],
        groups=found["groups"],
        checks=_checks(run, found, config["settings"], table, competition),
        worst_groups=_worst_groups(table, shown) if competition.has_groups else [],
        galleries=_galleries(table, shown),
        folds=_fold_table(run, table, competition),
        by_view=_mean_table(table, "view", competition) if competition.has_groups else None,
        by_group=_mean_table(table, "group", competition) if competition.has_groups else None,
        score_plots=_score_plots(table, competition),
        probability_plots=_probability_plots(held_out, found, competition),
        learning_plots=figures.learning_curves(_curves(run)),
        settings=Table(SETTINGS, [[name, _shown(value)] for name, value in config["settings"].items()]),
        facts=_facts(run, config, folds),
    )


@dataclass(frozen=True)
class Photos:
    """Where the pictures of a run's held-out photos come from."""

    run: Path
    competition: Competition
    data: Path

    def subject(self, row: Mapping[Any, Any]) -> Subject:
        """The photo of a row of the out-of-fold table."""
        return Subject(
            stem=row["image"],
            caption=f"{self.competition.score_name} {row['score']:.5f}, fold {row['fold']}",
            photo=self.data / self.competition.train_photos.format(stem=row["image"]),
            predicted=run_folder.oof_mask_path(fold_folder(self.run, row["fold"]), row["image"]),
            truth=self.data / self.competition.train_masks.format(stem=row["image"]),
        )

    def pictures(self, rows: pd.DataFrame) -> list[Picture]:
        """Pictures of these rows of the out-of-fold table."""
        return pictures(map(self.subject, rows.to_dict("records")))


def _with_groups(table: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    groups, views = zip(*map(competition.group_and_view, table["image"]), strict=True)
    return table.assign(group=groups, view=views)


def _line(settings: dict[str, Any], folds: list[int]) -> str:
    size = "full size" if settings["image_size"] is None else "{}x{}".format(*settings["image_size"])
    trained = f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))} of {settings['folds']}"
    model, epochs, tta = run_folder.model_name(settings), settings["epochs"], settings["tta"]
    return f"{model}, {size}, {trained}, at most {epochs} epochs, TTA {tta}"


def _checks(
    run: Path, found: dict[str, Any], settings: dict[str, Any], table: pd.DataFrame, competition: Competition
) -> list[Check]:
    name, folds, all_folds = competition.group_name, len(found["folds"]), settings["folds"]
    gain = found["score_at_threshold"] - found["score_mean"]
    checks = [
        _no_group_is_split(run, competition),
        Check(
            folds == all_folds,
            f"All {folds} folds are finished: every photo was held out once."
            if folds == all_folds
            else f"{folds} of {all_folds} folds {'are' if folds > 1 else 'is'} finished: "
            f"the score is of {found['photos']:,} photos, other {name}s may do better or worse.",
        ),
        Check(
            found["score_interval"] is not None,
            f"The interval allows for other {name}s like these, drawn {summary.RESAMPLES:,} times from the "
            f"{found['groups']:,}, but not for a training with another seed."
            if found["score_interval"]
            else f"There is one {name} only, so that nothing is known of others.",
        ),
        Check(
            gain < TRUSTED,
            f"The masks are cut at {DEFAULT_THRESHOLD}. The best threshold on these same photos, "
            f"{found['threshold']:.4g}, would add {gain:.5f}.",
        ),
        _probabilities_are_right(table),
    ]
    if found["score_std"] is not None:
        spread = f"The folds' scores have a standard deviation of {found['score_std']:.5f}."
        checks.insert(2, Check(True, spread))
    return checks


def _probabilities_are_right(table: pd.DataFrame) -> Check:
    if run_folder.EXPECTED_DICE not in table or table[run_folder.EXPECTED_DICE].isna().any():
        return Check(False, "What the probabilities let expect was not recorded yet by the version that trained this.")
    expected, real = table[run_folder.EXPECTED_DICE], table["dice"]
    excess = float(expected.mean() - real.mean())
    alike = expected.corr(real, method="spearman") if min(expected.nunique(), real.nunique()) > 1 else None
    return Check(
        excess < TRUSTED,
        f"The probabilities let expect a Dice of {expected.mean():.5f}, it is {real.mean():.5f}: of unknown photos "
        f"like these, {abs(excess):.5f} too {'much' if excess > 0 else 'little'} is expected. Photo by photo the two "
        + ("cannot be compared." if alike is None else f"have a rank correlation of {alike:.2f}."),
    )


def _no_group_is_split(run: Path, competition: Competition) -> Check:
    name = competition.group_name
    try:
        table = run_folder.read_folds(run)
    except InputError as error:
        return Check(False, f"Whether a {name} is in two folds cannot be told: {error}.")
    split = int(table.groupby("group")["fold"].nunique().gt(1).sum())
    if split:
        return Check(False, f"{name.capitalize()}s in two folds: {split:,}. The score is flattered.")
    return Check(True, f"No {name} is in two folds: each photo was masked by a network that never saw its {name}.")


def _worst_groups(table: pd.DataFrame, shown: Photos) -> list[WorstGroup]:
    means = table.groupby("group")["score"].mean().nsmallest(WORST_GROUPS)
    worst = table.loc[[table.loc[table["group"] == group, "score"].idxmin() for group in means.index]]
    drawn = shown.pictures(worst)
    return [
        WorstGroup(str(name), float(mean), picture) for (name, mean), picture in zip(means.items(), drawn, strict=True)
    ]


def _galleries(table: pd.DataFrame, shown: Photos) -> list[Gallery]:
    ordered = table.sort_values(["score", "dice", "image"])
    worst = ordered.head(WORST)
    rest = ordered.iloc[len(worst) :]
    best = rest.tail(BEST).iloc[::-1]
    between = rest.iloc[: len(rest) - len(best)]
    random = between.sample(min(RANDOM, len(between)), random_state=0)
    named = [(f"The {len(worst)} worst photos", worst), ("The best", best), ("Drawn at random from the others", random)]
    return [Gallery(title, shown.pictures(rows)) for title, rows in named if len(rows)]


def _fold_table(run: Path, table: pd.DataFrame, competition: Competition) -> Table:
    further = comparison.further_scores(competition)
    columns = [
        Column("fold"),
        Column("photos", "{:,}"),
        Column(f"{competition.group_name}s", "{:,}"),
        *(Column(name, "{:.5f}") for name in (competition.score_name, *further)),
        Column("epochs", "{:.0f}"),
        Column("best epoch", "{:.0f}"),
        Column("its Dice while training", "{:.5f}"),
        Column("training"),
    ]
    curves = _curves(run)
    rows = []
    for fold in sorted(set(table["fold"].tolist())):
        rows_of_fold = table[table["fold"] == fold]
        means = rows_of_fold[["score", *further.values()]].mean()
        curve = curves.get(fold)
        best = None if curve is None else curve.iloc[int(curve["val_dice"].argmax())]
        seconds = _timing(run, fold).get("training_seconds")
        rows.append(
            [
                str(fold),
                len(rows_of_fold),
                rows_of_fold["group"].nunique(),
                *means,
                None if curve is None else len(curve),
                None if best is None else best["epoch"] + 1,
                None if best is None else best["val_dice"],
                "not recorded" if seconds is None else duration(seconds),
            ]
        )
    return Table(columns, rows)


def _mean_table(table: pd.DataFrame, part: str, competition: Competition) -> Table:
    """The mean score by view or group, the lowest first, with its worst photo."""
    name = {"view": competition.view_name, "group": competition.group_name}[part]
    other = {"view": "group", "group": "view"}[part]
    other_name = {"view": competition.view_name, "group": competition.group_name}[other]
    columns = [
        Column(name),
        Column("photos", "{:,}"),
        Column(f"mean {competition.score_name}", "{:.5f}"),
        Column("worst photo", "{:.5f}"),
        Column(f"its {other_name}"),
    ]
    rows = []
    for value, photos in table.groupby(part):
        worst = photos.iloc[int(photos["score"].argmin())]
        rows.append([str(value), len(photos), photos["score"].mean(), worst["score"], worst[other]])
    return Table(columns, sorted(rows, key=lambda row: row[2]))


def _score_plots(table: pd.DataFrame, competition: Competition) -> list[Plot]:
    name = competition.score_name
    plots = [figures.distribution(table["score"].to_numpy(), name)]
    if competition.has_groups:
        by_view = {str(view): _estimate(photos) for view, photos in table.groupby("view")}
        by_group = table.groupby("group")["score"].agg(["mean", "min", "max"]).sort_values("mean")
        plots.append(figures.by_view(by_view, name, competition.view_name))
        plots.append(figures.by_group(by_group, name, competition.group_name))
    return plots


def _estimate(photos: pd.DataFrame) -> Estimate:
    return Estimate(
        float(photos["score"].mean()), summary.interval(photos["score"].to_numpy(), photos["group"].tolist())
    )


def _probability_plots(held_out: HeldOut, found: dict[str, Any], competition: Competition) -> list[Plot]:
    curve = summary.threshold_curve(held_out.histograms, competition)
    threshold, score = found["threshold"], found["score_at_threshold"]
    return [
        figures.threshold_curve(curve, threshold, score, competition.score_name),
        figures.calibration(held_out.histograms.sum(axis=0), "foreground"),
    ]


def _curves(run: Path) -> dict[int, pd.DataFrame]:
    """The learning curves of all folds that have begun, by fold."""
    return {fold: run_folder.read_metrics(run, fold) for fold in run_folder.begun_folds(run)}


def _timing(run: Path, fold: int) -> dict[str, Any]:
    path = fold_folder(run, fold) / run_folder.TIMING_FILE
    return read_json(path, if_missing="") if path.exists() else {}


def _facts(run: Path, config: dict[str, Any], folds: Sequence[int]) -> dict[str, str]:
    timings = [_timing(run, fold) for fold in folds]
    seconds = [timing["training_seconds"] for timing in timings if timing]
    machines = sorted({_machine(timing) for timing in timings if timing})
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items() if version)
    data, slug = config["data"], config["settings"]["competition"]
    repeated = ["python", "train.py", "--data", data, "--out", "NEW"]
    repeated += ["--config", str(run / run_folder.CONFIG_FILE), "--competition", slug]
    return {
        "begun with": f"python {config['command']}",
        "to repeat all of it": shlex.join(repeated),
        "training": f"{duration(sum(seconds))} (fold {', '.join(map(str, folds))})" if seconds else "not recorded",
        "hardware": "; ".join(machines) or config["machine"],
        "versions": versions,
        "code": config["commit"] or "no git checkout",
        "photos": data,
    }


def _machine(timing: dict[str, Any]) -> str:
    return f"{timing['hardware']} ({timing['devices']} in use, precision {timing['precision']})"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else "x".join(map(str, value)) if isinstance(value, list) else str(value)
