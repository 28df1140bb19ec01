import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from process_group import together

from kaggle_tools.errors import InputError
from kaggle_tools.system.processes import (
    RANKS,
    as_started,
    device_count,
    gathered,
    is_first_process,
    launch,
    of_the_first,
    on_a_gpu,
    own_gpu,
    rank_and_ranks,
    run_on_gpus,
    visible_gpus,
    warn_of_idle_gpus,
)

ROOT = Path(__file__).resolve().parents[2]

REPORT = """
import os, pathlib, sys, time
started = time.time()
{work}
print("on", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
print("an error", file=sys.stderr)
pathlib.Path(sys.argv[1]).write_text(f"{{os.environ['CUDA_VISIBLE_DEVICES']}} {{started}} {{time.time()}}")
sys.exit(int(sys.argv[2]))
"""


MEETING = """
me = pathlib.Path(sys.argv[1])
me.with_suffix(".here").touch()
while len(list(me.parent.glob("*.here"))) < 2:
    if time.time() > started + 120:
        sys.exit("the other one has not begun")
    time.sleep(0.01)
"""


def run(folder: Path, gpus: list[str], *exit_codes: int, work: str = "time.sleep(0.2)") -> dict[int, int]:
    def command(name: str) -> list[str]:
        fold = name.removeprefix("fold ")
        return [sys.executable, "-c", REPORT.format(work=work), str(folder / fold), str(exit_codes[int(fold)])]

    names = [f"fold {fold}" for fold in range(len(exit_codes))]
    codes = run_on_gpus(names, gpus, command)
    return {fold: codes[name] for fold, name in enumerate(names)}


def test_a_gpu_never_trains_more_than_one_fold_at_once(tmp_path: Path) -> None:
    assert run(tmp_path, ["3", "GPU-uuid"], 0, 0, 0, 0) == dict.fromkeys(range(4), 0)
    spans: dict[str, list[tuple[float, float]]] = {}
    for fold in range(4):
        gpu, start, end = (tmp_path / str(fold)).read_text().split()
        spans.setdefault(gpu, []).append((float(start), float(end)))
    assert spans.keys() == {"3", "GPU-uuid"}
    for taken in spans.values():
        ordered = sorted(taken)
        assert all(before[1] <= after[0] for before, after in pairwise(ordered))


def test_folds_on_different_gpus_run_at_once(tmp_path: Path) -> None:
    """Each waits for the other to have begun, so that both only end if they run at once."""
    assert run(tmp_path, ["0", "1"], 0, 0, work=MEETING) == {0: 0, 1: 0}
    assert {(tmp_path / name).read_text().split()[0] for name in "01"} == {"0", "1"}


def test_the_exit_code_of_a_failed_fold_is_returned_and_the_other_folds_go_on(tmp_path: Path) -> None:
    assert run(tmp_path, ["0"], 0, 7, 0) == {0: 0, 1: 7, 2: 0}
    assert (tmp_path / "2").exists()


def test_each_line_of_a_parallel_fold_begins_with_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, ["5"], 0)
    assert sorted(capsys.readouterr().out.splitlines()) == ["[fold 0] an error", "[fold 0] on 5"]


def test_only_gpus_named_in_cuda_visible_devices_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-uuid")
    assert visible_gpus() == ["2", "GPU-uuid"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_no_gpu_is_visible_where_cuda_visible_devices_hides_them(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert visible_gpus() == []
    assert visible_gpus("2") == []


@pytest.mark.parametrize(
    ("devices", "gpus"), [("auto", "4567"), ("-1", "4567"), ("2", "45"), ("0,2", "46"), ("3,1", "75"), ("4", "4567")]
)
def test_the_gpus_that_devices_names_are_counted_among_those_that_this_process_sees(
    devices: str, gpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert visible_gpus(devices) == list(gpus)


@pytest.mark.parametrize("devices", ["5", "0,4"])
def test_gpus_that_are_not_there_are_refused(devices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(InputError, match=f"--devices {devices}: this machine shows 4 GPUs"):
        visible_gpus(devices)


@pytest.mark.parametrize(
    ("tasks", "gpus", "devices", "warned"),
    [
        ("1", 4, "auto", True),
        ("4", 4, "auto", False),
        ("1", 1, "auto", False),
        ("1", 4, "1", False),
        (None, 4, "auto", False),
    ],
)
def test_gpus_for_which_slurm_has_started_no_process_are_named(
    tasks: str | None, gpus: int, devices: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if tasks:
        monkeypatch.setenv("SLURM_NTASKS", tasks)
        monkeypatch.setenv("SLURM_JOB_NAME", "train")
    warn_of_idle_gpus(devices, 1)
    said = "warning: SLURM has started 1 of the 4 processes that 4 GPUs need: srun --ntasks-per-node=4\n"
    assert capsys.readouterr().err == (said if warned else "")


@pytest.mark.parametrize("name", RANKS)
def test_the_first_process_is_the_first_of_the_first_node(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in RANKS:
        monkeypatch.delenv(other, raising=False)
    assert is_first_process()
    monkeypatch.setenv(name, "0")
    assert is_first_process()
    monkeypatch.setenv(name, "1")
    assert not is_first_process()


class TestLaunch:
    @pytest.mark.parametrize("devices", ["auto", "1"])
    def test_launching_on_one_device_starts_no_other_process(
        self, devices: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
        fabric = launch(devices, 1)
        assert (fabric.device.type, fabric.world_size) == ("cpu", 1)
        assert rank_and_ranks() == (0, 1)

    @pytest.mark.parametrize("devices", ["0", "-3", "two", "1.5", ""])
    def test_launching_on_devices_that_do_not_exist_is_refused_and_they_are_named(self, devices: str) -> None:
        with pytest.raises(InputError, match=f"^--devices {devices} --nodes 1: `.*devices.*"):
            launch(devices, 1)


@pytest.mark.parametrize(
    ("rank", "devices", "gpu"),
    [({}, "auto", "4"), ({"LOCAL_RANK": "1"}, "auto", "5"), ({"SLURM_LOCALID": "1"}, "auto", "5"), ({}, "1,0", "5")],
)
def test_each_process_has_a_gpu_of_its_own_among_those_that_are_meant(
    rank: dict[str, str], devices: str, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    for name, value in rank.items():
        monkeypatch.setenv(name, value)
    assert own_gpu(devices) == gpu


def test_of_more_processes_than_gpus_that_each_sees_all_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As SLURM shows each of them its own GPU alone; and on a machine without any, no GPU is shown."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert own_gpu("auto") == "4"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert own_gpu("auto") == ""


def test_a_function_is_called_in_a_process_of_its_own_that_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert on_a_gpu("GPU-uuid", os.getenv, "CUDA_VISIBLE_DEVICES") == "GPU-uuid"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    with pytest.raises(ValueError, match="invalid literal"):
        on_a_gpu("0", int, "x")
    with pytest.raises(BrokenProcessPool):
        on_a_gpu("0", os._exit, 9)


def test_a_process_alone_is_the_first_of_one_and_gathers_its_own_value() -> None:
    assert rank_and_ranks() == (0, 1)
    assert gathered("mine") == ["mine"]
    assert of_the_first("mine") == "mine"


def test_processes_know_their_ranks_and_gather_all_values_in_the_order_of_ranks(tmp_path: Path) -> None:
    found = together(lambda rank: (rank_and_ranks(), gathered([f"of {rank}"] * rank)), tmp_path / "store", ranks=3)
    everything = [[], ["of 1"], ["of 2", "of 2"]]
    assert found == [((rank, 3), everything) for rank in range(3)]


def test_the_value_of_the_first_process_is_given_to_all(tmp_path: Path) -> None:
    found = together(lambda rank: of_the_first([[rank, 7]] * (3 - rank)), tmp_path / "store")
    assert found == [[[0, 7]] * 3] * 2


ORPHAN = """
import time
from kaggle_tools.system.processes import is_orphan
print(is_orphan(), flush=True)
while not is_orphan():
    time.sleep(0.01)
print(is_orphan())
"""


def test_a_process_is_an_orphan_once_the_one_that_started_it_has_ended() -> None:
    shell = ["sh", "-c", '"$0" -c "$1" & read line', sys.executable, ORPHAN]
    with subprocess.Popen(shell, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdin is not None
        assert starter.stdout is not None
        assert starter.stdout.readline() == "False\n"
        starter.stdin.close()
        assert starter.wait() != 0
        assert starter.stdout.readline() == "True\n"


class TestAsStarted:
    @pytest.fixture(autouse=True)
    def alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "GROUP_RANK", "NODE_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_JOB_NAME"):
            monkeypatch.delenv(name, raising=False)

    def test_without_torchrun_or_slurm_devices_and_nodes_are_as_given(self) -> None:
        assert as_started("auto", 1) == ("auto", 1)
        assert as_started("0,1", 3) == ("0,1", 3)

    def test_torchrun_decides_devices_and_nodes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "TORCHELASTIC_RUN_ID": "x",
            "RANK": "5",
            "WORLD_SIZE": "8",
            "LOCAL_WORLD_SIZE": "4",
        }.items():
            monkeypatch.setenv(name, value)
        assert as_started("auto", 1) == ("4", 2)

    def test_slurm_decides_devices_and_nodes_unless_devices_are_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slurm = {"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}
        for name, value in slurm.items():
            monkeypatch.setenv(name, value)
        assert as_started("auto", 1) == ("8", 2)
        assert as_started("2", 1) == ("2", 1)
        assert device_count("auto", 1) == 16

    def test_devices_are_counted_over_all_nodes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
        assert [device_count(devices, 2) for devices in ("3", "0,2", "-1", "auto")] == [6, 4, 8, 8]
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
        assert device_count("auto", 1) == 1
