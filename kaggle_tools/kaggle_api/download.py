"""Downloads a competition's archives: continued where a broken download ended, checked against the listed sizes."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from kaggle_tools.competitions.competition import Archive, Competition
from kaggle_tools.data.checks.zip_files import DAMAGED, is_damage
from kaggle_tools.errors import InputError, LeaderboardError, first_few
from kaggle_tools.kaggle_api.client import ANSWER_SECONDS, NoAnswerError, ask
from kaggle_tools.system.files import locked

STALL_SECONDS = 120.0
"""How long a download may receive nothing before it is given up."""
LOCK_SECONDS = 60.0
"""How long to wait for another command that downloads into the same folder."""


def download(
    competition: Competition, to: Path, *, high_quality: bool = False, patience: float = STALL_SECONDS
) -> list[Path]:
    """Download a competition's archives into the folder `to`.

    What is there with the right size is kept; what a broken download left is continued. A file gets its
    name only when it is whole.

    Args:
        competition: the competition; its rules must have been accepted at Kaggle.
        to: the folder, made if need be.
        high_quality: also the archives that come only on request.
        patience: seconds for which a download may receive nothing.

    Returns:
        The files, in the competition's order.

    Raises:
        InputError: the disk is too small for what is not there yet, or another command downloads into the folder.
        LeaderboardError: Kaggle lists no such archive, refuses, fails, or stops sending.
    """
    wanted = [archive for archive in competition.archives if high_quality or not archive.on_request]
    sizes: dict[str, int] = ask("list_files", "list the data files", competition.slug, ANSWER_SECONDS)
    names = [_listed_name(archive, sizes, competition.slug) for archive in wanted]
    with locked(
        to, "downloads into it", LOCK_SECONDS
    ):  # two clients would write to the same file, and then move it away
        _require_room({name: sizes[name] for name in names}, to)
        return [_fetched(competition.slug, name, sizes[name], to, patience) for name in names]


def _listed_name(archive: Archive, sizes: dict[str, int], slug: str) -> str:
    """The archive's name at Kaggle, which may be without `.zip`."""
    for name in (archive.name, archive.name.removesuffix(".zip")):
        if name in sizes:
            return name
    there = first_few(sorted(sizes), limit=10) or "nothing"
    raise LeaderboardError(f"{slug}: Kaggle does not list {archive.name}; what it lists: {there}")


def _require_room(sizes: Mapping[str, int], to: Path) -> None:
    """Compare what is still to come with what is free."""
    parts = {name: to / _parts_name(name) for name, size in sizes.items() if not _found(name, size, to)}
    needed = sum(max(0, sizes[name] - _bytes_in(folder)) for name, folder in parts.items())
    free = shutil.disk_usage(next(folder for folder in (to, *to.absolute().parents) if folder.is_dir())).free
    if needed > free:
        raise InputError(f"{to}: {needed:,} bytes are to come, but {free:,} are free there; nothing was fetched")


def _found(name: str, size: int, to: Path) -> Path | None:
    """The file where it has been downloaded before."""
    return next((path for path in (to / name, to / f"{name}.zip") if _is_whole(path, size)), None)


def _parts_name(name: str) -> str:
    """Of a folder, for the client keeps its notes for resuming beside the file."""
    return f".{name}.part"


def _fetched(slug: str, name: str, size: int, to: Path, patience: float) -> Path:
    """The file at its place in `to`, downloaded unless it is there."""
    if here := _found(name, size, to):
        return here
    parts = to / _parts_name(name)
    _remove_links(parts)
    folder = str(parts.resolve())
    try:
        ask("fetch", f"send {name}", slug, patience, progress=lambda: _bytes_in(parts), name=name, folder=folder)
    except NoAnswerError as failure:
        raise LeaderboardError(f"{failure} What has arrived is kept: the same command continues there") from None
    whole = next((path for path in parts.iterdir() if _is_whole(path, size)), None)
    if whole is None:
        got = _bytes_in(parts)
        shutil.rmtree(parts)
        raise LeaderboardError(f"{name}: Kaggle lists {size:,} bytes but sent {got:,}; run the command again")
    suffix = ".zip" if zipfile.is_zipfile(whole) and not name.endswith(".zip") else ""
    whole.replace(to / f"{name}{suffix}")
    shutil.rmtree(parts)
    return to / f"{name}{suffix}"


def _remove_links(parts: Path) -> None:
    """Keep a folder that came from elsewhere from having the client write to what its links lead to."""
    links = [parts, *(parts.iterdir() if parts.is_dir() and not parts.is_symlink() else ())]
    for path in links:
        if path.is_symlink():
            path.unlink()


def _is_whole(path: Path, size: int) -> bool:
    """Whether the file is the one that Kaggle lists with `size` bytes; it may send a table `x.csv` as a zip of it."""
    if not path.is_file():
        return False
    if path.stat().st_size == size:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.file_size for member in archive.infolist()] == [size]
    except (*DAMAGED, OSError) as error:
        if not is_damage(error):
            raise
        return False


def _bytes_in(parts: Path) -> int:
    """How much has arrived, the client's notes aside, which may vanish while we look."""
    if not parts.is_dir():
        return 0
    return sum(path.stat().st_size for path in parts.iterdir() if not path.name.endswith(".kaggle-partial"))
