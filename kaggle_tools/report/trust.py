"""Can a run's score be trusted? What speaks for it, and what against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.results import run_folder
from kaggle_tools.results.comparison import FEWEST_GROUPS
from kaggle_tools.results.run_folder import DEFAULT_THRESHOLD
from kaggle_tools.results.summary import Summary

FLATTERED = 0.001
"""From here on it is worth a warning: between two models it would be a difference (benchmarks/RESULTS.md)."""


@dataclass(frozen=True)
class Check:
    """A reason to trust the score, or not to."""

    holds: bool | None
    """None for what is neither."""
    text: str


def checks_of(
    run: Path, found: Summary, table: pd.DataFrame, curves: Mapping[int, pd.DataFrame], competition: Competition
) -> list[Check]:
    """What speaks for the score of a run, against it, and what is only to be known.

    `found` is its summary, `table` its out-of-fold photos, `curves` its learning curves by fold.
    """
    gain = found.score_at_threshold - found.score.score
    threshold = f"{found.threshold:.4g} is the best threshold on these photos, which would add {gain:.5f}"
    checks = [
        *_folds_are_sound(run, table, competition),
        _interval_is_known(found, competition),
        Check(None, f"The masks are cut at {DEFAULT_THRESHOLD}, whatever the photos; {threshold}."),
        _chosen_epoch_flatters_little(curves, found.folds),
    ]
    if found.score_std is not None:
        checks.append(Check(None, f"The folds' scores have a standard deviation of {found.score_std:.5f}."))
    if competition.score_name == "Dice":
        checks.append(_probabilities_are_right(table))
    return checks


def _folds_are_sound(run: Path, table: pd.DataFrame, competition: Competition) -> list[Check]:
    """Whether a network was scored on what it had been trained on, and whether all photos were scored."""
    name = competition.group_name
    try:
        folds = run_folder.read_folds(run)
    except InputError as error:
        return [Check(False, f"Which photos are in which fold cannot be told: {error}.")]
    split = int(folds.groupby("group")["fold"].nunique().gt(1).sum())
    scored, all_folds = len(set(table["image"])), folds["fold"].nunique()
    whole = set(table["image"]) == set(folds["image"])
    apart = f"No {name} is in two folds: each was masked by a network that never saw it."
    mixed = f"{name.capitalize()}s in two folds: {split:,}. The score is flattered."
    done = f"All {all_folds} folds are finished: each of the {scored:,} photos was held out once."
    lacking = f"Scored are {scored:,} photos, but the folds hold {len(folds):,}: others may score differently."
    checks = [Check(split == 0, mixed if split else apart), Check(whole, done if whole else lacking)]
    return checks if competition.has_groups else checks[1:]


def _interval_is_known(found: Summary, competition: Competition) -> Check:
    name, groups = competition.group_name, found.groups
    if found.score.interval is None:
        return Check(False, f"There is one {name} only, so that nothing is known of others.")
    return Check(
        groups >= FEWEST_GROUPS,
        f"The interval is a bootstrap over {groups:,} {name}s: it allows for other {name}s like these, but not for a "
        f"training with another seed.{'' if groups >= FEWEST_GROUPS else ' Of so few it cannot be relied upon.'}",
    )


def _chosen_epoch_flatters_little(curves: Mapping[int, pd.DataFrame], folds: Sequence[int]) -> Check:
    """The best epoch is chosen by the held-out photos, so that it is better on these than on others."""
    gains = [
        float(curve["val_dice"].max() - curve["val_dice"].ffill().iloc[-1])
        for fold, curve in curves.items()
        if fold in folds
    ]
    gain = max(gains, default=0.0)
    return Check(
        gain < FLATTERED,
        "Each fold keeps the epoch with the best Dice on its held-out photos, which flatters the score: "
        f"against the last epoch by at most {gain:.5f}.",
    )


def _probabilities_are_right(table: pd.DataFrame) -> Check:
    if run_folder.EXPECTED_DICE not in table or table[run_folder.EXPECTED_DICE].isna().any():
        return Check(False, "The Dice expected from the probabilities is not recorded: an older version trained this.")
    expected, real = table[run_folder.EXPECTED_DICE], table["dice"]
    excess = float(expected.mean() - real.mean())
    alike = float(expected.corr(real, method="spearman")) if min(expected.nunique(), real.nunique()) > 1 else None
    return Check(
        excess < FLATTERED and (alike is None or alike > 0),
        f"From the probabilities a Dice of {expected.mean():.5f} is expected, {abs(excess):.5f} too "
        f"{'high' if excess > 0 else 'low'}: so much the expected Dice of unknown photos like these may be off. "
        + ("" if alike is None else f"Photo by photo, expected and real Dice have a rank correlation of {alike:.2f}."),
    )
