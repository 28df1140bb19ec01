"""What a run has reached, over the folds that are done: `oof.csv`, `thresholds.csv` and `summary.json`.

All of it follows from the folds' own files, at any time and on any machine that sees them. Knows nothing of torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import classes_of_masks, groups_and_views_of_masks
from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap
from kaggle_tools.results import after_care
from kaggle_tools.results.after_care import AfterCare, Trial, trials_of
from kaggle_tools.results.records.histograms import LARGEST_HISTOGRAMS, HeldOut, read_histograms
from kaggle_tools.results.run_folder import (
    BINS,
    DEFAULT_THRESHOLD,
    EXPECTED_DICE,
    EXPECTED_SCORE,
    HISTOGRAMS_FILE,
    OOF_FILE,
    WRITES,
    finished_folds,
    fold_folder,
    read_oof,
)
from kaggle_tools.results.scores import EXPECTED_COUNTS, Estimate, PhotoScores, ValidatedRun, of_counts, of_table
from kaggle_tools.system.files import locked, write_json, write_text

SUMMARY_FILE, THRESHOLDS_FILE = "summary.json", "thresholds.csv"


@dataclass(frozen=True)
class Summary:
    """What the finished folds of a run have reached: the contents of `summary.json`."""

    competition: str
    """The slug of the competition."""
    folds: tuple[int, ...]
    """Those that are finished."""
    photos: int
    """Held-out photos."""
    groups: int
    score_name: str
    score: Estimate
    """That of all photos, with its interval over groups."""
    score_std: float | None
    """The standard deviation of the folds' mean scores; None where there is only one fold."""
    score_by_fold: Mapping[int, float]
    dice: float
    """The mean over photos, at the threshold 0.5; so is `iou`."""
    iou: float
    threshold: float
    """The threshold with the highest mean score."""
    score_at_threshold: float
    score_of_blank: float | None
    """That of masks that are all blank, not recorded; None where blank masks are not usual."""
    score_by_view: Mapping[str, float] | None
    """None in a competition without groups, where each photo's score stands in `oof.csv`; so is `score_by_group`."""
    score_by_group: Mapping[str, float] | None
    score_by_class: Mapping[str, float] | None = None
    """None where there is but one kind of mask."""
    trials: tuple[Trial, ...] = ()
    """The ways of after-care that `write_summary` tried; nobody else waits for them."""

    @property
    def is_no_better_than_blank(self) -> bool:
        """Whether masks that are all blank would score as well, even at the best threshold."""
        return self.score_of_blank is not None and self.score_at_threshold <= self.score_of_blank

    def to_json(self) -> dict[str, Any]:
        """The contents of `summary.json`."""
        parts = {
            "score_by_class": self.score_by_class,
            "score_by_view": self.score_by_view,
            "score_by_group": self.score_by_group,
        }
        return {
            "competition": self.competition,
            "folds": list(self.folds),
            "photos": self.photos,
            "groups": self.groups,
            "score_name": self.score_name,
            "score_mean": self.score.score,
            "score_interval": self.score.interval,
            "score_std": self.score_std,
            "score_by_fold": {str(fold): score for fold, score in self.score_by_fold.items()},
            "dice_mean": self.dice,
            "iou_mean": self.iou,
            "threshold": self.threshold,
            "score_at_threshold": self.score_at_threshold,
            "after_care": [trial.to_json() for trial in self.trials],
            **{name: dict(scores) for name, scores in parts.items() if scores is not None},
        }


def write_summary(run: Path, competition: Competition) -> Summary:
    """Write `oof.csv`, `thresholds.csv` and `summary.json` from the folds that are done, and return the summary.

    Raises:
        InputError: no fold is done, or its files are damaged.
    """
    with locked(run, WRITES):  # so that of several machines that end together the last one sees all folds
        summary = summarise(run, competition)
        held_out = held_out_by(run, summary.folds)
        summary = replace(summary, trials=tuple(after_care_trials(held_out, competition)))
        write_text(run / OOF_FILE, read_oof(run, summary.folds).to_csv(index=False, lineterminator="\n"))
        curve = threshold_curve(held_out.histograms, competition)
        write_text(run / THRESHOLDS_FILE, curve.to_csv(index=False, lineterminator="\n"))
        write_json(run / SUMMARY_FILE, summary.to_json())
    return summary


def summarise(run: Path, competition: Competition) -> Summary:
    """The scores over the folds that are done, and the best threshold. Nothing is written.

    Raises:
        InputError: no fold is done, or its files are damaged.
    """
    folds = finished_folds(run)
    if not folds:
        raise InputError(f"{run}: no finished fold in it; `train --out {run}` makes or finishes one")
    table = read_oof(run, folds)
    groups, views = groups_and_views_of_masks(table["image"], competition)
    scores = of_table(table, competition.score)
    by_fold = scores.by(table["fold"].tolist())
    held_out = held_out_by(run, folds)
    if sorted(held_out.stems) != sorted(table["image"]):
        raise InputError(f"{run}: {OOF_FILE} and {HISTOGRAMS_FILE} of its folds are about different photos")
    threshold, score_at_threshold = best_threshold(held_out.histograms, competition)
    return Summary(
        competition=competition.slug,
        folds=tuple(folds),
        photos=len({competition.stem_of(name) for name in table["image"]}),
        groups=len(set(groups)),
        score_name=competition.score_name,
        score=scores.estimate(groups),
        score_std=float(pd.Series(by_fold).std(ddof=1)) if len(folds) > 1 else None,
        score_by_fold=by_fold,
        dice=float(table["dice"].mean()),
        iou=float(table["iou"].mean()),
        threshold=threshold,
        score_at_threshold=score_at_threshold,
        score_of_blank=_score_at(held_out.histograms, BINS, competition) if competition.blank_usual else None,
        score_by_view=scores.by(views) if competition.has_groups else None,
        score_by_group=scores.by(groups) if competition.has_groups else None,
        score_by_class=scores.by(classes_of_masks(table["image"], competition)) if competition.classes else None,
    )


def cross_validation(runs: Sequence[Path], competition: Competition) -> tuple[ValidatedRun, ...]:
    """Of each run that has finished folds its name, and what its summary says of the mean score.

    Raises:
        InputError: a run's files are damaged.
    """
    found = {run.resolve().name: summarise(run, competition) for run in runs if finished_folds(run)}
    return tuple(ValidatedRun(run, summary.folds, summary.score_name, summary.score) for run, summary in found.items())


def after_care_trials(held_out: HeldOut, competition: Competition) -> list[Trial]:
    """What other thresholds, and the removal of small parts and holes, would gain on the held-out photos.

    Of several classes each is tried by itself, but where all their pixels make one score: there what is better for a
    class alone may be worse for all.
    """
    parts = {"": held_out} if competition.pools_pixels else _by_class(held_out, competition)
    return [
        replace(trial, of_class=of_class) for of_class, part in parts.items() for trial in _trials(part, competition)
    ]


def _by_class(held_out: HeldOut, competition: Competition) -> dict[str, HeldOut]:
    """The held-out masks of each class; all of them where there is but one kind of mask."""
    if not competition.classes:
        return {"": held_out}
    classes = np.array(classes_of_masks(held_out.stems, competition))
    return {one: held_out.part(classes == one) for one in competition.classes}


def _trials(held_out: HeldOut, competition: Competition) -> list[Trial]:
    groups = groups_and_views_of_masks(held_out.stems, competition)[0]
    at_thresholds = {at / BINS: overlap_at(held_out.histograms, at) for at in range(1, BINS)}
    return trials_of(competition, groups, at_thresholds, held_out.levels)


def estimate_at(held_out: HeldOut, competition: Competition, care: AfterCare) -> Estimate:
    """The score that new photos are expected to get, if their masks are made in this way.

    It is the score of the held-out photos. Several folds together may score a little more than each of them alone.
    """
    parts = _by_class(held_out, competition)
    overlaps = [_overlap_after(part, care.of(of_class)) for of_class, part in parts.items()]
    together = Overlap(*(np.concatenate(counts) for counts in zip(*overlaps, strict=True)))
    names = [name for part in parts.values() for name in part.stems]
    groups = groups_and_views_of_masks(names, competition)[0]
    return of_counts(together, competition.score).estimate(groups)


def _overlap_after(held_out: HeldOut, care: AfterCare) -> Overlap:
    overlap = overlap_at(held_out.histograms, math.ceil(care.threshold * BINS))
    if care.is_more_than_a_threshold and held_out.levels is not None:
        overlap = after_care.changed_overlap(overlap, held_out.levels, care)
    return overlap


def expected_and_real(table: pd.DataFrame, competition: Competition) -> tuple[pd.Series, pd.Series] | None:
    """The score that is expected of each held-out photo's probabilities, and its real one; None where it is not known.

    Older versions recorded the Dice alone.
    """
    columns = [(EXPECTED_SCORE, "score")]
    if competition.scored_by_dice:
        columns.append((EXPECTED_DICE, "dice"))
    known = [(table[expected], table[real]) for expected, real in columns if expected in table]
    return next((pair for pair in known if not pair[0].isna().any()), None)


def expected_excess(run: Path, folds: Sequence[int], competition: Competition) -> float | None:
    """How much higher than the true one the score was that was expected of these folds' held-out photos, on average.

    Raises:
        InputError: a table is missing or damaged.
    """
    table = read_oof(run, folds)
    expected = expected_scores(table, competition)
    return None if expected is None else expected.of_set() - of_table(table, competition.score).of_set()


def expected_scores(table: pd.DataFrame, competition: Competition) -> PhotoScores | None:
    """The scores that are expected of the held-out photos' probabilities; None where they are not known."""
    found = expected_and_real(table, competition)
    return None if found is None else of_table(table.assign(score=found[0]), competition.score, EXPECTED_COUNTS)


def threshold_curve(histograms: NDArray[np.int64], competition: Competition) -> pd.DataFrame:
    """The score of all photos at each threshold, in ascending order: threshold, score."""
    bins = range(1, BINS)
    scores = [_score_at(histograms, at, competition) for at in bins]
    return pd.DataFrame({"threshold": [at / BINS for at in bins], "score": scores})


def best_threshold(histograms: NDArray[np.int64], competition: Competition) -> tuple[float, float]:
    """The threshold with the highest mean score, and that score; among equals the nearest to 0.5."""
    curve = threshold_curve(histograms, competition)
    best = curve[curve["score"] == curve["score"].max()]
    nearest = best.loc[(best["threshold"] - DEFAULT_THRESHOLD).abs().idxmin()]
    return float(nearest["threshold"]), float(nearest["score"])


def _score_at(histograms: NDArray[np.int64], threshold_bin: int, competition: Competition) -> float:
    return of_counts(overlap_at(histograms, threshold_bin), competition.score).of_set()


def overlap_at(histograms: NDArray[np.int64], threshold_bin: int) -> Overlap:
    """Pixel counts of photos whose masks are made with the threshold `threshold_bin` / BINS.

    `histograms` has shape (n, 2, BINS): pixels of the background and of the foreground by probability. At the
    threshold BINS / BINS all masks are blank.
    """
    above = histograms[..., threshold_bin:].sum(axis=-1)
    return Overlap(intersection=above[:, 1], predicted=above.sum(axis=1), truth=histograms[:, 1].sum(axis=-1))


def held_out_by(run: Path, folds: Sequence[int]) -> HeldOut:
    """The held-out photos of these folds of a run.

    Raises:
        InputError: a file is missing or damaged.
    """
    by_fold, in_all = [], 0
    for fold in folds:
        by_fold.append(read_histograms(fold_folder(run, fold)))
        in_all += by_fold[-1].histograms.nbytes
        if in_all > LARGEST_HISTOGRAMS:
            raise InputError(f"{run}: histograms of more than {LARGEST_HISTOGRAMS:,} bytes; no competition has so many")
    stems = [stem for of_fold in by_fold for stem in of_fold.stems]
    levels = [of_fold.levels for of_fold in by_fold if of_fold.levels is not None]
    return HeldOut(
        stems,
        np.concatenate([of_fold.histograms for of_fold in by_fold]),
        np.concatenate(levels) if len(levels) == len(by_fold) else None,
    )
