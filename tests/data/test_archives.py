import shutil
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from kaggle_tools.competition import CARVANA, Archive
from kaggle_tools.data import archives
from kaggle_tools.data.archives import find, unpack
from kaggle_tools.errors import InputError

PHOTOS = {"train/a_01.jpg": b"first photo", "train/a_02.jpg": b"second photo"}


def make_zip(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too, with its contents."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(file: Path, data: Path) -> str:
    """The message with which a file is refused, nothing being left of it."""
    with pytest.raises(InputError) as caught:
        unpack(file, data)
    assert list(data.iterdir()) == []
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_an_archive_with_a_folder_of_its_own_name_unpacks_to_that_folder(tmp_path: Path) -> None:
    assert unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data") == 2
    assert files_in(tmp_path / "data") == PHOTOS


def test_an_archive_without_a_folder_goes_into_the_one_that_is_given(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", {"images/1.png": b"photo", "masks/1.png": b"mask"})
    assert unpack(file, tmp_path / "data", into="train") == 2
    assert files_in(tmp_path / "data") == {"train/images/1.png": b"photo", "train/masks/1.png": b"mask"}


def test_a_table_that_came_unpacked_is_copied(tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text("id,year\n")
    assert [unpack(table, tmp_path / "data"), unpack(table, tmp_path / "data")] == [1, 0]
    assert files_in(tmp_path / "data") == {"metadata.csv": b"id,year\n"}


def test_a_table_that_lies_in_the_data_folder_already_stays_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text("id,year\n")
    assert unpack(table, tmp_path) == 0
    assert table.read_text() == "id,year\n"


def test_unpacking_an_archive_again_writes_nothing(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", PHOTOS)
    unpack(file, tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert unpack(file, tmp_path / "data") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


def test_unpacking_writes_only_missing_and_truncated_files(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", PHOTOS | {"train/a_03.jpg": b"third photo"})
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    (folder / "a_01.jpg").write_bytes(b"first photo")
    (folder / "a_02.jpg").write_bytes(b"sec")
    (folder / "notes.txt").write_bytes(b"my own")
    assert unpack(file, tmp_path / "data") == 2
    assert files_in(folder) == {
        "a_01.jpg": b"first photo",
        "a_02.jpg": b"second photo",
        "a_03.jpg": b"third photo",
        "notes.txt": b"my own",
    }


def test_files_that_a_mac_adds_to_an_archive_are_left_out(tmp_path: Path) -> None:
    junk = {"__MACOSX/train/._a_01.jpg": b"?", "train/.DS_Store": b"?"}
    assert unpack(make_zip(tmp_path / "train.zip", PHOTOS | junk), tmp_path / "data") == 2
    assert files_in(tmp_path / "data") == PHOTOS


def test_an_unpacked_folder_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
        assert not (data / "train").exists()
        if member.filename == "train/a_02.jpg":
            raise KeyboardInterrupt
        real_extract(archive, member, to)

    data, real_extract = tmp_path / "data", archives._extract
    file = make_zip(tmp_path / "train.zip", PHOTOS)
    monkeypatch.setattr(archives, "_extract", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(file, data)
    assert list(data.iterdir()) == []


def test_files_that_a_killed_unpacking_left_behind_are_dropped(tmp_path: Path) -> None:
    left = tmp_path / "data" / ".train.zip.part" / "train"
    left.mkdir(parents=True)
    (left / "a_03.jpg").write_bytes(b"thi")
    unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data")
    assert files_in(tmp_path / "data") == PHOTOS


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "train/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:/evil.jpg", "."]
)
def test_an_archive_with_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    file = make_zip(tmp_path / "train.zip", PHOTOS | {name: b"evil"})
    assert "leads outside" in refusal(file, tmp_path / "data")
    assert not (tmp_path / "evil.jpg").exists()


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("train/a_03.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "is a link" in refusal(tmp_path / "train.zip", tmp_path / "data")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train/a_01.jpg", b"one")
        archive.writestr("train/a_01.jpg", b"two")
    assert "several files of the same name" in refusal(tmp_path / "train.zip", tmp_path / "data")


def test_an_archive_that_swells_too_much_is_refused(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "train.zip", {"train/a_01.jpg": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    assert "would unpack to 10,000,000 bytes" in refusal(bomb, tmp_path / "data")


def test_an_archive_above_the_size_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 22)
    assert "at most 22" in refusal(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data")


def test_an_archive_that_states_too_small_a_size_writes_no_more_than_that(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", {"train/a_01.jpg": b"x" * 1000}, zipfile.ZIP_DEFLATED)
    file.write_bytes(file.read_bytes().replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "not a whole zip file" in refusal(file, tmp_path / "data")


def test_a_disk_that_is_too_small_is_noticed_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=22))
    file = make_zip(tmp_path / "train.zip", PHOTOS)
    assert "where 22 are free" in refusal(file, tmp_path / "data")


def test_whichever_byte_of_an_archive_is_damaged_the_message_names_the_file(tmp_path: Path) -> None:
    file, messages = make_zip(tmp_path / "train.zip", {"train/ä_01.jpg": b"photo"}, zipfile.ZIP_DEFLATED), []
    content = file.read_bytes()
    for position in range(len(content)):
        file.write_bytes(content[:position] + bytes([content[position] ^ 0xC3]) + content[position + 1 :])
        try:
            unpack(file, tmp_path / "data")
        except InputError as error:
            messages.append(str(error))
        assert not (tmp_path / "data" / ".train.zip.part").exists()
        shutil.rmtree(tmp_path / "data")
    assert len(messages) > len(content) / 2
    assert all(message.startswith(f"{file}: ") for message in messages)


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "not a zip"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    file = make_zip(tmp_path / "train.zip", PHOTOS)
    content = bytearray(file.read_bytes())
    content[content.index(b"second")] ^= 1
    damaged = {
        "truncated": bytes(content[:-30]),
        "flipped bit": bytes(content),
        "not a zip": b"<html>Please log in</html>",
    }
    file.write_bytes(damaged[damage])
    assert "download it again" in refusal(file, tmp_path / "data")


def test_archives_are_found_with_or_without_the_ending_zip(tmp_path: Path) -> None:
    for name in ("train.zip", "metadata.csv", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found = find(tmp_path, CARVANA.archives)
    assert found == [
        (tmp_path / "train.zip", Archive("train.zip")),
        (tmp_path / "metadata.csv", Archive("metadata.csv.zip")),
    ]


def test_an_unpacked_folder_is_not_taken_for_its_archive(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"holds none of the files that were expected: train\.zip, train_masks\.zip"):
        find(tmp_path, CARVANA.archives)
