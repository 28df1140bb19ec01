"""What a page says of all submissions: cross-validation against leaderboard, over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from kaggle_tools.kaggle_api import overview
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.overview import expected_score
from kaggle_tools.report.graphics import submission_figures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.results.tables import Table

FEWEST = 6
"""Fewer scored submissions are often in the same order by chance."""


@dataclass(frozen=True)
class SubmissionsPart:
    """The ledger, as the page has it."""

    count: int
    scored: int
    best: Entry | None
    """The one with the highest public score."""
    agreement: float | None
    """Spearman's rank correlation of expected and public scores; None where there are too few."""
    mean_gap: float | None
    """The mean of public less expected scores."""
    table: Table
    plots: list[Plot]


def submissions_part(entries: Sequence[Entry]) -> SubmissionsPart:
    """Gather what is known of these submissions; their table begins with the newest."""
    scored = [entry for entry in entries if entry.public_score is not None]
    known = overview.known_scores(entries)
    times = pd.to_datetime([entry.time for entry in entries], utc=True, format="ISO8601", errors="coerce")
    timed = [(time, entry) for time, entry in zip(times, entries, strict=True) if not pd.isna(time)]
    plots = []
    if timed:
        expectations = [expected_score(entry) for _, entry in timed]
        public_scores = [entry.public_score for _, entry in timed]
        plots.append(submission_figures.over_time([time for time, _ in timed], expectations, public_scores))
    if known:
        plots.append(submission_figures.against_leaderboard(known))
    gaps = [public - expected.score for expected, public, _ in known]
    expected, public = [one.expected.score for one in known], [one.public for one in known]
    orderly = len(known) >= FEWEST and len(set(expected)) > 1 and len(set(public)) > 1
    return SubmissionsPart(
        count=len(entries),
        scored=len(scored),
        best=max(scored, key=lambda entry: entry.public_score or 0.0, default=None),
        agreement=_rank_correlation(expected, public) if orderly else None,
        mean_gap=sum(gaps) / len(gaps) if gaps else None,
        table=overview.table(_newest_first(entries, times)),
        plots=plots,
    )


def _newest_first(entries: Sequence[Entry], times: pd.DatetimeIndex) -> list[Entry]:
    """By time; those without one last. Of two at the same time the later one in the ledger is the newer."""
    earliest = pd.Timestamp.min.tz_localize("UTC")
    dated = [(earliest if pd.isna(time) else time, at) for at, time in enumerate(times)]
    return [entries[at] for _, at in sorted(dated, reverse=True)]


def _rank_correlation(expected: Sequence[float], public: Sequence[float]) -> float:
    from scipy.stats import spearmanr  # half a second, for which the other pages need not wait

    return float(spearmanr(expected, public).statistic)
