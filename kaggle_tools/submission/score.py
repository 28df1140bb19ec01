"""Scores a submission, mask by mask, where the truth is at hand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from kaggle_tools import metrics, rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.foreground import lines_of_ambiguous
from kaggle_tools.data.checks.names import below_folders, files_by_stem
from kaggle_tools.data.images import read_foreground
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.results.scores import of_counts
from kaggle_tools.submission.mask_size import as_submitted
from kaggle_tools.submission.read import parse_mask, read_masks
from kaggle_tools.system.output import warn


class Scores(NamedTuple):
    """The scores of a submission."""

    table: pd.DataFrame
    """One row for each photo that was scored, in the order of the CSV: `image` (the stem), `score` (the
    competition's), `dice` and `iou`."""
    unscored: int
    """How many rows of the CSV have no known truth."""
    score: float
    """The competition's, of all photos that were scored."""


def score_submission(path: Path, truth: Path, competition: Competition) -> Scores:
    """Score each mask of a CSV whose truth is known.

    Photos without a known truth are not scored, as a competition may count only a part of what is submitted. True
    masks in files that are not plain are named in a warning, with what was taken as foreground.

    Args:
        path: the CSV, plain or compressed.
        truth: a CSV of run lengths in the competition's columns, which is held in memory; or a folder
            of masks named like the competition's training masks, or `<stem>.png`.
        competition: gives the score, the names and the form of the run lengths.

    Raises:
        InputError: a file cannot be read, masks are invalid, or photos with a truth are missing from the CSV.
    """
    truths: Mapping[str, Path | str]
    truths = _mask_files(truth, competition) if truth.is_dir() else dict(read_masks(truth, competition))
    if not truths:
        raise InputError(f"{truth}: no rows below the header")
    counts: dict[str, metrics.Overlap] = {}
    ambiguous: dict[str, list[str]] = {}
    unscored = 0
    for mask_id, text in read_masks(path, competition):
        if mask_id not in truths:
            unscored += 1
            continue
        source = truths[mask_id]
        true = _true_mask(truth, mask_id, source, competition)
        if true.taken:
            ambiguous.setdefault(true.taken, []).append(Path(source).name)
        counts[mask_id] = _overlap(_runs(path, mask_id, text, true.pixels, competition), true.runs)
    missing = [mask_id for mask_id in truths if mask_id not in counts]
    if missing:
        exchanged = "" if unscored else "; if they are in the wrong order: the submission comes first, then the truth"
        lacking = counted(len(missing), f"photo of {truth} is missing", f"photos of {truth} are missing")
        raise InputError(f"{path}: {lacking}: {first_few(missing)}{exchanged}")
    for line in lines_of_ambiguous(ambiguous, len(counts)):
        warn(line)
    together = metrics.Overlap(*np.array(list(counts.values())).T)
    score = of_counts(together, competition.score).of_set()
    return Scores(_table(list(counts), together, competition), unscored, score)


class _TrueMask(NamedTuple):
    runs: rle.Runs
    pixels: int | None = None
    """How many the mask has; run lengths alone do not say."""
    taken: str = ""
    """What was taken as foreground, if the mask is not plain."""


def _overlap(runs: rle.Runs, true_runs: rle.Runs) -> metrics.Overlap:
    shared = rle.shared_pixels(runs, true_runs)
    return metrics.Overlap(shared, int(runs[:, 1].sum()), int(true_runs[:, 1].sum()))


def _table(ids: Sequence[str], together: metrics.Overlap, competition: Competition) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [competition.name_of(mask_id) for mask_id in ids],
            "score": competition.score(together),
            "dice": metrics.dice(together),
            "iou": metrics.iou(together),
        }
    )


def _mask_files(folder: Path, competition: Competition) -> dict[str, Path]:
    """The mask files of a folder by the ids of their photos."""
    own = "{stem}_{class}.png" if competition.classes else "{stem}.png"
    name = own if competition.masks_are_run_lengths else below_folders(competition.train_masks)
    for pattern in (name, own):
        by_name = {
            f"{stem}{of_class}": path
            for of_class, of_this_class in competition.by_class(pattern).items()
            for stem, path in files_by_stem(folder, of_this_class).items()
        }
        if by_name:
            return {competition.id_of(name): path for name, path in by_name.items()}
    raise InputError(f"{folder}: no masks named {name} or {own} in it")


def _true_mask(truth: Path, mask_id: str, source: Path | str, competition: Competition) -> _TrueMask:
    if isinstance(source, str):
        return _TrueMask(_runs(truth, mask_id, source, _pixels(competition), competition), _pixels(competition))
    mask_HW, taken = read_foreground(source)
    mask_HW = as_submitted(mask_HW, competition)
    return _TrueMask(rle.find_runs(mask_HW, competition.rle_order), mask_HW.size, taken)


def _pixels(competition: Competition) -> int | None:
    """How many every mask has, where the competition says that."""
    return math.prod(competition.mask_size) if competition.mask_size else None


def _runs(path: Path, mask_id: str, text: str, pixels: int | None, competition: Competition) -> rle.Runs:
    try:
        return parse_mask(text, pixels, competition)
    except ValueError as error:
        raise InputError(f"{path}, {mask_id}: {error}") from error
