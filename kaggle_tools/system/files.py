"""Files that appear whole or not at all, however the process ends."""

import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import reprlib
import secrets
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from kaggle_tools.errors import InputError
from kaggle_tools.system.output import warn_once

T = TypeVar("T")

LOCK_FILE = ".lock"
MACHINE = re.sub(r"\W", "_", platform.node())[:64]
TEMPORARY = re.compile(r"\.kaggle-tools-(?P<machine>\w*)-(?P<process>\d+)-[0-9a-f]{16}\.part")
"""The names of temporary files and folders: which process on which machine writes them, and a random part."""
LEFT_BEHIND_SECONDS = 24 * 3600
"""After which a temporary file of another machine, to which nobody wrote, is removed."""
WANDB = "wandb"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What a file system answers that has no locks, as some network drives."""

LARGEST_JSON, LARGEST_TABLE = 16 * 2**20, 256 * 2**20
"""Bytes of what we record; a large competition takes a tenth of it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file in the same folder; on success it replaces `path` in one step.

    Its name is of this process alone and its file is made exclusively, so that two commands that write the same file
    do not mix, and a link that someone laid there is not followed. Its bytes have reached the disk before it takes
    the name, and it has the mode that a new file has, however the caller writes it. What a killed process left
    behind is removed by `remove_left_behind`.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_temporary_name())
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        try:
            yield temporary
            temporary.chmod(mode)  # a library may have put another file in its place, which only its owner can read
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        _name(error, path, temporary)
        raise


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder of a name of its own in `folder`; at the end it is removed with what is left in it.

    It is made exclusively, as in `replacing`, for the current user alone. What a killed process left behind is removed
    first.
    """
    remove_left_behind(folder)
    temporary = folder / _temporary_name()
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
    except OSError as error:
        _name(error, folder, temporary)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: Path, what: str, timeout: float = 60.0, name: str = LOCK_FILE) -> Iterator[None]:
    """Hold a folder against other commands, on this machine or on others that share its disk.

    A lock goes with the processes that hold it, however they end; until those of a killed command are gone, it waits.
    Then it removes the temporary files that they left in the folder. Where the file system has no locks, it says so
    once and holds nothing.

    Raises:
        InputError: another command holds it longer than `timeout` seconds; `what` says what that one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another command {what}; wait for it, or end it first") from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        warn_once(f"{folder}: no locks on this file system; let no two commands write there at once")
        yield
        return
    try:
        remove_left_behind(folder)
        yield
    finally:
        lock.release()


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Let errors of the block that name no file, as libraries raise them that write into `folder`, name the folder."""
    try:
        yield
    except OSError as error:
        _name(error, folder, folder)
        raise


def remove_left_behind(folder: Path) -> None:
    """Remove temporary files and folders whose processes have ended; of those that are links, not the targets."""
    for path in folder.iterdir():
        with suppress(OSError):  # another command was faster, or the folder cannot be written: then they stay
            if not _is_left_behind(path):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def is_locked(folder: Path) -> bool:
    """Whether another command holds the folder."""
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        return False


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read and `diff` can compare."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_bytes(path: Path, most: int, if_missing: str = "") -> bytes:
    """The contents of a regular file; `if_missing` says what its absence may mean.

    Raises:
        InputError: it is missing, no regular file, cannot be read, or has more than `most` bytes.
    """
    try:
        require_regular(path, most)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing" + (f"; {if_missing}" if if_missing else "")) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def is_utf8(text: str) -> bool:
    """Whether a name was UTF-8; Python keeps the bytes of one that was not as letters that no text may hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def deny_links(folder: Path) -> None:
    """Refuse a folder in which a link leads out of it, so that nothing else is read, shown or written in its place.

    The folder itself may be reached through a link. What Weights & Biases keeps in it is left aside: it links to logs.

    Raises:
        InputError: there is such a link; it is named.
    """
    root = folder.resolve()
    for link in _links_in(folder):
        try:
            leads_out = not link.resolve().is_relative_to(root)
        except (OSError, RuntimeError):  # in a circle
            leads_out = True
        if leads_out:
            raise InputError(f"{link}: a link to {link.readlink()}; put what is meant in its place")


def _links_in(folder: Path) -> Iterator[Path]:
    folders = [folder] if folder.is_dir() else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield Path(entry.path)
                elif entry.is_dir() and entry.name != WANDB:
                    folders.append(Path(entry.path))


def require_regular(path: Path, most: int) -> None:
    """Refuse what waits for ever, as a named pipe does, and what never ends, as a device.

    Raises:
        InputError: it is no regular file, or has more than `most` bytes.
        OSError: it is missing, or must not be looked at.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: not a regular file")
    if found.st_size > most:
        raise InputError(f"{path}: has {found.st_size:,} bytes; such a file has at most {most:,}")


def read_json(path: Path, if_missing: str, read: Callable[[Any], T]) -> T:
    """What `read` makes of a JSON file; `if_missing` says what its absence may mean.

    Raises:
        InputError: it is missing or damaged; of a value that `read` refuses, where it stands.
    """
    content = read_bytes(path, LARGEST_JSON, if_missing)
    try:
        return read(json.loads(content.decode("utf-8"), object_pairs_hook=_without_duplicates))
    except ValueError as error:  # also a MalformedError
        raise InputError(f"{path}: damaged ({error})") from error
    except RecursionError as error:
        raise InputError(f"{path}: damaged (nested too deeply)") from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as UTF-8 text with Unix line ends."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    write_text(path, table.getvalue())


def read_csv(
    path: Path,
    columns: Sequence[str],
    parse: Callable[..., T],
    *,
    newer: int = 0,
    if_missing: str = "",
    if_damaged: str,
) -> list[T]:
    """What `parse` makes of each row of a table, without pandas. It takes the fields, of which the first names the row.

    The last columns, as many as `newer` says, are not in the tables of older versions, or not in all tables.
    `if_missing` says what the absence of the file may mean, `if_damaged` what to do about a table that is damaged.

    Raises:
        InputError: it is missing or damaged, or `parse` refuses a row with a ValueError.
    """
    content = read_bytes(path, LARGEST_TABLE, if_missing)
    try:
        rows = filter(None, csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
        header = next(rows, [])
        if header not in [list(columns[: len(columns) - missing]) for missing in range(newer + 1)]:
            raise ValueError(f"not a table of {','.join(columns)}")
        parsed: dict[str, T] = {}
        for row in rows:  # one by one, so that a file of empty fields takes no memory before it is refused
            if len(row) != len(header):
                raise ValueError(f"a line of {len(row)} fields")
            if row[0] in parsed:
                raise ValueError(f"{reprlib.repr(row[0])} stands there twice")
            parsed[row[0]] = parse(*row)
        return list(parsed.values())
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}); {if_damaged}") from error


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The names and values of a JSON object; which of two values of one name is meant, nobody can know."""
    _refuse_repetition(name for name, _ in pairs)
    return dict(pairs)


def _refuse_repetition(names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{reprlib.repr(twice[0])} stands there twice")


def _temporary_name() -> str:
    return f".kaggle-tools-{MACHINE}-{os.getpid()}-{secrets.token_hex(8)}.part"


def _name(error: OSError, path: Path, temporary: Path) -> None:
    """Have the message say which file it was: not every writer does, and nobody knows the temporary name."""
    if error.errno is not None and error.filename2 is None and error.filename in (None, temporary, str(temporary)):
        error.filename = str(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_left_behind(path: Path) -> bool:
    made = TEMPORARY.fullmatch(path.name)
    if made is None:
        return False
    if made["machine"] == MACHINE:
        return not _is_running(int(made["process"]))
    return time.time() - path.lstat().st_mtime > LEFT_BEHIND_SECONDS


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True
