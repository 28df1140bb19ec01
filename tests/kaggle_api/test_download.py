import io
import os
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from damaged_zips import KEPT, METHODS, damaged_zips
from kaggle_server import SLUG, KaggleServer, pausing, refuse, stall_after
from known_competitions import CARVANA

from kaggle_tools.errors import InputError, LeaderboardError
from kaggle_tools.kaggle_api import download as downloading
from kaggle_tools.kaggle_api.download import download
from kaggle_tools.system.files import LOCK_FILE, locked


def zipped(**contents: bytes) -> bytes:
    """The bytes of a zip file; `a__b` names the file `a/b.jpg`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("__", "/") + ".jpg", content)
    return buffer.getvalue()


def offer_data(server: KaggleServer) -> None:
    """Everything that Carvana's page offers, each archive with bytes of its own."""
    server.files = {archive.name: zipped(**{archive.name[:-4]: b"x" * 50}) for archive in CARVANA.archives}


def left_in(folder: Path) -> list[str]:
    """The names of what lies there, but for the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK_FILE)


def test_archives_that_come_on_request_are_not_downloaded_by_default(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    server.page_size = 3
    paths = download(CARVANA, tmp_path / "zips")
    assert [path.name for path in paths] == [archive.name for archive in CARVANA.archives if not archive.on_request]
    assert all(path.read_bytes() == server.files[path.name] for path in paths)
    assert left_in(tmp_path / "zips") == sorted(path.name for path in paths)
    assert server.calls["ListDataFiles"] == 3


def test_only_archives_that_are_missing_or_damaged_are_downloaded_again(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    for name, content in server.files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train_hq.zip").unlink()
    (tmp_path / "test.zip").write_bytes(server.files["test.zip"][:-1])
    paths = download(CARVANA, tmp_path, high_quality=True)
    assert server.calls["DownloadDataFile"] == 2
    assert all(path.read_bytes() == server.files[path.name] for path in paths)
    assert len(paths) == len(CARVANA.archives)


def test_an_archive_that_kaggle_does_not_list_is_named_before_anything_is_fetched(
    server: KaggleServer, tmp_path: Path
) -> None:
    offer_data(server)
    del server.files["train_masks.zip"]
    with pytest.raises(LeaderboardError, match=r"does not list train_masks\.zip; what it lists: metadata\.csv\.zip, "):
        download(CARVANA, tmp_path)
    assert server.calls["DownloadDataFile"] == 0


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_may_be_listed_without_zip_and_come_either_way(
    server: KaggleServer, tmp_path: Path, packed: bool
) -> None:
    offer_data(server)
    for name, content in server.files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "metadata.csv.zip").unlink()
    del server.files["metadata.csv.zip"]
    server.files["metadata.csv"] = b"id,year\n" * 20
    if packed:
        server.sent_as["metadata.csv"] = ("metadata.csv.zip", zipped(metadata=server.files["metadata.csv"]))
    for _ in range(2):
        paths = download(CARVANA, tmp_path)
    assert paths[3].name == ("metadata.csv.zip" if packed else "metadata.csv")
    assert zipfile.is_zipfile(paths[3]) == packed
    assert server.calls["DownloadDataFile"] == 1


def test_a_download_that_stands_still_is_given_up_and_then_continued(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    for name in server.files:
        if name != "train.zip":
            (tmp_path / name).write_bytes(server.files[name])
    server.files["train.zip"] = os.urandom(3 * 2**20)
    server.faults["GET"] = stall_after(2 * 2**20)
    with pytest.raises(LeaderboardError, match=r"send train\.zip\. What has arrived is kept"):
        download(CARVANA, tmp_path, patience=2)
    assert not (tmp_path / "train.zip").exists()
    arrived = downloading._bytes_in(tmp_path / ".train.zip.part")  # 2 MiB, less where the machine is very busy
    del server.faults["GET"]
    assert download(CARVANA, tmp_path)[0].read_bytes() == server.files["train.zip"]
    assert server.ranges == [f"bytes={arrived}-"]
    assert not (tmp_path / ".train.zip.part").exists()


def test_a_download_that_is_slow_but_moves_is_not_given_up(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    for name in server.files:
        if name != "train.zip":
            (tmp_path / name).write_bytes(server.files[name])
    server.files["train.zip"] = os.urandom(4 * 2**20)
    server.faults["GET"] = pausing(2**20, 0.8)
    started = time.monotonic()
    assert download(CARVANA, tmp_path, patience=2)[0].read_bytes() == server.files["train.zip"]
    assert time.monotonic() - started > 2


def test_a_download_of_another_size_than_listed_does_not_get_its_name(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    server.sent_as["train.zip"] = ("train.zip", b"short")
    with pytest.raises(LeaderboardError, match=r"train\.zip: Kaggle lists \d+ bytes but sent 5"):
        download(CARVANA, tmp_path / "zips")
    assert left_in(tmp_path / "zips") == []


def test_a_folder_into_which_another_command_downloads_is_left_to_it(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_data(server)
    monkeypatch.setattr(downloading, "LOCK_SECONDS", 0)
    with (
        locked(tmp_path / "zips", "is the other one"),
        pytest.raises(InputError, match=f"{tmp_path}/zips: another command downloads into it; wait for it"),
    ):
        download(CARVANA, tmp_path / "zips")
    assert server.calls["DownloadDataFile"] == 0
    assert left_in(tmp_path / "zips") == []


def test_downloading_before_the_rules_are_accepted_names_their_page(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    server.faults["DownloadDataFile"] = refuse(403, {"code": 403, "message": "You must accept the rules"})
    with pytest.raises(LeaderboardError, match=rf"https://www\.kaggle\.com/c/{SLUG}/rules"):
        download(CARVANA, tmp_path / "zips")
    assert left_in(tmp_path / "zips") == []


def test_room_for_what_is_still_to_come_is_asked_for_before_anything_is_fetched(
    server: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,000 bytes 400 lie there whole and 100 of the second have arrived."""
    sizes = dict(zip((archive.name for archive in CARVANA.archives[:5]), (400, 300, 100, 100, 100), strict=True))
    server.files = {name: os.urandom(size) for name, size in sizes.items()}
    to = tmp_path / "zips"
    (to / ".train_masks.zip.part").mkdir(parents=True)
    (to / ".train_masks.zip.part/train_masks.zip").write_bytes(server.files["train_masks.zip"][:100])
    (to / "train.zip").write_bytes(server.files["train.zip"])
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: SimpleNamespace(free=499))
    with pytest.raises(InputError, match="zips: 500 bytes are to come, but 499 are free there; nothing was fetched"):
        download(CARVANA, to)
    assert server.calls["DownloadDataFile"] == 0
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: SimpleNamespace(free=500))
    downloading._require_room(sizes, to)
    with pytest.raises(InputError, match="new/zips: 1,000 bytes are to come"):
        downloading._require_room(sizes, tmp_path / "new/zips")


@pytest.mark.parametrize("place", [".train.zip.part", ".train.zip.part/train.zip"])
def test_a_link_in_the_place_of_what_has_arrived_is_not_followed(
    server: KaggleServer, tmp_path: Path, place: str
) -> None:
    offer_data(server)
    for name in server.files:
        if name != "train.zip":
            (tmp_path / name).write_bytes(server.files[name])
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/train.zip").write_bytes(b"precious")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(tmp_path / ("victim" if place.endswith(".part") else "victim/train.zip"))
    assert download(CARVANA, tmp_path)[0].read_bytes() == server.files["train.zip"]
    assert [path.read_bytes() for path in (tmp_path / "victim").iterdir()] == [b"precious"]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_damaged_zip_file_is_not_the_listed_one(path: Path) -> None:
    assert not downloading._is_whole(path, 1)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_whatever_is_damaged_a_zip_file_is_looked_into_without_an_error(tmp_path: Path, method: int) -> None:
    file = tmp_path / "metadata.csv.zip"
    for content in damaged_zips(method, "metadata.csv", b"id,year\n"):
        file.unlink(missing_ok=True)  # some file systems take milliseconds to write over a file
        file.write_bytes(content)
        assert downloading._is_whole(file, 8) in (True, False)
