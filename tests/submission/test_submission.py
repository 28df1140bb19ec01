import csv
import gzip
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools import rle
from kaggle_tools.competition import CARVANA, Competition
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.errors import InputError
from kaggle_tools.submission.check import CheckReport, check_submission
from kaggle_tools.submission.score import score_submission
from kaggle_tools.submission.write import compress, size_of_photos, write_submission

STEMS = ["b_01", "a_02", "a_01"]
SHAPE = (4, 6)


def draw_masks(folder: Path, stems: list[str], shape: tuple[int, int] = SHAPE) -> dict[str, NDArray[np.bool_]]:
    generator = np.random.default_rng(0)
    masks = {stem: generator.random(shape) < 0.5 for stem in stems}
    for stem, mask in masks.items():
        write_mask(folder / f"{stem}.png", mask)
    return masks


def write_rows(path: Path, rows: list[tuple[str, ...]], header: str = "img,rle_mask") -> Path:
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


def write_sample(path: Path, stems: list[str] = STEMS) -> Path:
    return write_rows(path, [(f"{stem}.jpg", "1 1") for stem in stems])


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


class TestWriting:
    def test_rows_stand_in_the_samples_order_and_hold_the_masks(self, tmp_path: Path) -> None:
        masks = draw_masks(tmp_path / "masks", STEMS)
        destination = tmp_path / "submission.csv"
        sizes = write_submission(tmp_path / "masks", write_sample(tmp_path / "sample.csv"), destination, CARVANA)
        header, *rows = rows_of(destination)
        assert header == ["img", "rle_mask"]
        assert [photo_id for photo_id, _ in rows] == ["b_01.jpg", "a_02.jpg", "a_01.jpg"]
        for (_, text), stem in zip(rows, STEMS, strict=True):
            assert np.array_equal(rle.decode(text, SHAPE), masks[stem])
        assert sizes == dict.fromkeys(STEMS, SHAPE)

    def test_several_processes_write_the_same_file_as_one(self, tmp_path: Path) -> None:
        stems = [f"a_{number:03}" for number in range(300)]
        draw_masks(tmp_path / "masks", stems)
        sample = write_sample(tmp_path / "sample.csv", stems)
        for workers in (1, 2):
            write_submission(tmp_path / "masks", sample, tmp_path / f"{workers}.csv", CARVANA, workers=workers)
        assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
        assert len(rows_of(tmp_path / "2.csv")) == 301

    def test_a_competition_with_other_conventions_gets_its_own(self, tmp_path: Path, tiles: Competition) -> None:
        write_mask(tmp_path / "t1.png", np.array([[1, 0], [1, 1]], dtype=bool))
        write_mask(tmp_path / "t2.png", np.zeros((2, 2), dtype=bool))
        sample = write_rows(tmp_path / "sample.csv", [("t1", "1 1"), ("t2", "1 1")], header="id,pixels")
        write_submission(tmp_path, sample, tmp_path / "out.csv", tiles)
        assert rows_of(tmp_path / "out.csv") == [["id", "pixels"], ["t1", "0 2 3 1"], ["t2", "-1"]]

    def test_missing_masks_are_counted_and_named_before_anything_is_encoded(self, tmp_path: Path) -> None:
        (tmp_path / "masks").mkdir()
        (tmp_path / "masks" / "a_02.png").write_bytes(b"is not read")
        with pytest.raises(InputError, match=r"2 of 3 masks are missing: b_01\.png, a_01\.png; run infer\.py"):
            write_submission(
                tmp_path / "masks", write_sample(tmp_path / "sample.csv"), tmp_path / "submission.csv", CARVANA
            )

    @pytest.mark.parametrize("bytes_kept", [0, 30, 80])
    def test_an_unreadable_mask_is_named_and_leaves_no_file(self, tmp_path: Path, bytes_kept: int) -> None:
        draw_masks(tmp_path / "masks", STEMS, shape=(50, 60))
        damaged = tmp_path / "masks" / "a_02.png"
        damaged.write_bytes(damaged.read_bytes()[:bytes_kept])
        (tmp_path / "out").mkdir()
        with pytest.raises(InputError, match=r"1 of 3 masks cannot be used: .*a_02\.png: not a mask"):
            write_submission(
                tmp_path / "masks", write_sample(tmp_path / "sample.csv"), tmp_path / "out" / "x.csv", CARVANA
            )
        assert list((tmp_path / "out").iterdir()) == []

    def test_a_mask_must_have_its_photos_size(self, tmp_path: Path) -> None:
        draw_masks(tmp_path / "masks", STEMS)
        (tmp_path / "test").mkdir()
        for stem, size in (("b_01", (6, 4)), ("a_02", (4, 6))):  # the third photo is not at hand
            Image.new("RGB", size).save(tmp_path / "test" / f"{stem}.jpg")
        with pytest.raises(InputError, match=r"1 of 3 masks cannot be used: a_02\.png \(is 6x4, its photo 4x6\)"):
            write_submission(
                tmp_path / "masks",
                write_sample(tmp_path / "sample.csv"),
                tmp_path / "submission.csv",
                CARVANA,
                size_of=size_of_photos(tmp_path, CARVANA.test_photos),
            )

    def test_a_failure_leaves_the_former_csv_as_it_was(self, tmp_path: Path) -> None:
        draw_masks(tmp_path / "masks", STEMS)
        (tmp_path / "masks" / "a_01.png").write_bytes(b"")
        destination = tmp_path / "submission.csv"
        destination.write_text("of yesterday")
        with pytest.raises(InputError):
            write_submission(tmp_path / "masks", write_sample(tmp_path / "sample.csv"), destination, CARVANA)
        assert destination.read_text() == "of yesterday"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                "id,rle_mask\na_01.jpg,1 1\n",
                "the header is 'id,rle_mask', but Carvana Image Masking wants 'img,rle_mask'. For another competition",
            ),
            ("", "the header is ''"),
            ("img,rle_mask\n", "no rows below the header"),
            ("img,rle_mask\na_01.jpg,1 1\na_01.jpg,1 1\n", r"line 3: 'a_01\.jpg' for the second time"),
            ("img,rle_mask\na_01.jpg\n", "line 2: 1 fields, but there must be two"),
            ("img,rle_mask\na_01,1 1\n", r"line 2: 'a_01' is not of the form \{stem\}\.jpg"),
        ],
    )
    def test_what_is_not_the_competitions_sample_is_refused(self, tmp_path: Path, content: str, message: str) -> None:
        sample = tmp_path / "sample.csv"
        sample.write_text(content)
        with pytest.raises(InputError, match=message):
            write_submission(tmp_path, sample, tmp_path / "submission.csv", CARVANA)

    def test_missing_inputs_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"sample\.csv: no such file"):
            write_submission(tmp_path, tmp_path / "sample.csv", tmp_path / "submission.csv", CARVANA)
        sample = write_sample(tmp_path / "sample.csv")
        with pytest.raises(InputError, match=r"masks: no such folder; infer\.py writes it"):
            write_submission(tmp_path / "masks", sample, tmp_path / "submission.csv", CARVANA)


VALID = [("b_01.jpg", "1 2 5 1"), ("a_02.jpg", "24 1"), ("a_01.jpg", "3 3")]


def check(
    folder: Path, rows: list[tuple[str, ...]], competition: Competition = CARVANA, **options: bool
) -> CheckReport:
    path = write_rows(folder / "submission.csv", rows)
    return check_submission(path, write_sample(folder / "sample.csv"), competition, size_of=lambda _: SHAPE, **options)


class TestChecking:
    def test_a_valid_csv_passes_in_any_order(self, tmp_path: Path) -> None:
        assert check(tmp_path, VALID[::-1]) == CheckReport(rows=3, blank=0, placeholder=0, full=0, unbounded=0)

    def test_what_is_seldom_meant_is_counted_and_warned_of(self, tmp_path: Path) -> None:
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
    def test_a_fault_is_named_with_its_line(self, tmp_path: Path, row: tuple[str, ...], problem: str) -> None:
        with pytest.raises(InputError, match=problem):
            check(tmp_path, [row, *VALID[1:]])

    def test_all_faults_of_all_kinds_come_in_one_message(self, tmp_path: Path) -> None:
        rows = [("b_01.jpg", "x"), ("b_01.jpg", "1 2"), ("c_01.jpg", "1 1"), ("d_01.jpg", "1 1")]
        with pytest.raises(InputError) as caught:
            check(tmp_path, rows)
        assert str(caught.value).splitlines()[1:] == [
            "  1 masks are not valid run lengths: line 2 (b_01.jpg): 'x' is not a number",
            "  1 ids occur a second time: line 3 (b_01.jpg)",
            "  2 ids are not in the sample submission: line 4 (c_01.jpg), line 5 (d_01.jpg)",
            "  2 ids of the sample submission are missing: a_02.jpg, a_01.jpg",
        ]

    @pytest.mark.parametrize(
        "header", ["img,rle", "rle_mask,img", "img,rle_mask,", "b_01.jpg,1 1", "\ufeffimg,rle_mask"]
    )
    def test_the_header_must_be_exact(self, tmp_path: Path, header: str) -> None:
        path = write_rows(tmp_path / "submission.csv", VALID, header=header)
        with pytest.raises(InputError, match="wants 'img,rle_mask'"):
            check_submission(path, write_sample(tmp_path / "sample.csv"), CARVANA)

    def test_blank_masks_are_refused_where_the_competition_has_none(self, tmp_path: Path) -> None:
        strict = replace(CARVANA, blank_allowed=False)
        with pytest.raises(InputError, match=r"1 masks are blank, which .* not allow: line 3 \(a_02\.jpg\)"):
            check(tmp_path, [VALID[0], ("a_02.jpg", ""), VALID[2]], strict)

    def test_a_blank_mask_may_have_a_word_of_its_own(self, tmp_path: Path) -> None:
        assert check(tmp_path, [*VALID[:2], ("a_01.jpg", "-1")], replace(CARVANA, blank_mask="-1")).blank == 1

    @pytest.mark.parametrize(("text", "state"), [("", "blank"), ("1 24", "full")])
    def test_all_masks_alike_are_refused_unless_forced(self, tmp_path: Path, text: str, state: str) -> None:
        rows = [(photo_id, text) for photo_id, _ in VALID]
        with pytest.raises(InputError, match=f"all 3 masks are {state}; if this is meant, use --force"):
            check(tmp_path, rows)
        assert check(tmp_path, rows, allow_degenerate=True).rows == 3

    def test_without_photos_the_competitions_size_counts(self, tmp_path: Path) -> None:
        sample = write_sample(tmp_path / "sample.csv")
        path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "2455040 1")])
        assert check_submission(path, sample, CARVANA).unbounded == 0
        write_rows(path, [*VALID[:2], ("a_01.jpg", "2455040 2")])
        with pytest.raises(InputError, match="a run ends at pixel 2455041, but the last one is 2455040"):
            check_submission(path, sample, CARVANA)

    def test_where_no_size_is_known_the_report_says_so(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", "2455040 2")])
        report = check_submission(path, write_sample(tmp_path / "sample.csv"), replace(CARVANA, photo_size=None))
        assert report.unbounded == 3
        assert report.warnings() == ["3 of 3 masks could reach beyond the end of their photo, whose size is not known"]

    def test_compressed_files_are_read(self, tmp_path: Path) -> None:
        sample = write_sample(tmp_path / "sample.csv")
        path = write_rows(tmp_path / "submission.csv", VALID)
        with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
            archive.write(path, "anything.csv")
        for packed in (compress(path), tmp_path / "submission.zip"):
            assert check_submission(packed, sample, CARVANA).rows == 3

    def test_damaged_files_are_refused(self, tmp_path: Path) -> None:
        sample = write_sample(tmp_path / "sample.csv")
        whole = compress(write_rows(tmp_path / "submission.csv", VALID)).read_bytes()
        contents = {
            "cut.csv.gz": whole[:-12],
            "changed.csv.gz": whole[:10] + b"\xff" + whole[11:],
            "wrong.csv.gz": whole[:-8] + bytes(4) + whole[-4:],
            "other.csv.gz": b"img,rle_mask\n",
            "other.zip": b"img,rle_mask\n",
            "other.csv": whole,
            "quote.csv": b'img,rle_mask\n"b_01.jpg,1 1\n',
        }
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=f"{name}: cannot be read as a CSV"):
                check_submission(tmp_path / name, sample, CARVANA)

    def test_an_archive_must_hold_one_file(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
            archive.writestr("a.csv", "")
            archive.writestr("b.csv", "")
        with pytest.raises(InputError, match=r"two\.zip: 2 files in it, but there must be one"):
            check_submission(tmp_path / "two.zip", write_sample(tmp_path / "sample.csv"), CARVANA)

    def test_a_mask_of_many_runs_is_not_too_long_for_a_field(self, tmp_path: Path) -> None:
        dots = rle.encode(np.indices((300, 400)).sum(axis=0) % 2 == 0)
        assert len(dots) > 1 << 18
        path = write_rows(tmp_path / "submission.csv", [*VALID[:2], ("a_01.jpg", dots)])
        assert check_submission(path, write_sample(tmp_path / "sample.csv"), CARVANA).rows == 3


def test_compressing_gives_the_same_bytes_at_any_time_and_under_any_name(tmp_path: Path) -> None:
    content = b"img,rle_mask\n" * 1000
    packed = []
    for name in ("one.csv", "other.csv"):
        (tmp_path / name).write_bytes(content)
        packed.append(compress(tmp_path / name).read_bytes())
        time.sleep(1.1)  # gzip notes the time in seconds unless told otherwise
    assert packed[0] == packed[1]
    assert gzip.decompress(packed[0]) == content


class TestScoring:
    SUBMITTED = (("b_01.jpg", "1 4"), ("a_02.jpg", ""), ("a_01.jpg", "1 24"))
    TRUTH = (("a_01.jpg", "1 6"), ("b_01.jpg", "3 4"))

    def test_each_photo_with_a_truth_is_scored(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "submission.csv", list(self.SUBMITTED))
        table = score_submission(path, write_rows(tmp_path / "truth.csv", list(self.TRUTH)), CARVANA)
        assert table.columns.tolist() == ["image", "score", "dice", "iou"]
        assert table["image"].tolist() == ["b_01", "a_01"]
        assert table["dice"].tolist() == pytest.approx([4 / 8, 12 / 30])
        assert table["iou"].tolist() == pytest.approx([2 / 6, 6 / 24])
        assert table["score"].tolist() == table["dice"].tolist()
        assert table.attrs["unscored"] == 1

    @pytest.mark.parametrize("pattern", ["{stem}_mask.gif", "{stem}.png"])
    def test_a_folder_of_masks_is_as_good_as_a_csv(self, tmp_path: Path, pattern: str) -> None:
        path = write_rows(tmp_path / "submission.csv", list(self.SUBMITTED))
        truth = write_rows(tmp_path / "truth.csv", list(self.TRUTH))
        (tmp_path / "masks").mkdir()
        (tmp_path / "masks" / ("._" + pattern)).touch()
        for photo_id, text in self.TRUTH:
            mask_file = tmp_path / "masks" / pattern.format(stem=CARVANA.stem_of(photo_id))
            Image.fromarray(rle.decode(text, SHAPE)).save(mask_file)
        by_file = score_submission(path, tmp_path / "masks", CARVANA)
        assert by_file.equals(score_submission(path, truth, CARVANA))

    def test_columns_first_are_scored_alike(self, tmp_path: Path, tiles: Competition) -> None:
        truth, predicted = draw_masks(tmp_path / "masks", ["t1", "t2"]).values()
        path = tmp_path / "submission.csv"
        write_rows(path, [("t1", rle.encode(predicted, "column-major", 0)), ("t2", "-1")], header="id,pixels")
        table = score_submission(path, tmp_path / "masks", tiles)
        expected = np.count_nonzero(truth & predicted) / np.count_nonzero(truth | predicted)
        assert table["score"].tolist() == pytest.approx([expected, 0])

    def test_photos_with_a_truth_must_be_submitted(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "submission.csv", [self.SUBMITTED[0]])
        with pytest.raises(InputError, match=r"1 photos of .*truth\.csv are missing: a_01\.jpg"):
            score_submission(path, write_rows(tmp_path / "truth.csv", list(self.TRUTH)), CARVANA)

    def test_an_invalid_mask_is_named(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "submission.csv", [("a_01.jpg", "1 1"), ("b_01.jpg", "nan")])
        with pytest.raises(InputError, match=r"submission\.csv, b_01\.jpg: 'nan' is not a number"):
            score_submission(path, write_rows(tmp_path / "truth.csv", list(self.TRUTH)), CARVANA)

    def test_a_run_beyond_the_true_mask_is_refused(self, tmp_path: Path) -> None:
        draw_masks(tmp_path / "masks", ["a_01"])
        path = write_rows(tmp_path / "submission.csv", [("a_01.jpg", "24 2")])
        with pytest.raises(InputError, match=r"a_01\.jpg: a run ends at pixel 25, but the last one is 24"):
            score_submission(path, tmp_path / "masks", CARVANA)

    def test_a_truth_without_masks_is_refused(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "submission.csv", VALID)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=r"no masks named \{stem\}_mask\.gif or \{stem\}\.png in it"):
            score_submission(path, tmp_path / "empty", CARVANA)
        with pytest.raises(InputError, match="no rows below the header"):
            score_submission(path, write_rows(tmp_path / "truth.csv", []), CARVANA)


def test_real_masks_arrive_in_the_csv_as_a_picture_viewer_shows_them(tmp_path: Path, carvana_photos: Path) -> None:
    paths = sorted((carvana_photos / "train_masks").iterdir())[::40]
    stems = [path.name.removesuffix("_mask.gif") for path in paths]
    for stem, path in zip(stems, paths, strict=True):
        write_mask(tmp_path / "masks" / f"{stem}.png", read_mask(path))
    sample, destination = write_sample(tmp_path / "sample.csv", stems), tmp_path / "submission.csv"
    sizes = write_submission(
        tmp_path / "masks",
        sample,
        destination,
        CARVANA,
        size_of=size_of_photos(carvana_photos, CARVANA.train_photos),
    )
    assert check_submission(destination, sample, CARVANA, size_of=sizes.get).warnings() == []
    for (_, text), path in zip(rows_of(destination)[1:], paths, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(rle.decode(text, (1280, 1918)), np.asarray(image.convert("L")) > 0)
