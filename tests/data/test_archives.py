import errno
import os
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
from damaged_zips import KEPT
from known_competitions import CARVANA, SALT

from kaggle_tools.competitions.competition import Archive, Competition
from kaggle_tools.data import archives
from kaggle_tools.data.archives import Unpacked, find, lacking, unpack, unpack_all
from kaggle_tools.data.checks.zip_files import Member
from kaggle_tools.errors import InputError
from kaggle_tools.system import files

TRAIN, METADATA = Archive("train.zip", holds=("train/*.jpg",)), Archive("metadata.csv.zip")
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
        unpack(file, data, TRAIN)
    assert list(data.iterdir()) == []
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_an_archive_with_a_folder_of_its_own_name_unpacks_to_that_folder(tmp_path: Path) -> None:
    assert unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data", TRAIN) == Unpacked(2, [], [])
    assert files_in(tmp_path / "data") == PHOTOS


def test_an_archive_without_a_folder_goes_into_the_one_that_is_given(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", {"images/1.png": b"photo", "masks/1.png": b"mask"})
    assert unpack(file, tmp_path / "data", SALT.archives[0]).written == 2
    assert files_in(tmp_path / "data") == {"train/images/1.png": b"photo", "train/masks/1.png": b"mask"}


def test_a_table_that_came_unpacked_is_copied(tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text("id,year\n")
    assert [unpack(table, tmp_path / "data", METADATA).written for _ in range(2)] == [1, 0]
    assert files_in(tmp_path / "data") == {"metadata.csv": b"id,year\n"}


def test_a_table_that_lies_in_the_data_folder_already_stays_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text("id,year\n")
    assert unpack(table, tmp_path, METADATA) == Unpacked(0, [], [])
    assert table.read_text() == "id,year\n"


def test_unpacking_an_archive_again_writes_nothing(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", PHOTOS)
    unpack(file, tmp_path / "data", TRAIN)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert unpack(file, tmp_path / "data", TRAIN) == Unpacked(0, [], [])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


def test_unpacking_writes_only_missing_and_truncated_files(tmp_path: Path) -> None:
    file = make_zip(tmp_path / "train.zip", PHOTOS | {"train/a_03.jpg": b"third photo"})
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    (folder / "a_01.jpg").write_bytes(b"first photo")
    (folder / "a_02.jpg").write_bytes(b"sec")
    (folder / "notes.txt").write_bytes(b"my own")
    assert unpack(file, tmp_path / "data", TRAIN) == Unpacked(2, [], [])
    assert files_in(folder) == {
        "a_01.jpg": b"first photo",
        "a_02.jpg": b"second photo",
        "a_03.jpg": b"third photo",
        "notes.txt": b"my own",
    }


def test_files_that_a_mac_adds_to_an_archive_are_left_out(tmp_path: Path) -> None:
    junk = {"__MACOSX/train/._a_01.jpg": b"?", "train/.DS_Store": b"?"}
    assert unpack(make_zip(tmp_path / "train.zip", PHOTOS | junk), tmp_path / "data", TRAIN) == Unpacked(2, [], [])
    assert files_in(tmp_path / "data") == PHOTOS


def test_an_unpacked_folder_appears_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(member: Member, to: Path) -> None:
        assert not (data / "train").exists()
        if member.name == "train/a_02.jpg":
            raise KeyboardInterrupt
        real_extract(member, to)

    data, real_extract = tmp_path / "data", archives._extract
    file = make_zip(tmp_path / "train.zip", PHOTOS)
    monkeypatch.setattr(archives, "_extract", killed)
    with pytest.raises(KeyboardInterrupt):
        unpack(file, data, TRAIN)
    assert list(data.iterdir()) == []


def test_files_that_a_killed_unpacking_left_behind_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "getpid", lambda: 2**30)  # of no process
        left = tmp_path / "data" / files._temporary_name() / "train"
    left.mkdir(parents=True)
    (left / "a_03.jpg").write_bytes(b"thi")
    unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data", TRAIN)
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


def test_an_archive_may_unpack_to_two_hundred_times_its_own_size_and_not_to_more(tmp_path: Path) -> None:
    """Of the comment's length hangs how large the archive is: here 500 bytes, and then one less."""
    file = make_zip(tmp_path / "train.zip", {"train/a_01.jpg": bytes(100_000)}, zipfile.ZIP_DEFLATED)
    bare = file.stat().st_size
    for size in (500, 499):
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = b"x" * (size - bare)
        assert file.stat().st_size == size
        if size == 500:
            assert unpack(file, tmp_path / "data", TRAIN).written == 1
    assert "at most 107,374,182,400 and 200 times its own size" in refusal(file, tmp_path / "empty")


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
            unpack(file, tmp_path / "data", TRAIN)
        except InputError as error:
            messages.append(str(error))
        assert not list((tmp_path / "data").glob(".*"))
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
    assert found == [(tmp_path / "train.zip", TRAIN), (tmp_path / "metadata.csv", METADATA)]


def test_an_unpacked_folder_is_not_taken_for_its_archive(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"holds none of the files that were expected: train\.zip, train_masks\.zip"):
        find(tmp_path, CARVANA.archives)


@pytest.mark.parametrize("name", ["no such folder", "zips"])
def test_a_folder_without_archives_is_explained_by_what_is_needed_and_what_is_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "zips" / "train").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        find(tmp_path / name, CARVANA.archives)
    assert (
        str(caught.value).removeprefix(f"{tmp_path}/")
        == {
            "no such folder": "no such folder: no such folder",
            "zips": "zips: holds none of the files that were expected: train.zip, train_masks.zip, test.zip, "
            "metadata.csv.zip, sample_submission.csv.zip; what it holds: train",
        }[name]
    )


class TestWhatIsThereAlready:
    def data(self, tmp_path: Path) -> Path:
        unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data", TRAIN)
        return tmp_path / "data"

    @pytest.mark.parametrize("content", [b"corrected photo, longer", b"FIRST PHOTO", b"other"])
    def test_a_file_that_a_person_has_changed_is_kept_and_named(self, tmp_path: Path, content: bytes) -> None:
        data = self.data(tmp_path)
        (data / "train/a_01.jpg").write_bytes(content)
        assert unpack(tmp_path / "train.zip", data, TRAIN) == Unpacked(0, ["train/a_01.jpg"], [])
        assert files_in(data) == PHOTOS | {"train/a_01.jpg": content}

    def test_an_empty_file_is_the_beginning_of_any_other_and_written_again(self, tmp_path: Path) -> None:
        data = self.data(tmp_path)
        (data / "train/a_01.jpg").write_bytes(b"")
        assert unpack(tmp_path / "train.zip", data, TRAIN) == Unpacked(1, [], [])
        assert files_in(data) == PHOTOS

    def test_a_copy_with_another_time_of_change_is_left_alone(self, tmp_path: Path) -> None:
        data = self.data(tmp_path)
        os.utime(data / "train/a_01.jpg", (1, 1))
        assert unpack(tmp_path / "train.zip", data, TRAIN) == Unpacked(0, [], [])
        assert (data / "train/a_01.jpg").stat().st_mtime == 1

    def test_files_as_they_were_unpacked_are_not_read_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = self.data(tmp_path)
        monkeypatch.setattr(archives, "_begins_alike", lambda placed: pytest.fail(f"{placed.target} is read"))
        assert unpack(tmp_path / "train.zip", data, TRAIN) == Unpacked(0, [], [])

    @pytest.mark.parametrize("kind", ["folder", "link to nowhere", "link to a file"])
    def test_what_is_no_file_of_its_own_is_kept_and_named(self, tmp_path: Path, kind: str) -> None:
        data, photo = self.data(tmp_path), tmp_path / "data/train/a_01.jpg"
        photo.unlink()
        (tmp_path / "mine").write_bytes(b"my own")
        if kind == "folder":
            photo.mkdir()
        else:
            photo.symlink_to(tmp_path / ("mine" if kind == "link to a file" else "nowhere"))
        assert unpack(tmp_path / "train.zip", data, TRAIN) == Unpacked(0, ["train/a_01.jpg"], [])
        assert (tmp_path / "mine").read_bytes() == b"my own"

    def test_a_table_of_ones_own_is_not_replaced(self, tmp_path: Path) -> None:
        for folder, content in (("zips", "id,year\na,1\n"), ("data", "id,year\na,2\n")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "metadata.csv").write_text(content)
        unpacked = unpack(tmp_path / "zips/metadata.csv", tmp_path / "data", METADATA)
        assert unpacked == Unpacked(0, ["metadata.csv"], [])
        assert (tmp_path / "data/metadata.csv").read_text() == "id,year\na,2\n"

    def test_the_temporary_name_of_earlier_versions_as_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "victim").mkdir()
        (tmp_path / "victim/diary.txt").write_text("dear diary")
        (tmp_path / "data").mkdir()
        (tmp_path / "data/.train.zip.part").symlink_to(tmp_path / "victim")
        unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data", TRAIN)
        assert files_in(tmp_path / "victim") == {"diary.txt": b"dear diary"}
        assert files_in(tmp_path / "data/train") == {"a_01.jpg": b"first photo", "a_02.jpg": b"second photo"}

    @pytest.mark.parametrize("kind", ["file", "link to nowhere"])
    def test_a_folder_that_cannot_be_entered_is_named(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "data").mkdir()
        if kind == "file":
            (tmp_path / "data/train").touch()
        else:
            (tmp_path / "data/train").symlink_to(tmp_path / "unmounted")
        with pytest.raises(InputError, match="data/train: a file, or a link to nowhere, where a folder belongs"):
            unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data", TRAIN)


def test_a_folder_on_another_disk_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(source: Path, target: Path) -> Path:
        if len({(disk in path.resolve().parents) for path in (source, target)}) > 1:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
        return real_replace(source, target)

    disk, data, real_replace = tmp_path / "disk", tmp_path / "data", Path.replace
    disk.mkdir()
    data.mkdir()
    (data / "train").symlink_to(disk)
    monkeypatch.setattr(Path, "replace", replace)
    unpack(make_zip(tmp_path / "train.zip", PHOTOS), data, TRAIN)
    assert files_in(disk) == {"a_01.jpg": b"first photo", "a_02.jpg": b"second photo"}
    assert (data / "train").is_symlink()


class TestWhatBelongsInAnArchive:
    def test_what_does_not_belong_in_it_is_left_out_and_named(self, tmp_path: Path) -> None:
        foreign = [".git/hooks/post-checkout", "sample_submission.csv", "train/run.sh", "train/deep/a_03.jpg"]
        (tmp_path / "data").mkdir()
        (tmp_path / "data/sample_submission.csv").write_text("img,rle_mask\n")
        file = make_zip(tmp_path / "train.zip", PHOTOS | dict.fromkeys([*foreign, "train/.a_04.jpg"], b"evil"))
        assert unpack(file, tmp_path / "data", TRAIN) == Unpacked(2, [], [*foreign, "train/.a_04.jpg"])
        assert files_in(tmp_path / "data") == PHOTOS | {"sample_submission.csv": b"img,rle_mask\n"}

    @pytest.mark.parametrize("top", ["", "train/", "train/train/", "carvana/train/"])
    def test_folders_on_top_that_were_added_or_left_out_do_not_matter(self, tmp_path: Path, top: str) -> None:
        file = make_zip(tmp_path / "train.zip", {f"{top}a_01.jpg": b"photo"})
        unpack(file, tmp_path / "data", TRAIN)
        assert files_in(tmp_path / "data") == {"train/a_01.jpg": b"photo"}

    def test_where_nothing_belongs_in_it_the_message_says_what_should_and_what_is(self, tmp_path: Path) -> None:
        file = make_zip(tmp_path / "train.zip", {"masks/a.png": b"", "masks/b.png": b""})
        assert "should hold train/*.jpg, but holds masks/a.png, masks/b.png; " in refusal(file, tmp_path / "data")

    @pytest.mark.parametrize("contents", [{}, {"train/": b"", "__MACOSX/._train": b""}])
    def test_an_empty_archive_is_called_so(self, tmp_path: Path, contents: dict[str, bytes]) -> None:
        assert "an empty archive" in refusal(make_zip(tmp_path / "train.zip", contents), tmp_path / "data")

    def test_only_what_is_unpacked_counts_for_the_bound(self, tmp_path: Path) -> None:
        bomb = make_zip(tmp_path / "train.zip", PHOTOS | {"bomb": bytes(10**7)}, zipfile.ZIP_DEFLATED)
        assert unpack(bomb, tmp_path / "data", TRAIN) == Unpacked(2, [], ["bomb"])

    def test_without_patterns_it_is_the_folder_or_the_table_of_the_archives_name(self) -> None:
        assert Archive("masks.zip").expected == ("masks/*",)
        assert Archive("depths.csv.zip").expected == ("depths.csv",)
        assert Archive("masks.zip", into="train").expected == ("train/masks/*",)

    @pytest.mark.parametrize("competition", [CARVANA, SALT], ids=["Carvana", "Salt"])
    def test_the_archives_of_a_competition_may_hold_all_that_it_reads(self, competition: Competition) -> None:
        files = [
            competition.train_photos.format(stem="a"),
            competition.train_masks.format(stem="a"),
            competition.test_photos.format(stem="a"),
            competition.sample_submission,
            competition.metadata,
        ]
        for file in filter(None, files):
            assert any(PurePosixPath(file).match(each) for archive in competition.archives for each in archive.expected)


class TestDownloadAll:
    ARCHIVES = (TRAIN, Archive("masks.zip", holds=("masks/*.gif",)), METADATA, Archive("hq.zip", on_request=True))
    INSIDE = PHOTOS | {"masks/a_01.gif": b"mask", "metadata.csv": b"id,year\n"}

    def pack(self, path: Path, packed: bool) -> Path:
        """All of it in one file, which holds archives or, as for younger competitions, folders."""
        path.parent.mkdir(exist_ok=True)
        if not packed:
            return make_zip(path, {f"cars/{name}": content for name, content in self.INSIDE.items()})
        folders = {"train.zip": PHOTOS, "masks.zip": {"a_01.gif": b"mask"}}
        inner = {name: make_zip(path.with_name("inner"), held).read_bytes() for name, held in folders.items()}
        path.with_name("inner").unlink()
        return make_zip(path, inner | {"metadata.csv": b"id,year\n"})

    @pytest.mark.parametrize("packed", [True, False])
    @pytest.mark.parametrize("name", ["cars.zip", "cars (1).zip"])
    def test_all_in_one_zip_file_is_unpacked_from_its_folder(self, tmp_path: Path, packed: bool, name: str) -> None:
        self.pack(tmp_path / "zips" / name, packed)
        results = list(unpack_all(tmp_path / "zips", tmp_path / "data", self.ARCHIVES, "cars"))
        assert files_in(tmp_path / "data") == self.INSIDE
        assert sum(unpacked.written for _, unpacked in results) == 4
        assert all(not unpacked.left_out for _, unpacked in results)
        assert lacking(tmp_path / "data", self.ARCHIVES) == []

    @pytest.mark.parametrize("packed", [True, False])
    def test_the_zip_file_may_be_given_under_any_name_instead_of_the_folder(self, tmp_path: Path, packed: bool) -> None:
        file = self.pack(tmp_path / "zips/all.zip", packed)
        for written in (4, 0):
            results = unpack_all(file, tmp_path / "new" / "data", self.ARCHIVES, "cars")
            assert sum(unpacked.written for _, unpacked in results) == written
        assert files_in(tmp_path / "new" / "data") == self.INSIDE

    def test_an_archive_within_that_swells_too_much_is_refused(self, tmp_path: Path) -> None:
        file = make_zip(tmp_path / "cars.zip", {"train.zip": bytes(10**7)}, zipfile.ZIP_DEFLATED)
        with pytest.raises(InputError, match=r"cars\.zip: would unpack to 10,000,000 bytes"):
            list(unpack_all(file, tmp_path / "data", self.ARCHIVES, "cars"))
        assert files_in(tmp_path / "data") == {}

    def test_an_archive_within_counts_for_no_more_than_what_it_came_in(self, tmp_path: Path) -> None:
        """Each of the two swells 160 times at most, and both together more than 1,600 times."""
        inner = make_zip(tmp_path / "inner", {"train/a_01.jpg": bytes(10**6)}, zipfile.ZIP_DEFLATED)
        with zipfile.ZipFile(inner, "a") as archive:
            archive.comment = bytes(6_000)
        assert 160 * inner.stat().st_size > 10**6
        file = make_zip(tmp_path / "cars.zip", {"train.zip": inner.read_bytes()}, zipfile.ZIP_DEFLATED)
        assert inner.stat().st_size < 160 * file.stat().st_size < 10**6 / 10
        with pytest.raises(InputError, match=r"train\.zip: would unpack to 1,000,000 bytes"):
            list(unpack_all(file, tmp_path / "data", self.ARCHIVES, "cars"))
        assert files_in(tmp_path / "data") == {}

    def test_two_archives_of_one_name_are_refused(self, tmp_path: Path) -> None:
        inner = make_zip(tmp_path / "inner", PHOTOS).read_bytes()
        file = make_zip(tmp_path / "cars.zip", {"one/train.zip": inner, "two/train.zip": inner})
        with pytest.raises(InputError, match=r"cars\.zip: holds several files of the same name"):
            list(unpack_all(file, tmp_path / "data", self.ARCHIVES, "cars"))
        assert files_in(tmp_path / "data") == {}

    def test_the_archives_that_are_lacking_are_those_that_are_needed(self, tmp_path: Path) -> None:
        unpack(make_zip(tmp_path / "train.zip", PHOTOS), tmp_path / "data", TRAIN)
        assert lacking(tmp_path / "data", self.ARCHIVES) == ["masks.zip", "metadata.csv.zip"]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_damaged_archive_of_any_compression_is_named(tmp_path: Path, path: Path) -> None:
    file = Path(shutil.copy(path, tmp_path / "train.zip"))
    refusal(file, tmp_path / "data")
