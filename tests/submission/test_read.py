import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from submission_files import VALID, write_rows

from kaggle_tools import rle
from kaggle_tools.competition import CARVANA
from kaggle_tools.errors import InputError
from kaggle_tools.submission.read import read_masks, read_rows, sample_stems


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
def test_a_file_that_is_not_the_competitions_sample_submission_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_text(content)
    with pytest.raises(InputError, match=message):
        sample_stems(sample, CARVANA)


def test_a_sample_submission_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sample\.csv: no such file"):
        sample_stems(tmp_path / "sample.csv", CARVANA)


@pytest.mark.parametrize("header", ["img,rle", "rle_mask,img", "img,rle_mask,", "b_01.jpg,1 1", "\ufeffimg,rle_mask"])
def test_the_header_of_a_submission_must_be_exact(tmp_path: Path, header: str) -> None:
    path = write_rows(tmp_path / "submission.csv", VALID, header=header)
    with pytest.raises(InputError, match="wants 'img,rle_mask'"):
        next(read_rows(path, CARVANA))


def test_compressed_submissions_are_read_like_plain_ones(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "submission.csv", VALID)
    (tmp_path / "submission.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        archive.write(path, "anything.csv")
    for name in ("submission.csv", "submission.csv.gz", "submission.zip"):
        assert list(read_masks(tmp_path / name, CARVANA)) == VALID


def test_damaged_submissions_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(write_rows(tmp_path / "submission.csv", VALID).read_bytes())
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
            list(read_masks(tmp_path / name, CARVANA))


def test_an_archive_of_several_files_is_no_submission(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(InputError, match=r"two\.zip: 2 files in it, but there must be one"):
        list(read_masks(tmp_path / "two.zip", CARVANA))


def test_a_mask_of_many_runs_is_not_too_long_for_a_field(tmp_path: Path) -> None:
    dots = rle.encode(np.indices((300, 400)).sum(axis=0) % 2 == 0)
    assert len(dots) > 1 << 18
    path = write_rows(tmp_path / "submission.csv", [("a_01.jpg", dots)])
    assert list(read_masks(path, CARVANA)) == [("a_01.jpg", dots)]
