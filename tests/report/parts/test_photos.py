import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from known_competitions import CARVANA, SALT

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.report.parts import photos
from kaggle_tools.report.parts.photos import (
    LongTable,
    blank_table,
    coverage_plot,
    coverage_table,
    held_out_table,
    pixels_of,
    with_pixels,
)
from kaggle_tools.results.records.histograms import HeldOut
from kaggle_tools.results.run_folder import BINS

PHOTO = 1000
"""Pixels of each photo."""
KINDS = {
    "both": (90, 10, 30),
    "missed": (0, 200, 0),
    "invented": (0, 0, 5),
    "blank": (0, 0, 0),
    "large": (950, 50, 0),
}
"""True positive, false negative and false positive pixels of each photo."""


def held_out(kinds: dict[str, tuple[int, int, int]]) -> HeldOut:
    """Just at either side of the threshold 0.5."""
    histograms = np.zeros((len(kinds), 2, BINS), dtype=np.int64)
    for of_photo, (right, missed, invented) in zip(histograms, kinds.values(), strict=True):
        of_photo[1, 128], of_photo[1, 127] = right, missed
        of_photo[0, 128], of_photo[0, 127] = invented, PHOTO - right - missed - invented
    return HeldOut(list(kinds), histograms)


def out_of_fold(kinds: dict[str, tuple[int, int, int]], competition: Competition = SALT) -> pd.DataFrame:
    rows = []
    for stem, (right, missed, invented) in kinds.items():
        counts = metrics.Overlap(right, right + invented, right + missed)
        rows.append((stem, 1, float(competition.score(counts)), float(metrics.dice(counts)), stem))
    return pd.DataFrame(rows, columns=["image", "fold", "score", "dice", "group"])


@pytest.fixture
def table() -> pd.DataFrame:
    """The two tables have the photos in different orders."""
    backwards = dict(reversed(KINDS.items()))
    return with_pixels(out_of_fold(KINDS), held_out(backwards))


def test_wrong_pixels_of_a_photo_are_counted_at_the_threshold_one_half(table: pd.DataFrame) -> None:
    kinds = table.set_index("image")[["true_positive", "false_negative", "false_positive"]]
    assert {stem: tuple(kinds.loc[stem].tolist()) for stem in KINDS} == KINDS
    assert table["image"].tolist() == list(KINDS)
    assert table["coverage"].tolist() == [0.1, 0.2, 0, 0, 1]


def test_precision_and_recall_are_those_of_the_pixels_of_all_photos_together(table: pd.DataFrame) -> None:
    pixels = pixels_of(table)
    assert pixels.precision == 1040 / 1075
    assert pixels.recall == 1040 / 1300
    assert (pixels.false_negative, pixels.false_positive) == (260 / 5, 35 / 5)


def test_where_nothing_is_called_foreground_there_is_no_precision_and_without_foreground_no_recall(
    table: pd.DataFrame,
) -> None:
    by_stem = {stem: pixels_of(table[table["image"] == stem]) for stem in KINDS}
    assert (by_stem["missed"].precision, by_stem["missed"].recall) == (None, 0)
    assert (by_stem["invented"].precision, by_stem["invented"].recall) == (0, None)
    assert (by_stem["blank"].precision, by_stem["blank"].recall) == (None, None)


class TestLongTable:
    def test_every_photo_has_a_row_with_its_wrong_pixels_the_worst_first(self, table: pd.DataFrame) -> None:
        found = held_out_table(table, SALT)
        assert [column.heading for column in found.columns] == [
            *("photo", "fold", "mean precision", "Dice", "false negative, px", "false positive, px"),
            *("precision", "recall", "true area, %"),
        ]
        assert found.rows == [
            ["invented", "1", 0, 0, 0, 5, 0, None, 0],
            ["missed", "1", 0, 0, 200, 0, None, 0, 20],
            # IoU 90 / 130 exceeds 0.5, 0.55, 0.6 and 0.65; Dice 180 / 220
            ["both", "1", 0.4, 0.81818, 10, 30, 0.75, 0.9, 10],
            # IoU 0.95 does not exceed 0.95; Dice 1900 / 1950
            ["large", "1", 0.9, 0.97436, 50, 0, 1, 0.95, 100],
            ["blank", "1", 1, 1, 0, 0, None, None, 0],
        ]

    def test_of_too_many_photos_the_worst_have_rows_and_all_are_counted(
        self, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert held_out_table(table, SALT).of == 5
        monkeypatch.setattr(photos, "MOST_ROWS", 2)
        found = held_out_table(table, SALT)
        assert [row[0] for row in found.rows] == ["invented", "missed"]
        assert found.of == 5

    def test_a_score_that_is_the_dice_stands_there_once(self, table: pd.DataFrame) -> None:
        headings = [column.heading for column in held_out_table(table, CARVANA).columns]
        assert headings[:4] == ["photo", "fold", "Dice", "false negative, px"]

    def test_a_name_ends_no_script_and_its_control_characters_are_written_out(self) -> None:
        name = "</script><!--\u202e\"&'"
        data = LongTable([], [[name, None, 0.5]], 1).data
        assert "<" not in data
        assert json.loads(data) == [[name, None, 0.5]]
        kinds = {name: (1, 0, 0)}
        shown = held_out_table(with_pixels(out_of_fold(kinds), held_out(kinds)), SALT)
        assert shown.rows[0][0] == "</script><!--\\u202e\"&'"


class TestBlankPhotos:
    def test_blank_photos_are_counted_by_whether_they_are_masked_blank(self, table: pd.DataFrame) -> None:
        assert blank_table(table, SALT).rows == [
            ["blank", 2, 1, 1, 0.5],
            ["not blank", 3, 1, 2, pytest.approx((0 + 0.4 + 0.9) / 3)],
        ]

    def test_without_blank_photos_their_score_is_not_known(self, table: pd.DataFrame) -> None:
        assert blank_table(table[table["coverage"] > 0], SALT).rows[0] == ["blank", 0, 0, 0, None]

    def test_scores_stand_by_the_area_of_the_true_mask_whose_upper_bounds_belong_to_it(
        self, table: pd.DataFrame
    ) -> None:
        assert coverage_table(table, SALT).rows == [
            ["blank", 2, 0.5, 0, None],
            ["0 to 10 %", 1, 0.4, 0.75, 0.9],
            ["10 to 20 %", 1, 0, None, 0],
            ["90 to 100 %", 1, 0.9, 1, 0.95],
        ]
        assert coverage_plot(table, SALT).title == "Mean precision by coverage"

    def test_areas_of_a_competition_whose_first_class_is_not_blank_are_named_by_their_bound(
        self, table: pd.DataFrame
    ) -> None:
        halves = replace(SALT, coverage_strata=(0.15, 0.5))
        assert [row[:2] for row in coverage_table(table, halves).rows] == [
            ["up to 15 %", 3],
            ["15 to 50 %", 1],
            ["50 to 100 %", 1],
        ]
