"""A mean score, its confidence interval, and how both are recorded in `run.json` and in the ledger of submissions.

Plain values: knows nothing of folders or competitions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.system.json_values import Fields, between, each, floating, pair, signed, text, whole

CONFIDENCE = 0.95
RESAMPLES = 2_000
NESTED_FOLDS = 5
FEWEST_GROUPS = 6
"""Of fewer groups all may well differ in one direction by chance: with probability 2 ** (1 - groups)."""

Interval = tuple[float, float]
"""The lower and the upper end of a 95 % confidence interval."""

SCORE = between(floating, 0, 1 + 1e-9)
"""As it is recorded: a mean of ones may be a little more than one."""
INTERVAL = pair(SCORE)
DIFFERENCE = between(signed, -1, 1)


class Estimate(NamedTuple):
    """A mean score with its 95 % interval, which a single group of photos does not have."""

    score: float
    interval: Interval | None

    @property
    def spread(self) -> list[list[float]]:
        """How far the interval reaches down and up, as matplotlib draws error bars; never below 0, also if rounded."""
        low, high = self.interval or (self.score, self.score)
        return [[max(0.0, self.score - low)], [max(0.0, high - self.score)]]

    @property
    def is_above_0(self) -> bool:
        """Whether, as a gain, it can be told from chance."""
        return self.interval is not None and self.interval[0] > 0

    def __str__(self) -> str:
        """`0.99612 (0.99580 to 0.99640)`."""
        return f"{self.score:.5f}" + (" ({:.5f} to {:.5f})".format(*self.interval) if self.interval else "")


@dataclass(frozen=True)
class ValidatedRun:
    """What the cross-validation of a run says of its mean score."""

    run: str
    """The name of its folder."""
    folds: tuple[int, ...]
    """Those that were finished."""
    score_name: str
    score: Estimate

    def to_json(self) -> dict[str, Any]:
        """As `run.json` and the ledger hold it."""
        return {
            "run": self.run,
            "folds": list(self.folds),
            "score_name": self.score_name,
            "score_mean": self.score.score,
            "score_interval": _as_list(self.score.interval),
        }

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; all but the run and its mean score may be missing.

        Raises:
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        return cls(
            run=fields.required("run", text),
            folds=fields.optional("folds", each(whole), ()),
            score_name=fields.optional("score_name", text, ""),
            score=Estimate(fields.required("score_mean", SCORE), fields.optional("score_interval", INTERVAL, None)),
        )


@dataclass(frozen=True)
class ExpectedScore:
    """The score that masks of unknown photos are expected to get, from the held-out photos; or why it is not known."""

    estimate: Estimate | None
    unavailable: str = ""
    """Why there is no estimate."""
    excess: float | None = None
    """How much higher than the true one the score was that the held-out photos' probabilities led to expect."""

    def to_json(self) -> dict[str, Any]:
        """As `run.json` and the ledger hold it."""
        excess = {} if self.excess is None else {"excess": self.excess}
        if self.estimate is None:
            return {"unavailable": self.unavailable, **excess}
        return {"score": self.estimate.score, "interval": _as_list(self.estimate.interval), **excess}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; what is empty says nothing.

        Raises:
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        score, excess = fields.optional("score", SCORE, None), fields.optional("excess", DIFFERENCE, None)
        if score is None:
            return cls(None, fields.optional("unavailable", text, NOT_RECORDED.unavailable), excess)
        return cls(Estimate(score, fields.optional("interval", INTERVAL, None)), excess=excess)


NOT_RECORDED = ExpectedScore(None, "not recorded")
"""Of masks that an older version made, or that were made elsewhere."""


def interval(scores: NDArray[np.float64], groups: Sequence[str]) -> Interval | None:
    """The 95 % bootstrap interval of the mean score, or of a mean difference; None where there is only one group.

    Drawn are groups, not photos: photos of one car are alike, and drawn one by one they would make
    the score look surer than it is. Of few groups the plain percentiles would be too narrow still: they are expanded
    as far as Student's t is wider than a normal distribution (Hesterberg 2014, What Teachers Should Know About the
    Bootstrap).
    """
    import pandas as pd  # loaded here, for who only reads scores, as `submit` does, need not wait for them
    from scipy.stats import bootstrap, norm, t

    by_group = pd.Series(scores).groupby(list(groups))
    if by_group.ngroups < 2:
        return None
    number = by_group.ngroups
    expanded = t.ppf((1 + CONFIDENCE) / 2, number - 1) * math.sqrt(number / (number - 1))
    found = bootstrap(
        (by_group.sum().to_numpy(), by_group.count().to_numpy()),
        lambda sums, counts, axis: sums.sum(axis=axis) / counts.sum(axis=axis),
        paired=True,
        confidence_level=min(2 * norm.cdf(expanded) - 1, 1 - 1e-9),
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def nested_choice(scores: NDArray[np.float64], groups: Sequence[str]) -> tuple[int, Estimate]:
    """Of several ways, the first of which is the usual one, the best; and what choosing it gains over the usual one.

    The gain is that of nested cross-validation: the best on some of the groups is tried on the others. On the photos on
    which it was chosen, every choice looks good. Of fewer than `FEWEST_GROUPS` it has no interval: it may be chance.

    Args:
        scores: of shape (ways, photos). Among equal ways the first is the best.
        groups: of the photos.
    """
    numbers = {group: number % NESTED_FOLDS for number, group in enumerate(sorted(set(groups)))}
    folds = np.array([numbers[group] for group in groups])
    gains = np.zeros(len(folds))
    for fold in range(min(NESTED_FOLDS, len(numbers))):
        inside = folds == fold
        if not inside.all():
            best = int(scores[:, ~inside].mean(axis=1).argmax())
            gains[inside] = scores[best, inside] - scores[0, inside]
    known = interval(gains, groups) if len(numbers) >= FEWEST_GROUPS else None
    return int(scores.mean(axis=1).argmax()), Estimate(float(gains.mean()), known)


def _as_list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
