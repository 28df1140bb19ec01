import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kaggle_tools.system.memory import keep_freed_memory

CODE = """
import resource, sys
import numpy as np
from kaggle_tools.system.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(2):  # the second time, what is kept is there already
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(64 << 20, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """How many pages Linux must clear for twenty blocks of 64 MiB that were had and freed before."""
    done = subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[1])


def test_freed_memory_is_reused_without_asking_the_system() -> None:
    assert page_faults("keep") < page_faults("give back") / 10


def test_no_block_is_mapped_by_itself_and_none_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the numbers in glibc's malloc.h: M_MMAP_MAX is -4, and M_TRIM_THRESHOLD -1, where -1 stands for never."""
    asked: list[tuple[int, int]] = []
    libc = SimpleNamespace(mallopt=lambda *given: asked.append(given))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    keep_freed_memory()
    assert sorted(asked) == [(-4, 0), (-1, -1)]


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise OSError("libc.so.6: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    keep_freed_memory()
