"""Whether a run's score can be trusted: leaks, unfinished folds, optimistic choices, wrong probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError, counted
from kaggle_tools.results import run_folder
from kaggle_tools.results.run_folder import DEFAULT_THRESHOLD
from kaggle_tools.results.scores import FEWEST_GROUPS, of_table
from kaggle_tools.results.summary import Summary, expected_and_real, expected_scores

OPTIMISTIC = 0.001
"""A score that is too high by this much gets a warning: so much can lie between two models (benchmarks/RESULTS.md)."""
SEEN = 0.000005
"""Less than this is 0 in the five digits of a score."""


@dataclass(frozen=True)
class Check:
    """A reason to trust the score, or a reason for caution."""

    holds: bool | None
    """None for a note that is neither."""
    text: str


def checks_of(
    run: Path, found: Summary, table: pd.DataFrame, curves: Mapping[int, pd.DataFrame], competition: Competition
) -> list[Check]:
    """Reasons to trust the score of a run, reasons for caution, and notes.

    `found` is its summary, `table` its out-of-fold photos, `curves` its learning curves by fold.
    """
    gain = found.score_at_threshold - found.score.score
    checks = [
        *_folds_are_sound(run, table, competition),
        _interval_is_known(found, competition),
        Check(
            None,
            f"The score is that of masks at the threshold {DEFAULT_THRESHOLD}. The best threshold on these photos, "
            f"{found.threshold:.4g}, would add {gain:.5f}.",
        ),
        _chosen_epoch_is_little_optimistic(curves, found.folds),
    ]
    if found.is_no_better_than_blank:
        blank = f"Blank masks alone would score {found.score_of_blank:.5f}"
        checks.append(Check(False, f"{blank}; with no threshold these masks score more."))
    if found.score_std is not None:
        checks.append(Check(None, f"The folds' scores have a standard deviation of {found.score_std:.5f}."))
    return [*checks, _probabilities_are_right(table, competition)]


def _folds_are_sound(run: Path, table: pd.DataFrame, competition: Competition) -> list[Check]:
    """Whether a network was scored on photos on which it was trained, and whether all photos are scored."""
    name = competition.group_name
    try:
        folds = run_folder.read_folds(run)
    except InputError as error:
        return [Check(False, f"Which photos are in which fold is not known: {error}.")]
    split = int(folds.groupby("group")["fold"].nunique().gt(1).sum())
    photos = {competition.stem_of(image) for image in table["image"]}
    scored, all_folds = len(photos), folds["fold"].nunique()
    whole = photos == set(folds["image"])
    apart = f"No leak: no {name} is in two folds, so that each was masked by a network that never saw it."
    mixed = f"Leak: {name}s in two folds: {split:,}. The score is optimistic."
    done = f"All {all_folds} folds are finished: each of the {scored:,} photos was held out once."
    lacking = (
        f"{counted(scored, 'photo is', 'photos are')} "
        f"scored, but the folds hold {len(folds):,}: the others may score differently."
    )
    checks = [Check(split == 0, mixed if split else apart), Check(whole, done if whole else lacking)]
    return checks if competition.has_groups else checks[1:]


def _interval_is_known(found: Summary, competition: Competition) -> Check:
    name, groups = competition.group_name if competition.has_groups else "photo", found.groups
    if found.score.interval is None:
        return Check(False, f"There is only one {name}: without others, the score has no interval.")
    return Check(
        groups >= FEWEST_GROUPS,
        f"The interval is a bootstrap over {groups:,} {name}s: it covers other {name}s like these, but not a training "
        f"with another seed.{'' if groups >= FEWEST_GROUPS else ' With so few it is not reliable.'}",
    )


def _chosen_epoch_is_little_optimistic(curves: Mapping[int, pd.DataFrame], folds: Sequence[int]) -> Check:
    """The best epoch is chosen by the held-out photos, so that its score on these is higher than on others."""
    gains = [
        float(curve["val_dice"].max() - curve["val_dice"].ffill().iloc[-1])
        for fold, curve in curves.items()
        if fold in folds
    ]
    if not gains:
        return Check(
            None, "Each fold keeps the epoch with the best Dice on its held-out photos. Which, is not recorded."
        )
    gain = max(gains)
    if gain < SEEN:
        return Check(
            True,
            "Each fold keeps the epoch with the best Dice on its held-out photos: here the last one is as good, "
            "so that the choice does not raise the score.",
        )
    return Check(
        gain < OPTIMISTIC,
        "Each fold keeps the epoch with the best Dice on its held-out photos, which makes the score optimistic: "
        f"by at most {gain:.5f} compared with the last epoch.",
    )


def _probabilities_are_right(table: pd.DataFrame, competition: Competition) -> Check:
    """Whether the score that is expected of the probabilities is the real one: then so it may be for other photos."""
    name, found = competition.score_name, expected_and_real(table, competition)
    scores = expected_scores(table, competition)
    if found is None or scores is None:
        older = "the run was trained by an older version"
        return Check(False, f"The {name} expected from the probabilities is not recorded: {older}.")
    expected, real = found
    of_photo = competition.photo_score_name
    excess = scores.of_set() - of_table(table, competition.score).of_set()
    alike = float(expected.corr(real, method="spearman")) if min(expected.nunique(), real.nunique()) > 1 else None
    return Check(
        abs(excess) < OPTIMISTIC and (alike is None or alike > 0),
        f"The {name} expected from the probabilities is {scores.of_set():.5f}, {abs(excess):.5f} too "
        f"{'high' if excess > 0 else 'low'}; that of unknown photos like these may be wrong by as much. "
        + (
            ""
            if alike is None
            else f"Photo by photo, expected and real {of_photo} have a rank correlation of {alike:.2f}."
        ),
    )
