import errno
import zipfile
from pathlib import Path

import pytest
from damaged_zips import CHANGES, METHODS, damaged_zips, whole_zip

from kaggle_tools.data.checks.zip_files import files_in, is_damage, is_junk, opened
from kaggle_tools.errors import InputError


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_whatever_is_damaged_an_archive_is_read_or_named(tmp_path: Path, method: int) -> None:
    file, messages = tmp_path / "train.zip", []
    for content in damaged_zips(method, "train/a_01.jpg", b"first photo, second photo"):
        file.unlink(missing_ok=True)  # some file systems take milliseconds to write over a file
        file.write_bytes(content)
        try:
            with opened(file) as members:
                for member in members:
                    with member.open() as packed:
                        packed.read()
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > CHANGES / 2
    assert all(message.startswith(f"{file}: ") for message in messages)


@pytest.mark.parametrize(
    ("error", "damage"),
    [
        (EOFError(), True),
        (OSError("Invalid data stream"), True),
        (OSError(errno.EINVAL, "Invalid argument"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (KeyError("a file"), False),
    ],
)
def test_a_fault_of_the_disk_is_not_taken_for_damage(error: Exception, damage: bool) -> None:
    assert is_damage(error) is damage


@pytest.mark.parametrize(
    ("name", "junk"),
    [("__MACOSX/train/._a.jpg", True), ("train/.DS_Store", True), ("train/a.jpg", False), ("MACOSX/a.jpg", False)],
)
def test_what_a_mac_adds_to_a_zip_file_is_junk(name: str, junk: bool) -> None:
    assert is_junk(name) is junk


def test_a_plain_file_is_its_own_only_member(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes(b"id\n")
    with opened(tmp_path / "metadata.csv") as members, members[0].open() as content:
        assert [(member.name, member.size) for member in members] == [("metadata.csv", 3)]
        assert content.read() == b"id\n"


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train/a.jpg", b"photo")
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the list of files
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"train\.zip: 'train/a\.jpg' is locked with a password"), opened(file):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_swells_in_memory_before_it_is_cut_to_its_stated_size_is_refused(
    tmp_path: Path, method: int
) -> None:
    """A few bytes become gigabytes: only deflate is unpacked piece by piece."""
    file = tmp_path / "train.zip"
    file.write_bytes(whole_zip(method, "train/a.jpg", bytes(10**6)))
    with pytest.raises(InputError, match="is packed in another way than deflate; nothing was unpacked"), opened(file):
        pass


def test_the_files_in_an_archive_are_neither_folders_nor_junk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.mkdir("train")
        archive.writestr("__MACOSX/train/._a.jpg", b"x")
        archive.writestr("train/a.jpg", b"a")
        assert [info.filename for info in files_in(archive)] == ["train/a.jpg"]
