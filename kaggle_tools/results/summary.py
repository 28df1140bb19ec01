"""What a run has reached, over the folds that are done: `oof.csv`, `thresholds.csv` and `summary.json`.

All of it follows from the folds' own files, at any time and on any machine that sees them. Knows nothing of torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap
from kaggle_tools.results.run_folder import (
    BINS,
    DEFAULT_THRESHOLD,
    HISTOGRAMS_FILE,
    OOF_FILE,
    WRITES,
    finished_folds,
    fold_folder,
    groups_and_views,
    read_oof,
)
from kaggle_tools.results.scores import interval
from kaggle_tools.system.files import locked, write_json, write_text

SUMMARY_FILE, THRESHOLDS_FILE = "summary.json", "thresholds.csv"


@dataclass(frozen=True)
class HeldOut:
    """Held-out photos, with what is needed to know their scores at every threshold."""

    stems: list[str]
    histograms: NDArray[np.int64]
    """(n, 2, BINS): of each photo, how many pixels of background and foreground have which probability."""


def write_summary(run: Path, competition: Competition) -> dict[str, Any]:
    """Write `oof.csv`, `thresholds.csv` and `summary.json` from the folds that are done, and return the summary.

    Raises:
        InputError: no fold is done, or its files are damaged.
    """
    with locked(run, WRITES):  # so that of several machines that end together the last one sees all folds
        summary = summarise(run, competition)
        folds = summary["folds"]
        write_text(run / OOF_FILE, read_oof(run, folds).to_csv(index=False, lineterminator="\n"))
        curve = threshold_curve(held_out_by(run, folds).histograms, competition)
        write_text(run / THRESHOLDS_FILE, curve.to_csv(index=False, lineterminator="\n"))
        write_json(run / SUMMARY_FILE, summary)
    return summary


def summarise(run: Path, competition: Competition) -> dict[str, Any]:
    """The scores over the folds that are done, and the best threshold. Nothing is written.

    Raises:
        InputError: no fold is done, or its files are damaged.
    """
    folds = finished_folds(run)
    if not folds:
        raise InputError(f"{run}: no finished fold in it; train.py --out {run} makes or finishes one")
    table = read_oof(run, folds)
    groups, views = groups_and_views(table["image"], competition)
    table = table.assign(group=groups, view=views)
    fold_scores = table.groupby("fold")["score"].mean()
    threshold, score_at_threshold = best_threshold(held_out_by(run, folds).histograms, competition)
    summary = {
        "competition": competition.slug,
        "folds": folds,
        "photos": len(table),
        "groups": len(set(groups)),
        "score_name": competition.score_name,
        "score_mean": float(table["score"].mean()),
        "score_interval": interval(table["score"].to_numpy(), groups),
        "score_std": float(fold_scores.std(ddof=1)) if len(folds) > 1 else None,
        "score_by_fold": {str(fold): float(score) for fold, score in fold_scores.items()},
        "dice_mean": float(table["dice"].mean()),
        "iou_mean": float(table["iou"].mean()),
        "threshold": threshold,
        "score_at_threshold": score_at_threshold,
    }
    if competition.has_groups:  # else each photo is a group of its own, and has its score in oof.csv
        for part in ("view", "group"):
            scores = table.groupby(part)["score"].mean()
            summary[f"score_by_{part}"] = {str(name): float(score) for name, score in scores.items()}
    return summary


def cross_validation(runs: Sequence[Path], competition: Competition) -> list[dict[str, Any]]:
    """Of each run that has finished folds its name, and what its summary says of the mean score.

    Raises:
        InputError: a run's files are damaged.
    """
    summaries = {run.resolve().name: summarise(run, competition) for run in runs if finished_folds(run)}
    names = ("folds", "score_name", "score_mean", "score_interval")
    return [{"run": run} | {name: summary[name] for name in names} for run, summary in summaries.items()]


def expected_score(held_out: HeldOut, competition: Competition, threshold: float) -> dict[str, Any]:
    """What new photos may be expected to score, were their masks cut at this threshold: `score` and `interval`.

    It is what the held-out photos score. Several folds together may score a little more than each of them alone.
    """
    scores = competition.score(overlap_at(held_out.histograms, math.ceil(threshold * BINS)))
    groups = tuple(competition.group_and_view(stem)[0] for stem in held_out.stems)
    return {"score": float(scores.mean()), "interval": interval(scores, groups)}


def threshold_curve(histograms: NDArray[np.int64], competition: Competition) -> pd.DataFrame:
    """The mean score of all photos at each threshold, in ascending order: threshold, score."""
    bins = range(1, BINS)
    scores = [float(competition.score(overlap_at(histograms, at)).mean()) for at in bins]
    return pd.DataFrame({"threshold": [at / BINS for at in bins], "score": scores})


def best_threshold(histograms: NDArray[np.int64], competition: Competition) -> tuple[float, float]:
    """The threshold with the highest mean score, and that score; among equals the nearest to 0.5."""
    curve = threshold_curve(histograms, competition)
    best = curve[curve["score"] == curve["score"].max()]
    nearest = best.loc[(best["threshold"] - DEFAULT_THRESHOLD).abs().idxmin()]
    return float(nearest["threshold"]), float(nearest["score"])


def overlap_at(histograms: NDArray[np.int64], threshold_bin: int) -> Overlap:
    """Pixel counts of photos, were their masks cut at threshold `threshold_bin` / BINS.

    `histograms` has shape (n, 2, BINS): pixels of the background and of the foreground by probability.
    """
    above = histograms[..., threshold_bin:].sum(axis=-1)
    return Overlap(intersection=above[:, 1], predicted=above.sum(axis=1), truth=histograms[:, 1].sum(axis=-1))


def held_out_by(run: Path, folds: list[int]) -> HeldOut:
    """The held-out photos of these folds of a run.

    Raises:
        InputError: a file is missing or damaged.
    """
    stems, histograms = zip(*(_read_histograms(fold_folder(run, fold)) for fold in folds), strict=True)
    return HeldOut([stem for of_fold in stems for stem in of_fold], np.concatenate(histograms))


def _read_histograms(folder: Path) -> tuple[list[str], NDArray[np.int64]]:
    path = folder / HISTOGRAMS_FILE
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["images"].tolist(), archive["histograms"].astype(np.int64)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(
            f"{path}: missing or damaged ({error}); delete {folder / OOF_FILE} and run train.py again"
        ) from error
