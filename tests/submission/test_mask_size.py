"""Masks at the size that a competition wants in its CSV."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_competitions import CARVANA
from submission_files import rows_of, write_rows

from kaggle_tools.data.images import write_mask
from kaggle_tools.errors import InputError
from kaggle_tools.submission.check import check_submission
from kaggle_tools.submission.mask_size import as_submitted
from kaggle_tools.submission.score import score_submission
from kaggle_tools.submission.write import write_checked

SMALL = replace(CARVANA, mask_size=(2, 3), photo_size=(4, 6))
MASK = np.array(
    [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [0, 0, 1, 1, 0, 1],
        [1, 0, 1, 0, 1, 1],
    ],
    dtype=bool,
)
"""Of the four pixels that fall together 4, 2 and 1 are set above, and 1, 3 and 3 below."""
SHRUNK = [[True, True, False], [False, True, True]]


def test_a_smaller_mask_has_foreground_where_at_least_half_of_a_pixel_has() -> None:
    small_HW = as_submitted(MASK, SMALL)
    assert small_HW.tolist() == SHRUNK
    assert small_HW.dtype == bool


def test_a_pixel_of_which_less_than_half_is_covered_is_background_also_where_sizes_are_no_multiples() -> None:
    mask_HW = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 1]], dtype=bool)
    # Each pixel is 1.5 x 1.5 = 2.25 old ones, of which 1.5 and 1 are set above, 2 and 1.5 below.
    assert as_submitted(mask_HW, replace(CARVANA, mask_size=(2, 2))).tolist() == [[True, False], [True, True]]


def test_a_larger_mask_has_the_same_outline() -> None:
    mask_HW = np.array([[1, 0], [1, 0]], dtype=bool)
    assert as_submitted(mask_HW, replace(CARVANA, mask_size=(4, 4))).tolist() == [[True, True, False, False]] * 4


def test_a_mask_stays_as_it_is_where_it_has_the_size_or_none_is_wanted() -> None:
    assert as_submitted(MASK, CARVANA) is MASK
    assert as_submitted(MASK, replace(CARVANA, mask_size=(4, 6))) is MASK


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Masks of the photos' size, and a sample submission that lists them."""
    write_mask(tmp_path / "masks" / "a_01.png", MASK)
    write_mask(tmp_path / "masks" / "a_02.png", np.zeros_like(MASK))
    write_rows(tmp_path / "sample.csv", [("a_01.jpg", "1 1"), ("a_02.jpg", "1 1")])
    return tmp_path


def test_masks_of_the_photos_size_are_written_and_checked_at_the_size_that_is_wanted(folder: Path) -> None:
    written = write_checked(folder / "masks", folder / "sample.csv", folder / "out.csv", SMALL)
    assert rows_of(folder / "out.csv")[1:] == [["a_01.jpg", "1 2 5 2"], ["a_02.jpg", ""]]
    assert (written.report.blank, written.report.unbounded) == (1, 0)


def test_a_mask_must_still_have_its_photos_size(folder: Path) -> None:
    write_mask(folder / "masks" / "a_02.png", np.zeros((2, 3), dtype=bool))
    with pytest.raises(InputError, match=r"a_02\.png \(is 3x2, its photo 6x4\)"):
        write_checked(folder / "masks", folder / "sample.csv", folder / "out.csv", SMALL)


def test_a_run_beyond_the_size_that_is_wanted_is_refused_though_the_photo_is_larger(folder: Path) -> None:
    path = write_rows(folder / "out.csv", [("a_01.jpg", "5 3"), ("a_02.jpg", "1 6")])
    with pytest.raises(InputError, match=r"a_01\.jpg\): a run ends at pixel 7, but the last one is 6"):
        check_submission(path, folder / "sample.csv", SMALL, size_of=lambda _: (4, 6))
    write_rows(path, [("a_01.jpg", "5 2"), ("a_02.jpg", "1 6")])
    assert check_submission(path, folder / "sample.csv", SMALL, size_of=lambda _: (4, 6)).full == 1


def test_true_masks_are_scored_at_the_size_that_is_wanted(folder: Path) -> None:
    path = write_rows(folder / "out.csv", [("a_01.jpg", "1 2"), ("a_02.jpg", "")])
    table = score_submission(path, folder / "masks", SMALL).table
    assert table["dice"].tolist() == pytest.approx([2 * 2 / (2 + 4), 1])
    truth = write_rows(folder / "truth.csv", [("a_01.jpg", "1 2 5 2"), ("a_02.jpg", "")])
    assert score_submission(path, truth, SMALL).table.equals(table)


def test_neither_a_submitted_nor_a_true_mask_may_reach_beyond_the_size_that_is_wanted(folder: Path) -> None:
    beyond = write_rows(folder / "out.csv", [("a_01.jpg", "6 2")])
    within = write_rows(folder / "truth.csv", [("a_01.jpg", "6 1")])
    for submitted, truth in ((beyond, within), (within, beyond)):
        with pytest.raises(InputError, match=r"out\.csv, a_01\.jpg: a run ends at pixel 7, but the last one is 6"):
            score_submission(submitted, truth, SMALL)
