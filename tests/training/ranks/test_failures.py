import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from process_group import together

from kaggle_tools.errors import InputError, SharedError
from kaggle_tools.system.processes import own_environment
from kaggle_tools.training.ranks import failures
from kaggle_tools.training.ranks.failures import Failures, any_of_all_ranks, require_all_well


def test_all_processes_know_what_holds_in_one_of_them(tmp_path: Path) -> None:
    assert together(lambda rank: any_of_all_ranks(rank == 1), tmp_path / "store") == [True, True]
    assert together(lambda _: any_of_all_ranks(False), tmp_path / "other") == [False, False]


def test_a_process_alone_asks_nobody() -> None:
    assert (any_of_all_ranks(True), any_of_all_ranks(False)) == (True, False)
    require_all_well()


@pytest.mark.parametrize("failing", [0, 1])
def test_where_one_process_cannot_read_a_photo_the_other_ends_without_a_word(failing: int, tmp_path: Path) -> None:
    def work(rank: int) -> str:
        if rank == failing:
            Failures().on_exception(None, None, InputError("7.jpg: cannot be read"))
            return "said"
        with pytest.raises(SharedError) as raised:
            require_all_well()
        return str(raised.value)

    assert sorted(together(work, tmp_path / "store")) == ["", "said"]


def test_an_error_that_all_processes_raise_is_not_reported_to_the_others() -> None:
    """They do not ask any more, so that this process would wait for ever: here it asks nobody at all."""
    asked: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "any_of_all_ranks", asked.append)
        for error in (SharedError("NaN"), torch.OutOfMemoryError(), KeyboardInterrupt()):
            Failures().on_exception(None, None, error)
        assert asked == []
        Failures().on_exception(None, None, InputError("a photo"))
    assert asked == [True]


CHILD = """
import sys, time
from kaggle_tools.training.ranks.failures import ends_with_its_parent
with ends_with_its_parent(True):
    print("waits", flush=True)
    time.sleep(600)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_process_ends_when_the_one_that_started_it_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env=own_environment(), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert parent.stdout.readline() == "waits\n"
        parent.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 300
        while _runs(child):
            assert time.monotonic() < deadline, "the child lives on"
            time.sleep(0.1)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
