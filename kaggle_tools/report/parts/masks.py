"""What a page says of masks without true ones: which are doubtful, unusual or blank, and how all of them look.

All of it follows from PRED (see `pred_folder`); only the pictures of single photos need the photos.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import classes_of_masks, groups_and_views_of_masks
from kaggle_tools.data.checks.predicted_masks import doubts
from kaggle_tools.data.images import image_size, read_mask, resize
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.metrics import Overlap
from kaggle_tools.report.graphics import figures
from kaggle_tools.report.graphics.pictures import Gallery, PhotoFiles, Picture, data_uri, pictures
from kaggle_tools.report.graphics.svg import Plot
from kaggle_tools.report.parts.doubt import DoubtPart, doubt_part
from kaggle_tools.results import pred_folder
from kaggle_tools.results.records.masks import MaskedPhoto, Record
from kaggle_tools.results.scores import NOT_RECORDED, Estimate, of_counts
from kaggle_tools.results.tables import Cell, Column, Table

DOUBTFUL, OUTLIERS, NAMED = 24, 12, 200
SHEET_ROWS, SHEET_COLUMNS, CELL_WIDTH = 40, 16, 60
TALLEST_CELL = 4 * CELL_WIDTH
"""Also of a mask that is one pixel wide, which would fill the memory."""
OUTLIER_SPREADS = 5.0
SMALLEST_SPREAD = 0.01
FEWEST_FOR_MEDIANS, FEWEST_OF_GROUP = 10, 3
"""With fewer groups, or masks in one, medians follow single masks, and the usual spread comes out too small."""


@dataclass(frozen=True)
class SheetRow:
    """One line of the contact sheet."""

    name: str
    strip: str
    """The `src` of an image with the masks side by side."""
    masks: int


@dataclass(frozen=True)
class MasksPart:
    """A folder of masks, as the page has it."""

    name: str
    competition: Competition
    line: str
    """What made them, in one line."""
    count: int
    """How many masks there are."""
    expected: Estimate | None
    """The score to be expected, from the runs' out-of-fold photos."""
    why_unknown: str
    """Why it is not known."""
    expected_of_masks: float | None
    """The score expected from the probabilities, of the masks of which it is known, less `excess`."""
    excess: float | None
    """How much too high that was for the run's held-out photos, if it is known."""
    blank: list[str]
    full: list[str]
    doubts: list[str]
    """What is odd: masks that are gone, and how many are blank or full."""
    outliers: int | None
    """None where there are too few groups to know."""
    groups_needed: int
    """How many groups are enough."""
    photos_needed: int
    """Of each of them."""
    most_doubtful: Picture
    odd: Gallery
    """Masks that hardly can be right: full ones, and blank ones where every photo has foreground."""
    galleries: list[Gallery]
    plots: list[Plot]
    table: Table
    """The most doubtful photos and the outliers, with their figures."""
    doubt: DoubtPart
    """Where in the photos they are doubtful."""
    sheet: list[SheetRow]
    sheet_of: int
    """How many lines there would be."""


@dataclass(frozen=True)
class Deviations:
    """How far the areas of masks are from the usual ones."""

    logs: Mapping[str, float]
    """By stem, the logarithm of the area as a multiple of the usual one; without blank masks and small groups."""
    limit: float
    """Outliers are further from 0 than this."""

    @property
    def ratios(self) -> dict[str, float]:
        """By stem, the area as a multiple of the usual one."""
        return {stem: float(np.exp(log)) for stem, log in self.logs.items()}

    @property
    def ratio_limits(self) -> tuple[float, float]:
        """Outliers have ratios beyond these."""
        return float(np.exp(-self.limit)), float(np.exp(self.limit))

    @property
    def outliers(self) -> list[str]:
        """The stems of the masks with unusual areas, the most unusual first."""
        found = [stem for stem, log in self.logs.items() if abs(log) > self.limit]
        return sorted(found, key=lambda stem: -abs(self.logs[stem]))


def masks_part(pred: Path, competition: Competition, data: Path | None = None) -> MasksPart:
    """Gather what is known of a finished folder of masks.

    `data` is where the photos are, if not where they were masked.

    Raises:
        InputError: the folder is not finished, or damaged.
    """
    record = pred_folder.read_record(pred)
    recorded = pred_folder.read_photos(pred)
    photos = [photo for photo in recorded if pred_folder.mask_path(pred, photo.image).exists()]
    if not photos:
        raise InputError(f"{pred}: there is no mask in it")
    deviations = deviations_of(photos, competition)
    ratios = deviations.ratios if deviations else {}
    by_stem = {photo.image: photo for photo in photos}
    unusual = [by_stem[stem] for stem in (deviations.outliers if deviations else [])]
    # Where they are not usual, the blank have a list of their own.
    doubtful = [photo for photo in photos if competition.blank_usual or photo.area != 0] or photos
    expected = record.expected or NOT_RECORDED
    score = _expected_of_all(pred, photos, competition)
    blank, full = ([photo.image for photo in photos if photo.area == area] for area in (0, 1))
    drawn = partial(_pictures, pred, data, competition)
    doubt = partial(_doubt, competition)
    odd = [by_stem[stem] for stem in ([] if competition.blank_usual else blank) + full]
    galleries = [
        Gallery("The most doubtful", drawn(doubtful[:DOUBTFUL], doubt)),
        Gallery(
            "The most unusual areas",
            drawn(unusual[:OUTLIERS], lambda photo: f"{ratios[photo.image]:.2f} times the usual area"),
        ),
    ]
    lines = sheet_lines(list(by_stem), competition)
    return MasksPart(
        name=pred.resolve().name,
        competition=competition,
        line=_line(record),
        count=len(photos),
        expected=expected.estimate,
        why_unknown=expected.unavailable,
        expected_of_masks=None if score is None else float(np.clip(score - (expected.excess or 0.0), 0, 1)),
        excess=expected.excess,
        blank=blank,
        full=full,
        doubts=[*_gone(recorded, photos), *doubts(len(photos), len(blank), len(full), competition)],
        outliers=len(unusual) if deviations else None,
        groups_needed=FEWEST_FOR_MEDIANS,
        photos_needed=FEWEST_OF_GROUP,
        most_doubtful=galleries[0].pictures[0],
        odd=Gallery("Blank and full masks", drawn(odd[:DOUBTFUL], lambda photo: "full" if photo.area else "blank")),
        galleries=[gallery for gallery in galleries if gallery.pictures],
        plots=_plots(photos, deviations, competition),
        table=_table(list(dict.fromkeys([*doubtful[:NAMED], *unusual[:NAMED]])), ratios, competition),
        doubt=doubt_part(pred, doubtful, record.threshold, competition),
        sheet=[_sheet_row(pred, name, stems) for name, stems in _evenly(lines, SHEET_ROWS)],
        sheet_of=len(lines),
    )


def deviations_of(photos: Sequence[MaskedPhoto], competition: Competition) -> Deviations | None:
    """How far areas are from the usual ones; None where there are too few groups to know these.

    Usual is what the group's photos have, times what the view has in other groups: a car seen from the side covers
    more than from behind, and a large car more than a small one. Tukey's median polish, on logarithms: the medians of
    groups, of views, and of groups again are taken out. Outliers are further from it than `OUTLIER_SPREADS` times the
    usual spread, the median absolute deviation, scaled as of a normal distribution.
    """
    images = [photo.image for photo in photos]
    groups, views = _groups_and_views(images, competition)
    if groups is None:
        return None
    # Each class has areas of its own.
    classes = classes_of_masks(images, competition) if competition.classes else [""] * len(images)
    areas = [photo.area for photo in photos]
    table = pd.DataFrame({"image": images, "group": groups, "view": views, "class": classes, "area": areas})
    table = table[table["area"] > 0]
    # A mask that is alone in its group has the group's usual area, whatever it is.
    table = table[table.groupby(["group", "class"])["area"].transform("size") >= FEWEST_OF_GROUP]
    if table["group"].nunique() < FEWEST_FOR_MEDIANS:
        return None
    deviation = np.log(table["area"])
    for part in ("group", "view", "group"):
        deviation = deviation - deviation.groupby([table[part], table["class"]]).transform("median")
    spread = max(1.4826 * float(deviation.abs().median()), SMALLEST_SPREAD)
    return Deviations(dict(zip(table["image"], deviation, strict=True)), OUTLIER_SPREADS * spread)


def sheet_lines(stems: Sequence[str], competition: Competition) -> list[tuple[str, list[str]]]:
    """The lines of a contact sheet: a group's photos in the order of their views, or without groups all in order."""
    groups, _ = _groups_and_views(stems, competition)
    if groups is None:
        return [(f"{line[0]} …", line) for line in _lines(sorted(stems))]
    by_group: dict[str, list[str]] = {}
    for group, stem in sorted(zip(groups, stems, strict=True)):
        by_group.setdefault(group, []).append(stem)
    return [(group, line) for group, of_group in by_group.items() for line in _lines(of_group)]


def _lines(stems: list[str]) -> list[list[str]]:
    return [stems[at : at + SHEET_COLUMNS] for at in range(0, len(stems), SHEET_COLUMNS)]


def _groups_and_views(stems: Sequence[str], competition: Competition) -> tuple[list[str] | None, list[str]]:
    """None where the photos are not named as the competition's, or it knows no groups."""
    try:
        groups, views = groups_and_views_of_masks(stems, competition)
    except InputError:
        return None, []
    return (groups if competition.has_groups else None), views


def _gone(recorded: Sequence[MaskedPhoto], there: Sequence[MaskedPhoto]) -> list[str]:
    """That masks were deleted since they were made, if some were."""
    gone = sorted({photo.image for photo in recorded} - {photo.image for photo in there})
    found = f"{counted(len(gone), 'mask was', 'masks were')} deleted: {first_few(gone)}"
    again = f"the same `infer` command makes {'it' if len(gone) == 1 else 'them'} again"
    return [f"{found}; {again}"] if gone else []


def _line(record: Record) -> str:
    runs = ", ".join(record.runs) or "unknown networks"
    tta = f", TTA {record.tta}" if record.tta else ""
    threshold = f", threshold {record.threshold:.4g}" if record.threshold is not None else ""
    return f"masks of {runs}{tta}{threshold}"


def _expected(photo: MaskedPhoto, competition: Competition) -> float | None:
    """The score expected of a mask; of older versions only the Dice is known, which may be another one."""
    of_older = photo.expected_dice if competition.scored_by_dice else None
    return photo.expected_score if photo.expected_score is not None else of_older


def _expected_of_all(pred: Path, photos: Sequence[MaskedPhoto], competition: Competition) -> float | None:
    """The score expected of the masks together, of those for which it is known; None where that is none."""
    if not competition.pools_pixels:
        scores = [score for photo in photos if (score := _expected(photo, competition)) is not None]
        return float(np.mean(scores)) if scores else None
    counts = [counts for photo in photos if (counts := _expected_counts(pred, photo))]
    return of_counts(Overlap(*np.array(counts).T), competition.score).of_set() if counts else None


def _expected_counts(pred: Path, photo: MaskedPhoto) -> Overlap | None:
    """The pixels to be expected of a mask: the shared ones follow from the Dice that is expected of it."""
    area, truth, dice = photo.area, photo.expected_truth, photo.expected_dice
    if area is None or truth is None or dice is None:
        return None
    pixels = prod(image_size(pred_folder.mask_path(pred, photo.image)))
    return Overlap(pixels * dice * (area + truth) / 2, pixels * area, pixels * truth)


def _doubt(competition: Competition, photo: MaskedPhoto) -> str:
    score = _expected(photo, competition)
    if score is not None:
        return f"expected {competition.photo_score_name} {score:.4f}"
    known = photo.expected_dice is not None
    return f"expected Dice {photo.expected_dice:.4f}" if known else "changed since `infer` wrote it"


def _pictures(
    pred: Path,
    data: Path | None,
    competition: Competition,
    photos: Sequence[MaskedPhoto],
    caption: Callable[[MaskedPhoto], str],
) -> list[Picture]:
    named = {photo: data and pred_folder.photo_below(data, photo, competition) for photo in photos}
    return pictures(
        PhotoFiles(
            stem=photo.image,
            caption=caption(photo),
            photo=path or photo.file,
            predicted=pred_folder.mask_path(pred, photo.image),
            photo_sha256=_noted_photo(pred, photo.image),
            paths_recorded=path is None,
        )
        for photo, path in named.items()
    )


def _noted_photo(pred: Path, stem: str) -> str:
    try:
        return pred_folder.noted_photo(pred_folder.mask_path(pred, stem))
    except InputError:  # of which the picture says why
        return ""


def _plots(photos: Sequence[MaskedPhoto], deviations: Deviations | None, competition: Competition) -> list[Plot]:
    areas = np.array([photo.area for photo in photos if photo.area is not None])
    plots = [figures.coverage(areas)] if len(areas) else []
    if deviations:
        ratios = np.array(list(deviations.ratios.values()))
        plots.append(figures.deviations(ratios, deviations.ratio_limits, competition.group_name))
    return plots


def _table(photos: Sequence[MaskedPhoto], ratios: Mapping[str, float], competition: Competition) -> Table:
    by_score = f"expected {competition.photo_score_name}"
    columns: list[tuple[Column, list[Cell]]] = [
        (Column("photo"), [photo.image for photo in photos]),
        (Column(by_score, "{:.5f}"), [_expected(photo, competition) for photo in photos]),
        (Column("area, %", "{:.2f}"), [None if photo.area is None else photo.area * 100 for photo in photos]),
        (Column("of the usual area", "{:.3f}"), [ratios.get(photo.image) for photo in photos]),
        # Without an outline it would be the doubtful pixels of all the photo.
        (Column("border width, px", "{:.2f}"), [None if one.area in (0, 1) else one.border_width for one in photos]),
        (Column("agreement", "{:.5f}"), [photo.agreement for photo in photos]),
    ]
    known = [(column, cells) for column, cells in columns if any(cell is not None for cell in cells)]
    rows = list(zip(*(cells for _, cells in known), strict=True))
    return Table([column for column, _ in known], rows)


def _sheet_row(pred: Path, name: str, stems: list[str]) -> SheetRow:
    cells = []
    for stem in stems:
        try:
            mask_HW = read_mask(pred_folder.mask_path(pred, stem))
        except InputError:
            continue
        height = round(CELL_WIDTH * mask_HW.shape[0] / mask_HW.shape[1])
        cells.append(resize(mask_HW.astype(np.uint8) * 255, (min(max(height, 1), TALLEST_CELL), CELL_WIDTH)))
    tallest = max((len(cell) for cell in cells), default=1)
    padded = [np.pad(cell, ((0, tallest - len(cell)), (0, 2)), constant_values=128) for cell in cells]
    return SheetRow(name, data_uri(np.hstack(padded)) if padded else "", len(cells))


def _evenly(rows: list[tuple[str, list[str]]], count: int) -> list[tuple[str, list[str]]]:
    if len(rows) <= count:
        return rows
    return [rows[at] for at in np.linspace(0, len(rows) - 1, count).astype(int)]
