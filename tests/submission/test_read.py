import gzip
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damaged_zips import CHANGES, KEPT, METHODS, damaged_zips, whole_zip
from known_competitions import CARVANA
from submission_files import VALID, write_rows

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.named import record
from kaggle_tools.errors import InputError
from kaggle_tools.submission.read import parse_mask, read_masks, read_rows, read_sample


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,rle_mask\na_01.jpg,1 1\n",
            "the header is 'id,rle_mask', but Carvana Image Masking wants 'img,rle_mask'. This is a CSV of TGS Salt",
        ),
        ("", "the header is ''"),
        ("img,rle_mask\n", "no rows below the header"),
        ("img,rle_mask\na_01.jpg,1 1\na_01.jpg,1 1\n", r"line 3: 'a_01\.jpg' for the second time"),
        ("img,rle_mask\na_01.jpg\n", r"line 2: not 2 fields \(a_01.jpg\)"),
        ("img,rle_mask\na_01,1 1\n", r"line 2: 'a_01' is not of the form \{stem\}\.jpg"),
    ],
)
def test_a_file_that_is_not_the_competitions_sample_submission_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_text(content)
    with pytest.raises(InputError, match=message):
        read_sample(sample, CARVANA)


def test_a_sample_submission_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sample\.csv: no such file"):
        read_sample(tmp_path / "sample.csv", CARVANA)


@pytest.mark.parametrize("header", ["img,rle", "rle_mask,img", "img,rle_mask,", "b_01.jpg,1 1"])
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
        "quote.csv": b'img,rle_mask\n"b_01.jpg,1 1\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: cannot be read as a CSV"):
            list(read_masks(tmp_path / name, CARVANA))


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        (",img,rle_mask", "The first column is an index: with pandas, write the table with index=False"),
        ("Unnamed: 0,img,rle_mask", "The first column is an index"),
        ("rle_mask,img", "Swap the columns"),
        ("Img, rle_mask", "Spaces and capital letters count"),
        ("img;rle_mask", "Separate the fields by commas"),
        ("img\trle_mask", "Separate the fields by commas"),
        ("", "The file is empty, or its first line is"),
        ("id,rle_mask", "TGS Salt Identification: give another file or folder, or --competition tgs-salt-identificat"),
        ("b_01.jpg,1 2", r"Is it the file that was meant\?"),
    ],
)
def test_a_wrong_header_is_explained_and_only_another_competitions_by_the_option(
    tmp_path: Path, header: str, advice: str
) -> None:
    path = write_rows(tmp_path / "submission.csv", VALID, header=header)
    with pytest.raises(InputError, match=rf"wants 'img,rle_mask'\. .*{advice}") as caught:
        next(read_rows(path, CARVANA))
    assert ("--competition" in str(caught.value)) == (header == "id,rle_mask")


def test_a_csv_in_the_folder_of_its_masks_names_their_competition(tmp_path: Path, tiles: Competition) -> None:
    record(tmp_path, tiles)
    path = write_rows(tmp_path / "submission.csv", ["b_01,1 2"], header="id,pixels")
    of = re.escape(str(tmp_path / "competition.json"))
    with pytest.raises(InputError, match=rf"This is a CSV of Roof Tiles: .*or --competition {of}$"):
        next(read_rows(path, CARVANA))
    path = write_rows(tmp_path / "submission.csv", ["b_01,1 2"], header="id,rle_mask")
    with pytest.raises(InputError, match=r"--competition tgs-salt-identification-challenge$"):
        next(read_rows(path, CARVANA))


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-8-sig", r"begins with a byte order mark \(BOM\); save it as UTF-8 without one"),
        ("utf-16", "in UTF-16; save it as UTF-8"),
        ("utf-16-le", "in UTF-16; save it as UTF-8"),
        ("utf-16-be", "in UTF-16; save it as UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["submission.csv", "submission.csv.gz"])
def test_another_encoding_is_named(tmp_path: Path, name: str, encoding: str, message: str) -> None:
    content = write_rows(tmp_path / "plain.csv", VALID).read_text().encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(InputError, match=rf"{name}: {message}"):
        next(read_rows(tmp_path / name, CARVANA))


@pytest.mark.parametrize(
    ("packed", "message"), [("gz", "packed by gzip, but not named .gz"), ("zip", "a zip file, but")]
)
def test_a_packed_file_without_its_ending_is_called_so(tmp_path: Path, packed: str, message: str) -> None:
    plain = write_rows(tmp_path / "plain.csv", VALID)
    if packed == "gz":
        (tmp_path / "submission.csv").write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(tmp_path / "submission.csv", "w") as archive:
            archive.write(plain, "submission.csv")
    with pytest.raises(InputError, match=message):
        next(read_rows(tmp_path / "submission.csv", CARVANA))


def test_a_folder_in_the_place_of_a_file_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a folder, but a CSV is expected, plain, \.gz or \.zip"):
        next(read_rows(tmp_path, CARVANA))


@pytest.mark.parametrize("end", ["\n", "\r\n\r\n", "\n\n\n"])
def test_blank_lines_at_the_end_are_no_rows(tmp_path: Path, end: str) -> None:
    path = write_rows(tmp_path / "submission.csv", VALID)
    path.write_text(path.read_text() + end, newline="")
    assert list(read_masks(path, CARVANA)) == VALID


def test_blank_lines_between_rows_are_rows_without_fields(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    path.write_text("img,rle_mask\na_01.jpg,1 1\n\n\nb_01.jpg,1 1\n")
    rows = [(2, ["a_01.jpg", "1 1"]), (3, []), (4, []), (5, ["b_01.jpg", "1 1"])]
    assert list(read_rows(path, CARVANA)) == rows


@pytest.mark.parametrize("name", ["submission.csv.GZ", "SUBMISSION.CSV.gz", "submission.ZIP", "submission.Zip"])
def test_the_endings_of_packed_submissions_may_be_in_capital_letters(tmp_path: Path, name: str) -> None:
    plain = write_rows(tmp_path / "plain.csv", VALID)
    if name.lower().endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(plain, "submission.csv")
    assert list(read_masks(tmp_path / name, CARVANA)) == VALID


def test_what_a_mac_adds_to_a_zip_file_and_folders_are_not_counted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        archive.writestr("preds/", "")
        archive.write(write_rows(tmp_path / "plain.csv", VALID), "preds/submission.csv")
        archive.writestr("__MACOSX/preds/._submission.csv", "?")
        archive.writestr("preds/.DS_Store", "?")
    assert list(read_masks(tmp_path / "submission.zip", CARVANA)) == VALID


@pytest.mark.parametrize("name", ["submission.csv.gz", "submission.zip"])
def test_a_small_file_that_swells_too_much_is_given_up(tmp_path: Path, name: str) -> None:
    """A thousand times its size, as no more than two megabytes are ever read of it."""
    content = b"img,rle_mask\na_01.jpg," + b"1 1\na_01.jpg," * 10**6
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("submission.csv", content)
    with pytest.raises(InputError, match=f"{name}: holds more than 200 times its own size"):
        for _ in read_rows(tmp_path / name, CARVANA):
            pass


def test_a_line_that_is_too_long_is_given_up_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv.gz"
    path.write_bytes(gzip.compress(b"img,rle_mask\na_01.jpg," + b"1 " * (2 * 10**7), compresslevel=1))
    tracemalloc.start()
    with pytest.raises(InputError, match="a line of more than 33,554,432 characters"):
        list(read_rows(path, CARVANA))
    assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_damaged_zip_files_of_any_compression_are_refused(tmp_path: Path, path: Path) -> None:
    file = Path(shutil.copy(path, tmp_path / "submission.zip"))
    with pytest.raises(InputError, match=r"submission\.zip: "):
        list(read_rows(file, CARVANA))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_whatever_is_damaged_a_zipped_submission_is_read_or_named(tmp_path: Path, method: int) -> None:
    file, messages = tmp_path / "submission.zip", []
    for content in damaged_zips(method, "submission.csv", b"img,rle_mask\nb_01.jpg,1 2 5 1\n"):
        file.unlink(missing_ok=True)  # some file systems take milliseconds to write over a file
        file.write_bytes(content)
        try:
            list(read_masks(file, CARVANA))
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > CHANGES / 2
    assert all(message.startswith(f"{file}") for message in messages)


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


def test_only_the_competitions_own_word_for_a_blank_mask_is_blank(tiles: Competition) -> None:
    """That is -1 here, and pixels are numbered from 0."""
    assert [run.tolist() for run in parse_mask("-1", 24, tiles)] == []
    assert [run.tolist() for run in parse_mask("4 2", 24, tiles)] == [[4, 2]]


@pytest.mark.parametrize("method", ["bzip2", "lzma"])
def test_a_zipped_csv_that_swells_in_memory_is_refused(tmp_path: Path, method: str) -> None:
    (tmp_path / "s.zip").write_bytes(whole_zip(METHODS[method], "s.csv", bytes(10**6)))
    with pytest.raises(InputError, match=r"s\.zip: packed in another way than deflate; unpack it, and give the CSV"):
        list(read_rows(tmp_path / "s.zip", CARVANA))
