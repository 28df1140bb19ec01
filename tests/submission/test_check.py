import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_competitions import CARVANA
from numpy.typing import NDArray
from submission_files import SHAPE, VALID, write_rows, write_sample

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.submission.check import CheckReport, _Tally, check_submission
from kaggle_tools.submission.read import Sample


def check(
    folder: Path, rows: list[tuple[str, ...]], competition: Competition = CARVANA, **options: bool
) -> CheckReport:
    path = write_rows(folder / "submission.csv", rows)
    return check_submission(path, write_sample(folder / "sample.csv"), competition, size_of=lambda _: SHAPE, **options)


@pytest.mark.parametrize(("masks", "step"), [(3, 1), (2000, 1), (4000, 3), (100_064, 51)])
def test_of_many_masks_one_in_an_odd_number_is_looked_at_closely(masks: int, step: int) -> None:
    """About 2,000 of them; views of a car follow each other, and an even step would often look at the same ones."""
    sample = Sample({f"{number}.jpg": str(number) for number in range(masks)}, None, CARVANA.columns)
    assert _Tally(CARVANA, sample, None).step == step


def test_a_valid_csv_passes_in_any_order(tmp_path: Path) -> None:
    assert check(tmp_path, VALID[::-1]) == CheckReport(rows=3, blank=0, placeholder=0, full=0, unbounded=0)


def test_masks_that_are_seldom_meant_are_counted_and_warned_of(tmp_path: Path) -> None:
    report = check(tmp_path, [("b_01.jpg", ""), ("a_02.jpg", "1 1"), ("a_01.jpg", "1 24")])
    assert report == CheckReport(rows=3, blank=1, placeholder=1, full=1, unbounded=0)
    assert report.warnings(CARVANA) == [
        "1 of 3 masks is blank, where every photo has foreground",
        "1 of 3 masks is full, the whole photo being foreground",
        "1 of 3 masks is `1 1`, as in the sample submission",
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("b_01.jpg", "1 25"), r"masks are not valid run lengths \(1\): line 2 \(b_01.jpg\): a run ends at pixel 25"),
        (("b_01.jpg", " "), r"masks are not valid run lengths \(1\): line 2 \(b_01.jpg\): nothing but spaces"),
        (("b_01.jpg", "nan"), r"masks are not valid run lengths \(1\): line 2 \(b_01.jpg\): 'nan' is not a number"),
        (("b_01.jpg", "5 1 1 1"), r"line 2 \(b_01.jpg\): the runs overlap or are not in ascending order"),
        (("b_01.jpg", "1 1", ""), r"rows do not have exactly 2 fields \(1\): line 2 \(3\)"),
        (("b_01.jpg",), r"rows do not have exactly 2 fields \(1\): line 2 \(1\)"),
        ((), r"rows do not have exactly 2 fields \(1\): line 2 \(0\)"),
        (("c_01.jpg", "1 1"), r"ids are not in the sample submission \(1\): line 2 \(c_01.jpg\)"),
        (("b_01", "1 1"), r"ids are not in the sample submission \(1\): line 2 \(b_01\)"),
        (("a_01.jpg", "1 1"), r"ids occur a second time \(1\): line 4 \(a_01.jpg\)"),
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
        "  masks are not valid run lengths (1): line 2 (b_01.jpg): 'x' is not a number",
        "  ids occur a second time (1): line 3 (b_01.jpg)",
        "  ids are not in the sample submission (2): line 4 (c_01.jpg), line 5 (d_01.jpg)",
        "  ids of the sample submission are missing (2): a_02.jpg, a_01.jpg",
    ]


@pytest.mark.parametrize("row", [(), ("b_01.jpg", "1 1"), ("c_01.jpg", "1 1")], ids=["blank", "twice", "unknown"])
def test_rows_that_are_wrong_are_counted_and_not_kept(tmp_path: Path, row: tuple[str, ...]) -> None:
    """A file of half a megabyte may unpack to a hundred million of them."""
    rows = [*VALID, *[row] * 50_000, ("d_01.jpg", "1 1")]
    write_rows(tmp_path / "submission.csv", rows)
    sample = write_sample(tmp_path / "sample.csv")
    tracemalloc.start()
    with pytest.raises(
        InputError, match=r"\(50,00\d\): line 5 \(.*\), line 6 \(.*\), line 7 \(.*\) and 49,99[78] more"
    ):
        check_submission(tmp_path / "submission.csv", sample, CARVANA)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20


def test_blank_masks_are_refused_where_the_competition_has_none(tmp_path: Path) -> None:
    strict = replace(CARVANA, blank_allowed=False)
    with pytest.raises(InputError, match=r"masks are blank, which .* not allow \(1\): line 3 \(a_02\.jpg\)"):
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
    assert report.warnings(CARVANA) == ["all 3 masks are not held against the photo size, which is not known"]


def test_the_sample_submission_itself_is_refused_unless_forced(tmp_path: Path) -> None:
    rows = [(photo_id, "1 1") for photo_id, _ in VALID]
    with pytest.raises(InputError, match="all 3 masks are as in the sample submission; if this is meant, use --force"):
        check(tmp_path, rows)
    assert check(tmp_path, rows, allow_degenerate=True).placeholder == 3


def test_whatever_all_rows_of_the_sample_hold_is_its_placeholder(tmp_path: Path) -> None:
    sample = write_rows(tmp_path / "sample.csv", [(photo_id, "2 3") for photo_id, _ in VALID])
    path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "2 3")])
    report = check_submission(path, sample, CARVANA, size_of=lambda _: SHAPE)
    assert report.warnings(CARVANA) == ["1 of 3 masks is `2 3`, as in the sample submission"]
    with pytest.raises(InputError, match="all 3 masks are as in the sample"):
        check_submission(sample, sample, CARVANA, size_of=lambda _: SHAPE)


def test_a_list_of_ids_with_masks_that_differ_has_no_placeholder(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", VALID)
    assert check_submission(path, path, CARVANA, size_of=lambda _: SHAPE).placeholder == 0


def test_test_photos_that_the_sample_does_not_list_are_named(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for name in ("b_01.jpg", "a_02.jpg", "c_02.jpg", "c_01.jpg", ".c_03.jpg", "notes.txt"):
        (tmp_path / "test" / name).touch()
    path, sample = write_rows(tmp_path / "submission.csv", VALID), write_sample(tmp_path / "sample.csv")
    report = check_submission(path, sample, CARVANA, data=tmp_path)
    assert report.unlisted == ("c_01", "c_02")
    assert report.warnings(CARVANA) == ["2 test photos are not in the sample submission: c_01, c_02"]


def test_classes_that_the_sample_does_not_list_are_named(tmp_path: Path) -> None:
    """Of a photo that it does not list at all too, where that is in the data; without the data that is not known."""
    spec = replace(CARVANA, classes=("1", "2"), class_column="kind")
    (tmp_path / "test").mkdir()
    for name in ("a_01.jpg", "b_01.jpg", "c_01.jpg"):
        (tmp_path / "test" / name).touch()
    path = tmp_path / "sample.csv"
    path.write_text("img,kind,rle_mask\na_01.jpg,1,1 1\na_01.jpg,2,1 2\nb_01.jpg,2,1 1\n")
    report = check_submission(path, path, spec, size_of=lambda _: SHAPE, data=tmp_path)
    assert report.unlisted == ("b_01_1", "c_01_1", "c_01_2")
    assert report.warnings(spec) == ["3 masks of test photos are not in the sample submission: b_01_1, c_01_1, c_01_2"]
    report = check_submission(path, path, spec, size_of=lambda _: SHAPE)
    assert report.warnings(spec) == ["1 mask of a test photo is not in the sample submission: b_01_1"]


@pytest.mark.parametrize(("row", "fields"), [("a_01.jpg,1", 2), ("a_01.jpg", 1), ("a_01.jpg,1,1 1,", 4)])
def test_where_a_column_holds_the_class_the_fields_of_a_row_are_counted_as_they_are(
    tmp_path: Path, row: str, fields: int
) -> None:
    spec = replace(CARVANA, classes=("1", "2"), class_column="kind")
    path, sample = tmp_path / "submission.csv", tmp_path / "sample.csv"
    sample.write_text("kind,img,rle_mask\n1,a_01.jpg,1 1\n2,a_01.jpg,1 1\n")
    path.write_text(f"img,kind,rle_mask\na_01.jpg,2,1 1\n{row}\n")
    with pytest.raises(InputError, match=rf"rows do not have exactly 3 fields \(1\): line 3 \({fields}\)"):
        check_submission(path, sample, spec, size_of=lambda _: SHAPE)


def test_a_row_of_a_class_is_named_with_it(tmp_path: Path) -> None:
    spec = replace(CARVANA, classes=("1", "2"), class_column="kind")
    path = tmp_path / "submission.csv"
    path.write_text("img,kind,rle_mask\na_01.jpg,1,1 1\na_01.jpg,1,1 1\n")
    (tmp_path / "sample.csv").write_text("img,kind,rle_mask\na_01.jpg,1,1 1\n")
    with pytest.raises(InputError, match=r"ids occur a second time \(1\): line 3 \(a_01.jpg,1\)"):
        check_submission(path, tmp_path / "sample.csv", spec, size_of=lambda _: SHAPE)


class TestNumberingOfPixels:
    SIZE = (61, 97)

    def masks(self) -> list[NDArray[np.bool_]]:
        """Twelve discs that touch the left side, the right side, or none."""
        rows, columns = np.indices(self.SIZE)
        centres = [(20 + 2 * number, (12, 48, 85)[number % 3]) for number in range(12)]
        return [(rows - y) ** 2 + (columns - x) ** 2 < 16**2 for y, x in centres]

    def warnings(self, folder: Path, competition: Competition, order: rle.Order, first: int) -> list[str]:
        """Of a CSV that numbers the pixels in this way."""
        ids = [f"a_{number:02}.jpg" for number in range(12)]
        encoded = [rle.encode(mask, order, first) for mask in self.masks()]
        path = write_rows(folder / "submission.csv", list(zip(ids, encoded, strict=True)))
        sample = write_sample(folder / "sample.csv", [photo_id[:-4] for photo_id in ids])
        return check_submission(path, sample, competition, size_of=lambda _: self.SIZE).warnings(competition)

    @pytest.mark.parametrize("order", ["row-major", "column-major"])
    @pytest.mark.parametrize("first", [0, 1])
    def test_the_competitions_own_numbering_passes_without_a_word(
        self, tmp_path: Path, order: rle.Order, first: int
    ) -> None:
        assert self.warnings(tmp_path, replace(CARVANA, rle_order=order, rle_first=first), order, first) == []

    @pytest.mark.parametrize(
        ("order", "other", "question"),
        [
            ("row-major", "column-major", r"cross the end of a row, .*: are the pixels numbered column by column\?"),
            ("column-major", "row-major", r"cross the end of a column, .*: are the pixels numbered row by row\?"),
        ],
    )
    def test_the_other_order_is_warned_of(
        self, tmp_path: Path, order: rle.Order, other: rle.Order, question: str
    ) -> None:
        (warning,) = self.warnings(tmp_path, replace(CARVANA, rle_order=order), other, 1)
        assert re.search(question, warning)

    @pytest.mark.parametrize(
        ("meant", "first", "question"),
        [
            (1, 0, "begin with the last pixel of a row: are the pixels numbered one too low, as from 0 instead of 1"),
            (0, 1, "end with the first pixel of a row: are the pixels numbered one too high, as from 1 instead of 0"),
        ],
    )
    def test_another_number_of_the_first_pixel_is_warned_of(
        self, tmp_path: Path, meant: int, first: int, question: str
    ) -> None:
        (warning,) = self.warnings(tmp_path, replace(CARVANA, rle_first=meant), "row-major", first)
        assert question in warning
