"""Faults of the machine, made on purpose: a full or read-only disk, little shared memory, a machine that is busy.

A disk of its own is a tmpfs. To mount one takes root, or a user namespace, in which all tests may run:
`unshare --map-root-user --mount make test`. Without either, the tests that need it are skipped and say so.
"""

import ctypes
import os
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096
"""Bytes in which a tmpfs counts: every file takes a multiple of it."""


class Disk:
    """A file system of its own, in a folder, that can be filled up, made larger, and made read-only."""

    def __init__(self, path: Path) -> None:
        """The folder is the root of the file system."""
        self.path = path

    @property
    def used(self) -> int:
        """Bytes that its files take."""
        about = os.statvfs(self.path)
        return (about.f_blocks - about.f_bfree) * about.f_frsize

    def resize(self, size: int) -> None:
        """Hold so many bytes from now on, rounded up to pages: no fewer than are used, and no less than a page."""
        self._remount(f"size={max(1, -(-size // PAGE)) * PAGE}")

    def make_read_only(self) -> None:
        """Refuse every write from now on, even one by root."""
        self._remount("ro")

    def make_writable(self) -> None:
        """Take writes again."""
        self._remount("rw")

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True)


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A new disk with room for everything, in this folder; the test is skipped where it may not be mounted."""
    folder.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk cannot be mounted here ({error}); see {__file__}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


MOUNTS_OF_ITS_OWN = 0x20000
"""CLONE_NEWNS of Linux."""
NOT_ALLOWED = 77


def in_small_shared_memory(size: str, work: Callable[[], None]) -> None:
    """Do this in a process of its own, which alone sees a /dev/shm of so many bytes, as `64k`; it must not raise."""
    child = os.fork()
    if child == 0:
        os._exit(_in_small_shared_memory(size, work))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == NOT_ALLOWED:
        pytest.skip(f"a disk cannot be mounted here; see {__file__}")
    assert code == 0, "see what the process printed"


def _in_small_shared_memory(size: str, work: Callable[[], None]) -> int:
    if ctypes.CDLL(None).unshare(MOUNTS_OF_ITS_OWN) != 0:
        return NOT_ALLOWED
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"]):
        if subprocess.run(["mount", *words], capture_output=True).returncode != 0:
            return NOT_ALLOWED
    try:
        work()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
