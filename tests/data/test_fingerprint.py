import hashlib
import os
from pathlib import Path
from typing import ClassVar

import pytest

from kaggle_tools.data import fingerprint
from kaggle_tools.data.fingerprint import FileHashes, fingerprint_of, read_fingerprint, sha256_of_all, write_fingerprint
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError

A, B, C = "a" * 64, "b" * 64, "c" * 64


def written(folder: Path, *contents: bytes) -> list[Path]:
    paths = [folder / f"{number}.jpg" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


class TestHashes:
    def test_files_are_hashed_in_their_order_by_their_content_alone(self, tmp_path: Path) -> None:
        paths = written(tmp_path, b"first", b"second", b"first", b"")
        os.utime(paths[0], (1, 1))
        expected = [hashlib.sha256(content).hexdigest() for content in (b"first", b"second", b"first", b"")]
        assert sha256_of_all(paths, "files") == expected

    def test_so_many_files_that_they_are_handed_over_in_parts_are_all_hashed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(fingerprint, "CHUNK", 3)
        monkeypatch.setattr(fingerprint, "LONG", 8)
        paths = written(tmp_path, *(b"%d" % number for number in range(8)))
        assert sha256_of_all(paths, "files") == [hashlib.sha256(b"%d" % number).hexdigest() for number in range(8)]
        assert capsys.readouterr().out.startswith("files: 8 of 8, ")

    def test_no_progress_is_shown_of_a_few_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        sha256_of_all(written(tmp_path, b"one"), "files")
        assert capsys.readouterr().out == ""

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"/gone\.jpg: cannot be read \(No such file or directory\)$"):
            sha256_of_all([*written(tmp_path, b"one"), tmp_path / "gone.jpg"], "files")

    def test_a_named_pipe_is_refused_instead_of_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(InputError, match=r"/pipe\.jpg: not a regular file$"):
            sha256_of_all([tmp_path / "pipe.jpg"], "files")

    def test_the_fingerprint_of_photos_holds_photo_and_mask_of_each(self, tmp_path: Path) -> None:
        paths = written(tmp_path, b"photo of x", b"mask of x", b"photo of y", b"mask of y")
        photos = [Photo("x", paths[0], (1, 1), paths[1]), Photo("y", paths[2], (1, 1), paths[3])]
        assert fingerprint_of(photos) == {
            stem: FileHashes(*(hashlib.sha256(f"{what} of {stem}".encode()).hexdigest() for what in ("photo", "mask")))
            for stem in "xy"
        }


class TestTable:
    @pytest.mark.parametrize("stem", ["a_01", "001", "NA", "nan", 'a "b", c', "a\nb", " a ", "=1", "ä", ""])
    def test_a_table_reads_back_what_was_written(self, tmp_path: Path, stem: str) -> None:
        write_fingerprint(tmp_path / "data.csv", {stem: FileHashes(A, B), "other": FileHashes(B, B)})
        assert read_fingerprint(tmp_path / "data.csv") == {stem: FileHashes(A, B), "other": FileHashes(B, B)}

    def test_a_table_can_be_read_by_people(self, tmp_path: Path) -> None:
        write_fingerprint(tmp_path / "data.csv", {"a_01": FileHashes(A, B)})
        assert (tmp_path / "data.csv").read_bytes() == f"image,photo_sha256,mask_sha256\na_01,{A},{B}\n".encode()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"image,photo_sha256\n",
            f"image,photo_sha256,mask_sha256\na_01,{A}\n".encode(),
            f"image,photo_sha256,mask_sha256\na_01,{A},{B[:-1]}\n".encode(),
            b"\xff\xfe\0",
            None,
        ],
    )
    def test_a_damaged_table_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "data.csv").write_bytes(content)
        with pytest.raises(InputError, match=r"data\.csv: (damaged \(|missing$)"):
            read_fingerprint(tmp_path / "data.csv")


class TestDifferences:
    BEFORE: ClassVar = {stem: FileHashes(A, A) for stem in ("a", "b", "c", "d", "e")}

    def test_the_same_files_do_not_differ(self) -> None:
        assert fingerprint.differences(self.BEFORE, dict(reversed(self.BEFORE.items()))) == ""

    def test_photos_and_masks_that_changed_are_counted_and_the_first_named(self) -> None:
        now = self.BEFORE | {"b": FileHashes(B, A), "d": FileHashes(A, C)} | {"e": FileHashes(B, B)}
        assert fingerprint.differences(self.BEFORE, now) == "2 photos changed: b, e; 2 masks changed: d, e"

    def test_photos_that_came_and_went_are_named(self) -> None:
        now = {stem: FileHashes(A, A) for stem in ("e", "x", "y", "z", "u", "v")}
        assert fingerprint.differences(self.BEFORE, now) == (
            "4 photos gone: a, b, c and 1 more; 5 photos added: u, v, x and 2 more"
        )
