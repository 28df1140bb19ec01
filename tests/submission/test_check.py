from dataclasses import replace
from pathlib import Path

import pytest
from submission_files import SHAPE, VALID, write_rows, write_sample

from kaggle_tools.competition import CARVANA, Competition
from kaggle_tools.errors import InputError
from kaggle_tools.submission.check import CheckReport, check_submission


def check(
    folder: Path, rows: list[tuple[str, ...]], competition: Competition = CARVANA, **options: bool
) -> CheckReport:
    path = write_rows(folder / "submission.csv", rows)
    return check_submission(path, write_sample(folder / "sample.csv"), competition, size_of=lambda _: SHAPE, **options)


def test_a_valid_csv_passes_in_any_order(tmp_path: Path) -> None:
    assert check(tmp_path, VALID[::-1]) == CheckReport(rows=3, blank=0, placeholder=0, full=0, unbounded=0)


def test_masks_that_are_seldom_meant_are_counted_and_warned_of(tmp_path: Path) -> None:
    report = check(tmp_path, [("b_01.jpg", ""), ("a_02.jpg", "1 1"), ("a_01.jpg", "1 24")])
    assert report == CheckReport(rows=3, blank=1, placeholder=1, full=1, unbounded=0)
    assert report.warnings() == [
        "1 of 3 masks are blank",
        "1 of 3 masks are `1 1`, as in the sample submission",
        "1 of 3 masks cover their whole photo",
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("b_01.jpg", "1 25"), r"1 masks are not valid run lengths: line 2 \(b_01.jpg\): a run ends at pixel 25"),
        (("b_01.jpg", " "), r"1 masks are not valid run lengths: line 2 \(b_01.jpg\): nothing but spaces"),
        (("b_01.jpg", "nan"), r"1 masks are not valid run lengths: line 2 \(b_01.jpg\): 'nan' is not a number"),
        (("b_01.jpg", "5 1 1 1"), r"line 2 \(b_01.jpg\): the runs overlap or are not in ascending order"),
        (("b_01.jpg", "1 1", ""), r"1 rows do not have exactly two fields: line 2 \(3\)"),
        (("b_01.jpg",), r"1 rows do not have exactly two fields: line 2 \(1\)"),
        ((), r"1 rows do not have exactly two fields: line 2 \(0\)"),
        (("c_01.jpg", "1 1"), r"1 ids are not in the sample submission: line 2 \(c_01.jpg\)"),
        (("b_01", "1 1"), r"1 ids are not in the sample submission: line 2 \(b_01\)"),
        (("a_01.jpg", "1 1"), r"1 ids occur a second time: line 4 \(a_01.jpg\)"),
    ],
)
def test_a_row_that_kaggle_would_refuse_is_named_with_its_line(
    tmp_path: Path, row: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        check(tmp_path, [row, *VALID[1:]])


def test_all_faults_of_a_submission_come_in_one_message(tmp_path: Path) -> None:
    rows = [("b_01.jpg", "x"), ("b_01.jpg", "1 2"), ("c_01.jpg", "1 1"), ("d_01.jpg", "1 1")]
    with pytest.raises(InputError) as caught:
        check(tmp_path, rows)
    assert str(caught.value).splitlines()[1:] == [
        "  1 masks are not valid run lengths: line 2 (b_01.jpg): 'x' is not a number",
        "  1 ids occur a second time: line 3 (b_01.jpg)",
        "  2 ids are not in the sample submission: line 4 (c_01.jpg), line 5 (d_01.jpg)",
        "  2 ids of the sample submission are missing: a_02.jpg, a_01.jpg",
    ]


def test_blank_masks_are_refused_where_the_competition_has_none(tmp_path: Path) -> None:
    strict = replace(CARVANA, blank_allowed=False)
    with pytest.raises(InputError, match=r"1 masks are blank, which .* not allow: line 3 \(a_02\.jpg\)"):
        check(tmp_path, [VALID[0], ("a_02.jpg", ""), VALID[2]], strict)


def test_a_competition_may_have_its_own_word_for_a_blank_mask(tmp_path: Path) -> None:
    assert check(tmp_path, [*VALID[:2], ("a_01.jpg", "-1")], replace(CARVANA, blank_mask="-1")).blank == 1


@pytest.mark.parametrize(("text", "state"), [("", "blank"), ("1 24", "full")])
def test_a_csv_of_only_full_or_only_blank_masks_is_refused_unless_forced(tmp_path: Path, text: str, state: str) -> None:
    rows = [(photo_id, text) for photo_id, _ in VALID]
    with pytest.raises(InputError, match=f"all 3 masks are {state}; if this is meant, use --force"):
        check(tmp_path, rows)
    assert check(tmp_path, rows, allow_degenerate=True).rows == 3


def test_without_photos_masks_must_fit_the_competitions_usual_size(tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "sample.csv")
    path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "2455040 1")])
    assert check_submission(path, sample, CARVANA).unbounded == 0
    write_rows(path, [*VALID[:2], ("a_01.jpg", "2455040 2")])
    with pytest.raises(InputError, match="a run ends at pixel 2455041, but the last one is 2455040"):
        check_submission(path, sample, CARVANA)


def test_masks_of_photos_of_unknown_size_are_counted_and_warned_of(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "2455040 2")])
    report = check_submission(path, write_sample(tmp_path / "sample.csv"), replace(CARVANA, photo_size=None))
    assert report.unbounded == 3
    assert report.warnings() == ["3 of 3 masks could reach beyond the end of their photo, whose size is not known"]
