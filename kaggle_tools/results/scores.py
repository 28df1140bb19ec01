"""The score of a set of photos, its confidence interval, and how `run.json` and the ledger of submissions record both.

Plain values: knows nothing of folders or competitions.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap, Pooled, Score
from kaggle_tools.system.json_values import Fields, between, each, floating, pair, signed, text, whole

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
RESAMPLES = 2_000
NESTED_FOLDS = 5
FEWEST_GROUPS = 6
"""Of fewer groups all may well differ in one direction by chance: with probability 2 ** (1 - groups)."""

Part = TypeVar("Part", str, int)
Interval = tuple[float, float]
"""The lower and the upper end of a 95 % confidence interval."""

SCORE = between(floating, 0, 1 + 1e-9)
"""As it is recorded: a mean of ones may be a little more than one."""
INTERVAL = pair(SCORE)
DIFFERENCE = between(signed, -1, 1)
COUNTS = ("intersection", "predicted", "truth")
"""Columns of `oof.csv` with the pixel counts of each photo, where the competition's score is one over all pixels."""
EXPECTED_COUNTS = ("expected_intersection", "predicted", "expected_truth")
"""The same, with what is expected of the probabilities in place of the truth."""


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


@dataclass(frozen=True)
class PhotoScores(ABC):
    """Scores of photos, and how they become that of a set of photos: it follows from sums of terms over its photos.

    Here alone is decided what the score of a set is; `of_counts` and `of_table` make them.
    """

    terms: tuple[NDArray[Any], ...]
    """What each photo adds to each sum, of shape (…, photos)."""

    @abstractmethod
    def of_sums(self, *sums: NDArray[Any]) -> NDArray[np.float64]:
        """The score of a set from the sums of the terms over its photos."""

    @abstractmethod
    def minus(self, others: Self) -> "PhotoScores":
        """What these have more than other scores of the same photos: the score of a set is then the difference."""

    def at(self, *index: Any) -> Self:
        """Those of some of the photos, or of some of the rows, as NumPy takes an index."""
        return replace(self, terms=tuple(term[index] for term in self.terms))

    def over_photos(self) -> NDArray[np.float64]:
        """The score of all the photos, of shape (…)."""
        return self.of_sums(*(term.sum(axis=-1) for term in self.terms))

    def of_set(self) -> float:
        """The score of all the photos, where there is one."""
        return float(self.over_photos())

    def by(self, parts: Sequence[Part]) -> dict[Part, float]:
        """The score of each part, in the order of the parts; `parts` are those of the photos."""
        sums = self._sums_by(parts)
        scores = self.of_sums(*(of_parts.to_numpy() for of_parts in sums))
        return dict(zip(sums[0].index.tolist(), scores.tolist(), strict=True))

    def estimate(self, groups: Sequence[str]) -> Estimate:
        """The score of all the photos, with its interval over groups."""
        return Estimate(self.of_set(), self.interval(groups))

    def interval(self, groups: Sequence[str]) -> Interval | None:
        """The 95 % bootstrap interval of the score of all the photos; None where there is only one group.

        Drawn are groups, not photos: photos of one car are alike, and drawn one by one they would make
        the score look surer than it is. Of few groups the plain percentiles would be too narrow still: they are
        expanded as far as Student's t is wider than a normal distribution (Hesterberg 2014, What Teachers Should Know
        About the Bootstrap).
        """
        from scipy.stats import bootstrap, norm, t

        sums = [of_groups.to_numpy() for of_groups in self._sums_by(groups)]
        number = len(sums[0])
        if number < 2:
            return None
        expanded = t.ppf((1 + CONFIDENCE) / 2, number - 1) * math.sqrt(number / (number - 1))
        found = bootstrap(
            sums,
            lambda *drawn, axis: self.of_sums(*(of_groups.sum(axis=axis) for of_groups in drawn)),
            paired=True,
            confidence_level=min(2 * norm.cdf(expanded) - 1, 1 - 1e-9),
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        return float(found.confidence_interval.low), float(found.confidence_interval.high)

    def _sums_by(self, parts: Sequence[Any]) -> "list[pd.Series[Any]]":
        import pandas as pd  # loaded here, for who only reads scores, as `submit` does, need not wait for it

        return [pd.Series(term).groupby(list(parts)).sum() for term in self.terms]


class MeanScores(PhotoScores):
    """The score of a set is the mean over its photos."""

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> Self:
        """From the score of each photo, of shape (…, photos)."""
        return cls((scores, np.ones(scores.shape, dtype=np.int8)))

    def of_sums(self, *sums: NDArray[Any]) -> NDArray[np.float64]:
        """The mean from the sum and the count."""
        scores, photos = sums
        return np.asarray(scores / photos)

    def minus(self, others: Self) -> PhotoScores:
        """The mean difference, photo by photo."""
        return MeanScores.of(self.terms[0] - others.terms[0])


@dataclass(frozen=True)
class PooledScores(PhotoScores):
    """The score of a set is that of its photos' pixel counts added up."""

    score: Pooled

    def of_sums(self, *sums: NDArray[Any]) -> NDArray[np.float64]:
        """The score of the added counts."""
        return self.score(Overlap(*sums))

    def minus(self, others: Self) -> PhotoScores:
        """The difference of both scores of the set."""
        return _PooledDifference(self.terms + others.terms, self.score)


class _PooledDifference(PooledScores):
    """Of two predictions of the same photos; the terms are the counts of the one, and those of the other."""

    def of_sums(self, *sums: NDArray[Any]) -> NDArray[np.float64]:
        half = len(sums) // 2
        return super().of_sums(*sums[:half]) - super().of_sums(*sums[half:])


def of_counts(counts: Overlap, score: Score) -> PhotoScores:
    """The scores of photos with these pixel counts, each of shape (…, photos)."""
    if isinstance(score, Pooled):
        return PooledScores(tuple(map(np.asarray, counts)), score)
    return MeanScores.of(np.asarray(score(counts)))


def of_table(table: "pd.DataFrame", score: Score, columns: Sequence[str] = COUNTS) -> PhotoScores:
    """The scores of the photos in an `oof.csv`, whose pixel counts are in `columns` if the score needs them.

    Raises:
        InputError: it needs them, and they are missing, or cannot be.
    """
    if not isinstance(score, Pooled):
        return MeanScores.of(table["score"].to_numpy())
    if not set(columns) <= set(table.columns) or not _can_be(*(table[name] for name in columns)):
        raise InputError(
            f"oof.csv lacks possible pixel counts {', '.join(columns)}, which a score over all pixels needs; delete "
            "it in the folders of the folds, and `train` makes it again"
        )
    return PooledScores(tuple(table[name].to_numpy() for name in columns), score)


def nested_choice(ways: PhotoScores, groups: Sequence[str]) -> tuple[int, Estimate]:
    """Of several ways, the first of which is the usual one, the best; and what choosing it gains over the usual one.

    The gain is that of nested cross-validation: the best on some of the groups is tried on the others. On the photos on
    which it was chosen, every choice looks good. Of fewer than `FEWEST_GROUPS` it has no interval: it may be chance.

    Args:
        ways: of shape (ways, photos). Among equal ways the first is the best.
        groups: of the photos.
    """
    numbers = {group: number % NESTED_FOLDS for number, group in enumerate(sorted(set(groups)))}
    folds = np.array([numbers[group] for group in groups])
    chosen, photos = np.zeros(len(folds), dtype=int), np.arange(len(folds))
    for fold in range(min(NESTED_FOLDS, len(numbers))):
        inside = folds == fold
        if not inside.all():
            chosen[inside] = int(ways.at(slice(None), ~inside).over_photos().argmax())
    gain = ways.at(chosen, photos).minus(ways.at(0))
    known = gain.interval(groups) if len(numbers) >= FEWEST_GROUPS else None
    return int(ways.over_photos().argmax()), Estimate(gain.of_set(), known)


def _can_be(intersection: "pd.Series[float]", predicted: "pd.Series[float]", truth: "pd.Series[float]") -> bool:
    """Whether these may be pixel counts, none of them missing; those expected of probabilities are rounded."""
    return bool((intersection <= np.minimum(predicted, truth) * (1 + 1e-9)).all())


def _as_list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
