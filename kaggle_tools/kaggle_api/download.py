"""Downloads a competition's archives: continued where a broken download ended, checked against the listed sizes."""

import shutil
import zipfile
from pathlib import Path

from kaggle_tools.competition import Archive, Competition
from kaggle_tools.errors import LeaderboardError, first_few
from kaggle_tools.kaggle_api.client import ANSWER_SECONDS, NoAnswerError, ask

STALL_SECONDS = 120.0
"""How long a download may receive nothing before it is given up."""


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
        LeaderboardError: Kaggle lists no such archive, refuses, fails, or stops sending.
    """
    wanted = [archive for archive in competition.archives if high_quality or not archive.on_request]
    sizes: dict[str, int] = ask("list_files", "list the data files", competition.slug, ANSWER_SECONDS)
    names = [_listed_name(archive, sizes, competition.slug) for archive in wanted]
    return [_fetched(competition.slug, name, sizes[name], to, patience) for name in names]


def _listed_name(archive: Archive, sizes: dict[str, int], slug: str) -> str:
    """The archive's name at Kaggle, which may be without `.zip`."""
    for name in (archive.name, archive.name.removesuffix(".zip")):
        if name in sizes:
            return name
    there = first_few(sorted(sizes), limit=10) or "nothing"
    raise LeaderboardError(f"{slug}: Kaggle does not list {archive.name}; what it lists: {there}")


def _fetched(slug: str, name: str, size: int, to: Path, patience: float) -> Path:
    """The file at its place in `to`, downloaded unless it is there."""
    here = next((path for path in (to / name, to / f"{name}.zip") if _is_whole(path, size)), None)
    if here:
        return here
    parts = to / f".{name}.part"  # a folder, for the client keeps its notes for resuming beside the file
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


def _is_whole(path: Path, size: int) -> bool:
    """Whether the file is the one that Kaggle lists with `size` bytes; it may send a table `x.csv` as a zip of it."""
    if not path.is_file():
        return False
    if path.stat().st_size == size:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.file_size for member in archive.infolist()] == [size]
    except zipfile.BadZipFile:
        return False


def _bytes_in(parts: Path) -> int:
    """How much has arrived, the client's notes aside, which may vanish while we look."""
    if not parts.is_dir():
        return 0
    return sum(path.stat().st_size for path in parts.iterdir() if not path.name.endswith(".kaggle-partial"))
