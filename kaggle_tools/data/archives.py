"""Unpacking a competition's zip files: nothing outside the data folder, nothing half done, nothing twice.

Knows nothing of Kaggle or of what is inside the files.
"""

import errno
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kaggle_tools.competition import Archive
from kaggle_tools.errors import InputError, first_few

MAX_UNPACKED_BYTES = 100 * 2**30
"""What one archive may hold, unpacked. Carvana's largest, the high-quality test photos, stays far below."""
MAX_RATIO = 200
"""How many times its own size an archive may hold. Photos reach 1, tables of ids about 20, zip bombs 1,000 and more."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, IndexError)
"""What zipfile raises on archives with random bytes changed, besides OSError for a seek to nowhere."""


class Found(NamedTuple):
    """An archive that is there."""

    file: Path
    archive: Archive
    """What the competition says of it."""


def find(source: Path, archives: Sequence[Archive]) -> list[Found]:
    """The archives that lie in the folder `source`.

    A file that came without its `.zip` because Kaggle packed it out, such as `metadata.csv`, counts too.

    Raises:
        InputError: none of them is there.
    """
    found: list[Found] = []
    for archive in archives:
        candidates = (source / archive.name, source / archive.name.removesuffix(".zip"))
        found += [Found(path, archive) for path in candidates if path.is_file()][:1]
    if not found:
        names = first_few([archive.name for archive in archives], limit=len(archives))
        raise InputError(f"{source}: holds none of the files that were expected: {names}")
    return found


def missing(found: Sequence[Found], archives: Sequence[Archive]) -> list[str]:
    """The names of the archives that are needed but were not found."""
    there = {archive for _, archive in found}
    return [archive.name for archive in archives if not archive.on_request and archive not in there]


def unpack(file: Path, data: Path, into: str = ".") -> int:
    """Unpack one zip file into the folder `into` below the data folder; a plain file is copied there.

    What is already there with the right size is left alone. The rest is written to a temporary folder
    first and then moved, a new folder in a single step, so that a folder that was not there before is
    there whole or not at all.

    Returns:
        How many files were written: 0 if everything was in place.

    Raises:
        InputError: the archive is damaged, holds what must not be unpacked (a path that leads outside, a
            link, a password), swells beyond `MAX_UNPACKED_BYTES` or `MAX_RATIO`, or the disk is too small.
    """
    data.mkdir(parents=True, exist_ok=True)
    temporary = data / f".{file.name}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        written = _extract_missing(file, data / into, temporary)
        if written:
            _move(temporary, data / into)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputError(f"{file}: not a whole zip file ({error}); delete it and download it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written


def _extract_missing(file: Path, target: Path, temporary: Path) -> int:
    """Write to `temporary` what `target` lacks, and count it."""
    if not file.name.endswith(".zip"):
        if _is_there(target / file.name, file.stat().st_size):
            return 0
        temporary.mkdir()
        shutil.copyfile(file, temporary / file.name)
        return 1
    with zipfile.ZipFile(file) as archive:
        members = _checked_members(file, archive)
        missing = [member for member in members if not _is_there(target / member.filename, member.file_size)]
        _check_space(file, missing, temporary.parent)
        for member in missing:
            _extract(archive, member, temporary / member.filename)
    return len(missing)


def _checked_members(file: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in the archive that are wanted, once it is certain that they may be unpacked."""
    members = [member for member in archive.infolist() if not (member.is_dir() or _is_junk(member.filename))]
    for member in members:
        fault = _fault(member)
        if fault:
            raise InputError(f"{file}: {member.filename!r} {fault}; nothing was unpacked")
    if len({member.filename for member in members}) < len(members):
        raise InputError(f"{file}: holds several files of the same name; nothing was unpacked")
    # zipfile never unpacks more of a member than the size that its entry states, so that the sum is a bound.
    unpacked = sum(member.file_size for member in members)
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_RATIO * file.stat().st_size:
        raise InputError(
            f"{file}: would unpack to {unpacked:,} bytes; at most {MAX_UNPACKED_BYTES:,} and {MAX_RATIO} times "
            "its own size are allowed; nothing was unpacked"
        )
    return members


def _is_junk(name: str) -> bool:
    """What a Mac adds to every zip file that it makes."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or ".DS_Store" in parts


def _fault(member: zipfile.ZipInfo) -> str | None:
    """Why this member must not be unpacked."""
    path = PurePosixPath(member.filename)
    # On Windows a backslash parts folders and a colon follows a drive; no competition's names hold either.
    foreign = "\\" in member.filename or ":" in member.filename
    if path.is_absolute() or ".." in path.parts or not path.parts or foreign:
        return "leads outside of the folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device, not a file"
    if member.flag_bits & 1:
        return "is locked with a password"
    return None


def _check_space(file: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{file}: needs {needed:,} bytes in {folder}, where {free:,} are free; nothing was unpacked")


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, to.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, length=2**20)


def _move(source: Path, target: Path) -> None:
    """Move a file or folder, merging a folder into the one of that name."""
    if source.is_dir() and target.is_dir():
        for child in source.iterdir():
            _move(child, target / child.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
