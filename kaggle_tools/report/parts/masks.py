"""What a page says of masks without knowing the truth: which are doubtful, unusual or blank, and how all of them look.

All of it follows from PRED (see `pred_folder`); only the pictures of single photos need the photos.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kaggle_tools.competition import Competition
from kaggle_tools.data.images import read_mask, resize
from kaggle_tools.errors import InputError, require
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.graphics.pictures import Gallery, Picture, Subject, data_uri, pictures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.results import pred_folder
from kaggle_tools.results.provenance import Record
from kaggle_tools.results.run_folder import groups_and_views
from kaggle_tools.results.scores import Estimate, ExpectedScore
from kaggle_tools.results.tables import Column, Table

DOUBTFUL, OUTLIERS, NAMED = 24, 12, 200
SHEET_ROWS, SHEET_COLUMNS, CELL_WIDTH = 40, 16, 60
OUTLIER_SPREADS = 5.0
SMALLEST_SPREAD = 0.01
FEWEST_GROUPS = 10
"""With fewer groups their medians follow single masks, and the usual spread is taken for too small."""


@dataclass(frozen=True)
class SheetRow:
    """One line of the contact sheet."""

    name: str
    strip: str
    """The `src` of an image with the masks side by side."""
    masks: int


@dataclass(frozen=True)
class PredictionPart:
    """A folder of masks, as the page has it."""

    name: str
    competition: Competition
    line: str
    masks: int
    expected: Estimate | None
    """The score to be expected, from the runs' out-of-fold photos."""
    why_unknown: str
    """Why it is not known."""
    expected_dice: float | None
    """The mean of what the probabilities let expect."""
    blank: list[str]
    full: list[str]
    outliers: int | None
    """None where there are too few groups to know."""
    most_doubtful: Picture
    galleries: list[Gallery]
    plots: list[Plot]
    table: Table
    """The most doubtful photos and the outliers, with their figures."""
    sheet: list[SheetRow]
    sheet_of: int
    """How many lines there would be."""


def prediction_part(pred: Path, competition: Competition) -> PredictionPart:
    """Gather what is known of a finished folder of masks.

    Raises:
        InputError: the folder is not finished, or damaged.
    """
    record = pred_folder.read_record(pred)
    rows = pred_folder.read_photos(pred)
    require(bool(rows), f"{pred}: there is no mask in it")
    table = with_deviations(pd.DataFrame(rows).astype(dict.fromkeys(pred_folder.NUMBERS, float)), competition)
    unusual = table[table["outlier"]].sort_values("deviation", key=lambda logs: -logs.abs())
    doubtful = table[table["area"] != 0] if (table["area"] != 0).any() else table  # the blank have a list of their own
    expected = record.expected or ExpectedScore(None, "not recorded")
    galleries = [
        Gallery("The most doubtful", _pictures(pred, doubtful.head(DOUBTFUL), _doubt)),
        Gallery("The most unusual areas", _pictures(pred, unusual.head(OUTLIERS), _ratio)),
    ]
    lines = group_rows(table, competition)
    known = table["ratio"].notna().any()
    areas = table["area"].dropna().to_numpy()
    plots = [figures.coverage(areas)] if len(areas) else []
    if known:
        limits = (float(np.exp(-table.attrs["limit"])), float(np.exp(table.attrs["limit"])))
        plots.append(figures.deviations(table["ratio"].dropna().to_numpy(), limits, competition.group_name))
    return PredictionPart(
        name=pred.resolve().name,
        competition=competition,
        line=_line(record),
        masks=len(table),
        expected=expected.estimate,
        why_unknown=expected.unavailable,
        expected_dice=float(table["expected_dice"].mean()) if table["expected_dice"].notna().any() else None,
        blank=table.loc[table["area"] == 0, "image"].tolist(),
        full=table.loc[table["area"] == 1, "image"].tolist(),
        outliers=int(table["outlier"].sum()) if known else None,
        most_doubtful=galleries[0].pictures[0],
        galleries=[gallery for gallery in galleries if gallery.pictures],
        plots=plots,
        table=_table(pd.concat([doubtful.head(NAMED), unusual.head(NAMED)]).drop_duplicates("image")),
        sheet=[_sheet_row(pred, name, stems) for name, stems in _evenly(lines, SHEET_ROWS)],
        sheet_of=len(lines),
    )


def with_deviations(table: pd.DataFrame, competition: Competition) -> pd.DataFrame:
    """Add `ratio`, the area as a multiple of what is usual, its logarithm `deviation`, and `outlier`.

    Usual is what the group's photos have, times what the view has in other groups: a car seen from the side covers
    more than from behind, and a large car more than a small one. Tukey's median polish, on logarithms: the medians of
    groups, of views, and of groups again are taken out. Outliers are further from it than `OUTLIER_SPREADS` times the
    usual spread, the median absolute deviation, scaled as of a normal distribution; `limit`, in `attrs`, is that
    distance.
    """
    found = table.assign(ratio=np.nan, deviation=np.nan, outlier=False)
    groups, views = _groups_and_views(table, competition)
    if groups is None or len(set(groups)) < FEWEST_GROUPS:
        return found
    logs = np.log(table["area"].where(table["area"] > 0))
    deviation = logs
    for part in (groups, views, groups):
        deviation = deviation - deviation.groupby(part).transform("median")
    spread = max(1.4826 * float(deviation.abs().median()), SMALLEST_SPREAD)
    limit = OUTLIER_SPREADS * spread
    found = found.assign(ratio=np.exp(deviation), deviation=deviation, outlier=deviation.abs() > limit)
    found.attrs["limit"] = limit
    return found


def group_rows(table: pd.DataFrame, competition: Competition) -> list[tuple[str, list[str]]]:
    """The lines of a contact sheet: a group's photos in the order of their views, or without groups all in order."""
    groups, _ = _groups_and_views(table, competition)
    stems = sorted(table["image"])
    if groups is None:
        return [(f"{line[0]} …", line) for line in _lines(stems)]
    by_group = {str(group): sorted(images) for group, images in table.groupby(groups)["image"]}
    return [(group, line) for group, images in by_group.items() for line in _lines(images)]


def _lines(stems: list[str]) -> list[list[str]]:
    return [stems[at : at + SHEET_COLUMNS] for at in range(0, len(stems), SHEET_COLUMNS)]


def _groups_and_views(table: pd.DataFrame, competition: Competition) -> tuple[list[str] | None, list[str]]:
    """None where the photos are not named as the competition's, or it knows no groups."""
    try:
        groups, views = groups_and_views(table["image"], competition)
    except InputError:
        return None, []
    return (groups if competition.has_groups else None), views


def _line(record: Record) -> str:
    runs = ", ".join(record.runs) or "unknown networks"
    tta = f", TTA {record.tta}" if record.tta else ""
    cut = f", cut at {record.threshold:.4g}" if record.threshold is not None else ""
    return f"masks of {runs}{tta}{cut}"


def _doubt(row: dict[Hashable, Any]) -> str:
    known = not pd.isna(row["expected_dice"])
    return f"expected Dice {row['expected_dice']:.4f}" if known else "not as infer.py left it"


def _ratio(row: dict[Hashable, Any]) -> str:
    return f"{row['ratio']:.2f} times the usual area"


def _pictures(pred: Path, rows: pd.DataFrame, caption: Callable[[dict[Hashable, Any]], str]) -> list[Picture]:
    return pictures(
        Subject(
            stem=row["image"],
            caption=caption(row),
            photo=row["file"],
            predicted=pred_folder.mask_path(pred, row["image"]),
        )
        for row in rows.to_dict("records")
    )


def _table(rows: pd.DataFrame) -> Table:
    columns = [
        Column("photo"),
        Column("expected Dice", "{:.5f}"),
        Column("area, %", "{:.2f}"),
        Column("of the usual area", "{:.3f}"),
        Column("border width, px", "{:.2f}"),
        Column("agreement", "{:.5f}"),
    ]
    shown = rows.assign(area=rows["area"] * 100)
    shown = shown[["image", "expected_dice", "area", "ratio", "border_width", "agreement"]]
    known = [at for at, name in enumerate(shown) if shown[name].notna().any()]
    values = [[None if pd.isna(row[at]) else row[at] for at in known] for row in shown.values.tolist()]
    return Table([columns[at] for at in known], values)


def _sheet_row(pred: Path, name: str, stems: list[str]) -> SheetRow:
    cells = []
    for stem in stems:
        try:
            mask_HW = read_mask(pred_folder.mask_path(pred, stem))
        except InputError:
            continue
        height = max(1, round(CELL_WIDTH * mask_HW.shape[0] / mask_HW.shape[1]))
        cells.append(resize(mask_HW.astype(np.uint8) * 255, (height, CELL_WIDTH)))
    tallest = max((len(cell) for cell in cells), default=1)
    padded = [np.pad(cell, ((0, tallest - len(cell)), (0, 2)), constant_values=128) for cell in cells]
    return SheetRow(name, data_uri(np.hstack(padded)) if padded else "", len(cells))


def _evenly(rows: list[tuple[str, list[str]]], count: int) -> list[tuple[str, list[str]]]:
    if len(rows) <= count:
        return rows
    return [rows[at] for at in np.linspace(0, len(rows) - 1, count).astype(int)]
