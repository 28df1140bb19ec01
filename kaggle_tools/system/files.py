"""Files that appear whole or not at all, however the process ends."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kaggle_tools.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step.

    The temporary name is the same each time, so that what a killed process left behind is
    overwritten by the next one instead of piling up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, what: str, timeout: float = 60.0, name: str = LOCK_FILE) -> Iterator[None]:
    """Hold a folder against other commands, on this machine or on others that share its disk.

    A lock goes with the processes that hold it, however they end; until those of a killed command are gone, it waits.

    Raises:
        InputError: another command holds it longer than `timeout` seconds; `what` says what that one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another command {what}; wait for it, or end it first") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether another command holds the folder."""
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read and `diff` can compare."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, if_missing: str) -> dict[str, Any]:
    """Read a JSON object; `if_missing` says what its absence may mean.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; {if_missing}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged (not a JSON object)")
    return value


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
