"""Runs side by side, on the photos of the folds that all of them have finished."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kaggle_tools import run_folder
from kaggle_tools.errors import InputError, first_few


@dataclass(frozen=True)
class ComparedRun:
    """One run's scores on the photos that the runs have in common."""

    run: Path
    model: str
    image_size: tuple[int, int] | None
    """(height, width) in pixels that the network saw; None: the photos' own."""
    fold_scores: dict[int, float]
    """The mean score of each fold."""
    score: float
    """The mean score over all photos."""
    dice: float
    iou: float
    gain: float
    """Mean difference in score, photo by photo, to the first run."""


def compare(runs: Sequence[Path]) -> list[ComparedRun]:
    """Compare runs, in the order given.

    Raises:
        InputError: the runs have no finished fold in common, or hold out different photos in it.
    """
    folds = sorted(set.intersection(*(set(run_folder.finished_folds(run)) for run in runs)))
    if not folds:
        raise InputError(f"no fold is finished in all of {', '.join(map(str, runs))}")
    tables = [run_folder.read_oof(run, folds).set_index("image").sort_index() for run in runs]
    for run, table in zip(runs[1:], tables[1:], strict=True):
        _require_same_photos(runs[0], tables[0], run, table)
    return [_compared(run, folds, table, tables[0]) for run, table in zip(runs, tables, strict=True)]


def _compared(run: Path, folds: list[int], table: pd.DataFrame, first: pd.DataFrame) -> ComparedRun:
    settings = run_folder.read_config(run)["settings"]
    return ComparedRun(
        run=run,
        model=_model_name(settings),
        image_size=tuple(settings["image_size"]) if settings["image_size"] else None,
        fold_scores={fold: float(table.loc[table["fold"] == fold, "score"].mean()) for fold in folds},
        score=float(table["score"].mean()),
        dice=float(table["dice"].mean()),
        iou=float(table["iou"].mean()),
        gain=float((table["score"] - first["score"]).mean()),
    )


def _model_name(settings: dict) -> str:
    return f"unet, width {settings['width']}" if settings["model"] == "unet" else settings["model"]


def _require_same_photos(first_run: Path, first: pd.DataFrame, run: Path, table: pd.DataFrame) -> None:
    here, there = (set(zip(rows.index, rows["fold"], strict=True)) for rows in (first, table))
    if here != there:
        strange = sorted(f"{image} (fold {fold})" for image, fold in here ^ there)
        raise InputError(
            f"{run} and {first_run} hold out different photos, so their scores cannot be compared: {first_few(strange)}"
        )
