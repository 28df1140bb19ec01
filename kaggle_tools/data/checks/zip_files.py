"""Zip files as others made them: what is in them, whether it may be unpacked, and which errors mean damage.

Knows nothing of competitions.
"""

import errno
import lzma
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from kaggle_tools.errors import InputError

USUAL = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How archives are packed. Of the rarer ways zipfile unpacks all at once, whatever size the archive states."""
MAX_RATIO = 200
"""How many times its own size an archive may hold. Photos reach 1, tables of ids about 20, zip bombs 1,000 and more."""

DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, IndexError, OverflowError),
    NotImplementedError,  # an unknown compression
    RuntimeError,  # a password
    ValueError,  # also a name that is not UTF-8
    MemoryError,  # a dictionary of LZMA that is larger than the memory
)
"""What zipfile raises on archives with random bytes changed, besides an OSError (see `is_damage`)."""


class Member(NamedTuple):
    """A file in an archive, or the file that came without an archive."""

    name: str
    size: int
    modified_ns: int
    """When it was changed last, in nanoseconds since 1970."""
    open: Callable[[], IO[bytes]]


def is_damage(error: BaseException) -> bool:
    """Whether an error that was raised while a zip file was read comes from its bytes, not from the disk."""
    if isinstance(error, OSError):
        return error.errno in (None, errno.EINVAL)  # what bz2 raises, and a seek to nowhere
    return isinstance(error, DAMAGED)


def is_junk(name: str) -> bool:
    """Whether a Mac added this member, as it does to every zip file that it makes."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or ".DS_Store" in parts


def files_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in an archive, without folders and without junk."""
    return [info for info in archive.infolist() if not (info.is_dir() or is_junk(info.filename))]


@contextmanager
def opened(file: Path) -> Iterator[list[Member]]:
    """The files in an archive, once it is certain that they may be unpacked; the only one of a plain file.

    Raises:
        InputError: it is damaged, or holds what must not be unpacked; also for what the block finds while it reads.
    """
    if file.suffix.lower() != ".zip" and not zipfile.is_zipfile(file):
        status = file.stat()
        yield [Member(file.name, status.st_size, status.st_mtime_ns, lambda: file.open("rb"))]
        return
    try:
        with zipfile.ZipFile(file) as archive:
            infos = files_in(archive)
            for info in infos:
                _require_harmless(file, info)
            yield [_member(archive, info) for info in infos]
    except (*DAMAGED, OSError) as error:
        if not is_damage(error):
            raise
        raise InputError(
            f"{file}: not a whole zip file ({str(error) or type(error).__name__}); delete it and download it again"
        ) from error


def _require_harmless(file: Path, info: zipfile.ZipInfo) -> None:
    path, kind = PurePosixPath(info.filename), stat.S_IFMT(info.external_attr >> 16)
    # On Windows a backslash parts folders and a colon follows a drive; no competition's names hold either.
    foreign = "\\" in info.filename or ":" in info.filename
    faults = {
        "leads outside of the folder": path.is_absolute() or ".." in path.parts or not path.parts or foreign,
        "is a link or a device, not a file": kind not in (0, stat.S_IFREG),
        "is locked with a password": info.flag_bits & 1,
        "is packed in another way than deflate": info.compress_type not in USUAL,
    }
    if fault := next((what for what, found in faults.items() if found), None):
        raise InputError(f"{file}: {info.filename!r} {fault}; nothing was unpacked")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    modified = int(time.mktime((*info.date_time, 0, 0, -1)))
    return Member(info.filename, info.file_size, modified * 10**9, partial(archive.open, info))
