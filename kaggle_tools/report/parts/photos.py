"""What a page says of all held-out photos: wrong pixels, precision and recall, blank masks, and a table of every one.

False positive and false negative pixels follow from the histograms of probabilities that each fold keeps, so that runs
of older versions have them as well. All are those of masks at the threshold 0.5, as the scores are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from markupsafe import Markup

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.results.records.histograms import HeldOut
from kaggle_tools.results.run_folder import BINS
from kaggle_tools.results.scores import of_table
from kaggle_tools.results.summary import overlap_at
from kaggle_tools.results.tables import Cell, Column, Table
from kaggle_tools.system.output import printable

SCORE_DIGITS = 5
MOST_ROWS = 10_000
"""A page holds 64 bytes of each; a competition of twice as many photos as Carvana's training has them all."""
PRECISION = Column("precision", "{:.5f}")
RECALL = Column("recall", "{:.5f}")


@dataclass(frozen=True)
class LongColumn:
    """A heading, and how the page's script writes the numbers below it."""

    heading: str
    digits: int | None = None
    """Behind the point; None in a column of words."""


@dataclass(frozen=True)
class LongTable:
    """Thousands of rows: the page holds them as data, and its script shows those that are looked for."""

    columns: Sequence[LongColumn]
    rows: Sequence[Sequence[Cell]]
    of: int
    """So many rows there would be if the page had room for all."""

    @property
    def data(self) -> Markup:
        """The rows as JSON in which nothing ends a <script>."""
        return Markup(json.dumps(self.rows, separators=(",", ":")).replace("<", "\\u003c"))


@dataclass(frozen=True)
class Pixels:
    """The pixels of many masks, taken together."""

    precision: float | None
    """The share of those called foreground that is foreground; None where none is called so."""
    recall: float | None
    """The share of the foreground that is called so; None where there is none."""
    false_negative: float
    """Of a photo, on average; so is `false_positive`."""
    false_positive: float


def with_pixels(table: pd.DataFrame, held_out: HeldOut) -> pd.DataFrame:
    """The out-of-fold table with columns for what each mask has of each kind of pixel.

    They are true_positive, false_negative and false_positive, and coverage, the share of the photo that is foreground.
    Both must be about the same photos.
    """
    shared, predicted, truth = map(np.asarray, overlap_at(held_out.histograms, BINS // 2))
    counts = {
        "true_positive": shared,
        "false_negative": truth - shared,
        "false_positive": predicted - shared,
        "coverage": truth / np.maximum(held_out.histograms.sum(axis=(1, 2)), 1),
    }
    pixels = pd.DataFrame({"image": held_out.stems, **counts})
    return table.merge(pixels, on="image", how="left", validate="one_to_one")


def pixels_of(table: pd.DataFrame) -> Pixels:
    """Those of these rows of `with_pixels`."""
    right, missed, invented = (int(table[name].sum()) for name in ("true_positive", "false_negative", "false_positive"))
    return Pixels(
        precision=_share(right, invented),
        recall=_share(right, missed),
        false_negative=missed / len(table),
        false_positive=invented / len(table),
    )


def held_out_table(table: pd.DataFrame, competition: Competition) -> LongTable:
    """Every held-out photo, the worst first; of very many the worst `MOST_ROWS`."""
    scores = {competition.photo_score_name: "score"}
    if not competition.scored_by_dice:
        scores["Dice"] = "dice"
    columns = [
        LongColumn("photo"),
        LongColumn("fold"),
        *(LongColumn(name, SCORE_DIGITS) for name in scores),
        LongColumn("false negative, px", 0),
        LongColumn("false positive, px", 0),
        LongColumn("precision", SCORE_DIGITS),
        LongColumn("recall", SCORE_DIGITS),
        LongColumn("true area, %", 2),
    ]
    ordered = table.sort_values(["score", "dice", "image"]).head(MOST_ROWS)
    kinds = (ordered[name].tolist() for name in ("true_positive", "false_negative", "false_positive"))
    shares = [
        (missed, invented, _rounded(_share(right, invented)), _rounded(_share(right, missed)))
        for right, missed, invented in zip(*kinds, strict=True)
    ]
    cells = (
        map(printable, ordered["image"]),
        map(str, ordered["fold"].tolist()),
        *(ordered[column].round(SCORE_DIGITS).tolist() for column in scores.values()),
        *zip(*shares, strict=True),
        (ordered["coverage"] * 100).round(2).tolist(),
    )
    rows: list[list[Cell]] = [list(row) for row in zip(*cells, strict=True)]
    return LongTable(columns, rows, len(table))


def blank_table(table: pd.DataFrame, competition: Competition) -> Table:
    """How many blank photos are masked blank, and how many others."""
    truly_blank = table["coverage"] == 0
    masked_blank = table["true_positive"] + table["false_positive"] == 0
    columns = [
        Column("true mask"),
        Column("photos", "{:,}"),
        Column("masked blank", "{:,}"),
        Column("not blank", "{:,}"),
        Column(competition.score_name, "{:.5f}"),
    ]
    rows: list[list[Cell]] = []
    for name, photos in (("blank", truly_blank), ("not blank", ~truly_blank)):
        count, blank = int(photos.sum()), int((photos & masked_blank).sum())
        score = of_table(table.loc[photos], competition.score).of_set() if count else None
        rows.append([name, count, blank, count - blank, score])
    return Table(columns, rows)


def coverage_table(table: pd.DataFrame, competition: Competition) -> Table:
    """The scores of photos by the share that their true masks cover, in the competition's classes of it."""
    columns = [
        Column("true mask covers"),
        Column("photos", "{:,}"),
        Column(competition.score_name, "{:.5f}"),
        PRECISION,
        RECALL,
    ]
    rows: list[list[Cell]] = []
    for name, photos in _by_coverage(table, competition.coverage_strata):
        pixels = pixels_of(photos)
        score = of_table(photos, competition.score).of_set()
        rows.append([name, len(photos), score, pixels.precision, pixels.recall])
    return Table(columns, rows)


def coverage_plot(table: pd.DataFrame, competition: Competition) -> Plot:
    """The score of each class of `coverage_table`, with its interval."""
    scores = {
        name: of_table(photos, competition.score).estimate(photos["group"].tolist())
        for name, photos in _by_coverage(table, competition.coverage_strata)
    }
    return figures.by_view(scores, competition.score_name, "coverage")


def _by_coverage(table: pd.DataFrame, boundaries: Sequence[float]) -> list[tuple[str, pd.DataFrame]]:
    percent = [100 * boundary for boundary in (*boundaries, 1.0)]
    first = "blank" if percent[0] == 0 else f"up to {percent[0]:.0f} %"
    names = [first, *(f"{low:.0f} to {high:.0f} %" for low, high in pairwise(percent))]
    classes = np.searchsorted(boundaries, table["coverage"])
    return [(name, table[classes == at]) for at, name in enumerate(names) if (classes == at).any()]


def _share(right: int, wrong: int) -> float | None:
    return float(right / (right + wrong)) if right + wrong else None


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, SCORE_DIGITS)
