"""What a page says of runs beside each other: which is the best, whether that is significant, where they differ.

The page of one run holds it against the best of those beside it. Where it is the best, or where the page is about all
of them, the best is held against the second.
"""

from dataclasses import dataclass
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.graphics.pictures import Gallery, PhotoFiles, pictures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.report.parts.run import HeldOutPhotos
from kaggle_tools.results import comparison
from kaggle_tools.results.comparison import Comparison
from kaggle_tools.results.scores import Estimate
from kaggle_tools.results.tables import Table

SHOWN = 3
"""Photos in each direction where two runs differ most."""
LONGEST_NAME = 40
"""Characters, in the caption of a small picture."""


@dataclass(frozen=True)
class ComparisonPart:
    """Several runs, as the page has them."""

    in_words: str
    best: str
    best_score: Estimate
    verdict: str
    """Whether the best is better than the second, in words."""
    is_significant: bool
    """Whether that is more than chance."""
    shown: str
    """The run that the page is about, or shows in depth."""
    standing: str
    """What it is beside the best, in words; empty where it is the best."""
    lead: float
    """What it has more than the best, less than 0; of the best, what it has more than the second."""
    rank: int
    """Its own, from 1."""
    of_one: bool
    """Whether the page is about this run, and the others are only beside it."""
    competition: Competition
    first: str
    """To which the table's differences are."""
    scored: int
    """Photos, or where there are classes masks of these."""
    folds: list[int]
    table: Table
    plot: Plot
    galleries: list[Gallery]


def comparison_part(
    compared: Comparison, shown: int, data: Path | None = None, *, of_one: bool = False
) -> ComparisonPart:
    """Gather what sets the runs apart, of which there are at least two; the page shows number `shown` in depth.

    `data` is where the photos are, if not where they were in the training. `of_one`: the page is about that run alone.
    """
    names, best, second = compared.names(), compared.best, compared.second
    assert second is not None, "needs at least two runs"
    other = second if shown == best else shown
    difference = compared.difference(best, other)
    values = compared.scores[best] - compared.scores[other]
    return ComparisonPart(
        in_words=compared.in_words(),
        best=names[best],
        best_score=compared.runs[best].score,
        verdict=compared.against(best, second),
        is_significant=compared.difference(best, second).verdict == "better",
        shown=names[shown],
        standing="" if shown == best else compared.against(shown, best),
        lead=difference.mean if shown == best else -difference.mean,
        rank=compared.ranked.index(shown) + 1,
        of_one=of_one,
        competition=compared.competition,
        first=names[0],
        scored=len(values),
        folds=list(compared.runs[0].fold_scores),
        table=comparison.table(compared),
        plot=figures.differences(
            values.to_numpy(),
            difference.mean,
            difference.interval,
            (names[best], names[other]),
            compared.competition.score_of_several,
        ),
        galleries=[
            _gallery(compared, pair, [str(stem) for stem in ahead[ahead > 0].nlargest(SHOWN).index], data)
            for pair, ahead in (((best, other), values), ((other, best), -values))
            if (ahead > 0).any()
        ],
    )


def _gallery(compared: Comparison, pair: tuple[int, int], stems: list[str], data: Path | None) -> Gallery:
    names = compared.names()
    files = [_files(compared, run, stem, data) for stem in stems for run in pair]
    title = f"Where {names[pair[0]]} is most ahead of {names[pair[1]]}"
    return Gallery(title, pictures(files), together=len(pair))


def _files(compared: Comparison, run: int, stem: str, data: Path | None) -> PhotoFiles:
    name, score_name = compared.names()[run], compared.competition.photo_score_name
    shown = HeldOutPhotos(compared.runs[run].run, compared.competition, data)
    return shown.files(
        stem, compared.folds[stem], f"{shortened(name)}: {score_name} {float(compared.scores[run][stem]):.5f}"
    )


def shortened(name: str) -> str:
    """A name for the caption of a small picture: of a very long one the beginning and the end, in which runs differ."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
