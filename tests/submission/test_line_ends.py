from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools import rle
from kaggle_tools.data.images import read_mask
from kaggle_tools.submission.line_ends import LineEnds


def runs_of(*pairs: tuple[int, int]) -> rle.Runs:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def looked_at(masks: list[NDArray[np.bool_]], order: rle.Order, written: rle.Order, shift: int = 0) -> LineEnds:
    """What the runs of masks say that are written in another order, or shifted by a pixel."""
    line_ends = LineEnds(order)
    for mask_HW in masks:
        runs = rle.find_runs(mask_HW, written)
        runs[:, 0] += shift
        line_ends = line_ends.with_mask(runs[runs[:, 0] >= 0], *mask_HW.shape)
    return line_ends


def test_the_runs_at_the_ends_of_lines_are_counted() -> None:
    """Rows of 6 pixels, columns of 4: 0 1 2 3 4 5 | 6 7 8 9 10 11 | 12 …"""
    line_ends = LineEnds("row-major").with_mask(runs_of((0, 2), (3, 3), (11, 3), (16, 3), (22, 2)), 4, 6)
    assert line_ends == LineEnds(
        "row-major",
        runs=5,
        crossing=2,  # 11 to 13, and 16 to 18
        crossing_other=2,  # 3 to 5, and 11 to 13
        begin_at=1,  # 0
        begin_before=1,  # 11
        end_at=2,  # 5 and 23
        end_behind=1,  # 18
    )


def test_a_run_that_goes_on_for_a_whole_line_and_ends_with_it_does_not_end_behind_it() -> None:
    line_ends = LineEnds("row-major").with_mask(runs_of((4, 8)), 4, 6)
    assert (line_ends.crossing, line_ends.end_at, line_ends.end_behind) == (1, 1, 0)


def test_in_column_major_order_the_lines_are_columns() -> None:
    line_ends = LineEnds("column-major").with_mask(runs_of((3, 2)), 4, 6)
    assert (line_ends.crossing, line_ends.crossing_other) == (1, 0)


@pytest.mark.parametrize("crossing", [9, 10])
def test_a_few_runs_that_cross_may_be_chance(crossing: int) -> None:
    assert bool(LineEnds("row-major", runs=20, crossing=crossing).warnings()) == (crossing == 10)


def test_a_few_crossing_runs_among_many_are_usual() -> None:
    assert LineEnds("row-major", runs=1000, crossing=50).warnings() == []
    assert len(LineEnds("row-major", runs=1000, crossing=51).warnings()) == 1


def test_where_as_many_runs_would_cross_in_the_other_order_it_is_not_blamed() -> None:
    assert LineEnds("row-major", runs=100, crossing=40, crossing_other=10).warnings() == []
    assert len(LineEnds("row-major", runs=100, crossing=41, crossing_other=10).warnings()) == 1


class TestRealMasks:
    def cars(self, carvana: Path) -> list[NDArray[np.bool_]]:
        return [read_mask(path) for path in sorted((carvana / "train_masks").iterdir())[:16]]

    def salt(self, carvana: Path) -> list[NDArray[np.bool_]]:
        return [read_mask(path) for path in sorted((carvana.parent / "salt/train/masks").iterdir())[:100]]

    def test_real_masks_in_the_right_order_give_no_warning(self, carvana_photos: Path) -> None:
        assert looked_at(self.cars(carvana_photos), "row-major", "row-major").warnings() == []
        assert looked_at(self.salt(carvana_photos), "column-major", "column-major").warnings() == []

    def test_cars_in_the_wrong_order_cross_the_ends_of_rows_in_a_fifth_of_their_runs(
        self, carvana_photos: Path
    ) -> None:
        line_ends = looked_at(self.cars(carvana_photos), "row-major", "column-major")
        assert line_ends.crossing / line_ends.runs == pytest.approx(0.2, abs=0.05)
        assert "column by column" in line_ends.warnings()[0]

    @pytest.mark.parametrize(("shift", "what"), [(-1, "too low"), (1, "too high")])
    def test_salt_that_is_shifted_by_a_pixel_is_noticed(self, carvana_photos: Path, shift: int, what: str) -> None:
        assert what in looked_at(self.salt(carvana_photos), "column-major", "column-major", shift).warnings()[0]


def test_of_very_many_runs_only_the_first_are_looked_at() -> None:
    mask = runs_of(*[(12 * row, 8) for row in range(1000)])
    line_ends = LineEnds("row-major")
    for _ in range(1001):
        line_ends = line_ends.with_mask(mask, 1000, 12)
    assert line_ends.runs == 1_000_000
