"""The tables of a run's folds, classes, views and groups."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.parts.photos import PRECISION, RECALL, pixels_of
from kaggle_tools.results import run_folder
from kaggle_tools.results.run_folder import fold_folder
from kaggle_tools.results.scores import of_table
from kaggle_tools.results.tables import Cell, Column, Table


def fold_table(
    run: Path, table: pd.DataFrame, curves: Mapping[int, pd.DataFrame], early: int, competition: Competition
) -> Table:
    """A row for each fold; `curves` are those of the last size, after so many early epochs."""
    further = competition.further_scores
    columns = [
        Column("fold"),
        Column(f"{competition.unit}s", "{:,}"),
        *([Column(f"{competition.group_name}s", "{:,}")] if competition.has_groups else []),
        *(Column(name, "{:.5f}") for name in (competition.score_name, *further)),
        PRECISION,
        RECALL,
        Column("epochs", "{:.0f}"),
        Column("best epoch", "{:.0f}"),
        Column("its validation Dice", "{:.5f}"),
        Column("training, min", "{:.1f}"),
    ]
    rows: list[list[Cell]] = []
    for fold in sorted(set(table["fold"].tolist())):
        rows_of_fold = table[table["fold"] == fold]
        scores = (of_table(rows_of_fold, competition.score).of_set(), *rows_of_fold[list(further.values())].mean())
        pixels = pixels_of(rows_of_fold)
        curve = curves.get(fold)
        best = None if curve is None else curve.iloc[int(curve["val_dice"].fillna(0).argmax())]
        timing = run_folder.read_timing(fold_folder(run, fold))
        rows.append(
            [
                str(fold),
                len(rows_of_fold),
                *([rows_of_fold["group"].nunique()] if competition.has_groups else []),
                *scores,
                pixels.precision,
                pixels.recall,
                None if curve is None else early + len(curve),
                None if best is None else best["epoch"] + 1,
                None if best is None else best["val_dice"],
                timing.training_seconds / 60 if timing else None,
            ]
        )
    return Table(columns, rows)


def class_table(table: pd.DataFrame, competition: Competition) -> Table:
    """The score of the masks of each class, in the order of the classes, and how many of them are blank."""
    columns = [
        Column("class"),
        Column("masks", "{:,}"),
        Column(figures.of_many(competition.score_name), "{:.5f}"),
        Column("truly blank", "{:,}"),
        Column("predicted blank", "{:,}"),
        PRECISION,
        RECALL,
    ]
    rows: list[list[Cell]] = []
    for of_class in competition.classes:
        masks = table[table["class"] == of_class]
        pixels, score = pixels_of(masks), of_table(masks, competition.score).of_set()
        wrong = ("false_negative", "false_positive")
        blank = [int((masks["true_positive"] + masks[name] == 0).sum()) for name in wrong]
        rows.append([of_class, len(masks), score, *blank, pixels.precision, pixels.recall])
    return Table(columns, rows)


def mean_table(table: pd.DataFrame, part: str, competition: Competition) -> Table:
    """The score by view or group, the lowest first, with its worst photo."""
    name = {"view": competition.view_name, "group": competition.group_name}[part]
    other = {"view": "group", "group": "view"}[part]
    other_name = {"view": competition.view_name, "group": competition.group_name}[other]
    columns = [
        Column(name),
        Column(f"{competition.unit}s", "{:,}"),
        Column(figures.of_many(competition.score_name), "{:.5f}"),
        Column(f"worst {competition.unit}", "{:.5f}"),
        Column(f"its {other_name}"),
        PRECISION,
        RECALL,
    ]
    rows: list[tuple[Cell, int, float, float, str, float | None, float | None]] = []
    for value, photos in table.groupby(part):
        worst = photos.iloc[int(photos["score"].argmin())]
        score, lowest, pixels = of_table(photos, competition.score).of_set(), float(worst["score"]), pixels_of(photos)
        rows.append((str(value), len(photos), score, lowest, str(worst[other]), pixels.precision, pixels.recall))
    rows.sort(key=lambda row: row[2])
    return Table(columns, rows)
