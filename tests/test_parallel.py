import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from kaggle_tools.parallel import RANKS, is_first_process, run_on_gpus, visible_gpus

REPORT = """
import os, pathlib, sys, time
started = time.time()
time.sleep(0.2)
print("on", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
print("an error", file=sys.stderr)
pathlib.Path(sys.argv[1]).write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {started} {time.time()}")
sys.exit(int(sys.argv[2]))
"""


def run(folder: Path, gpus: list[str], *exit_codes: int) -> dict[int, int]:
    def command(fold: int) -> list[str]:
        return [sys.executable, "-c", REPORT, str(folder / str(fold)), str(exit_codes[fold])]

    return run_on_gpus(range(len(exit_codes)), gpus, command)


def test_there_is_never_more_than_one_fold_on_a_gpu(tmp_path: Path) -> None:
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
    start = time.time()
    run(tmp_path, ["0", "1"], 0, 0)
    first, second = (list(map(float, (tmp_path / name).read_text().split()[1:])) for name in "01")
    assert max(first[0], second[0]) < min(first[1], second[1])
    assert first[0] > start


def test_what_failed_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    assert run(tmp_path, ["0"], 0, 7, 0) == {0: 0, 1: 7, 2: 0}
    assert (tmp_path / "2").exists()


def test_the_lines_say_of_which_fold_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, ["5"], 0)
    assert sorted(capsys.readouterr().out.splitlines()) == ["[fold 0] an error", "[fold 0] on 5"]


def test_the_gpus_that_are_named_are_those_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-uuid")
    assert visible_gpus() == ["2", "GPU-uuid"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_machine_without_gpus_has_none(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert visible_gpus() == []


@pytest.mark.parametrize("name", RANKS)
def test_the_first_process_is_the_first_of_the_first_node(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in RANKS:
        monkeypatch.delenv(other, raising=False)
    assert is_first_process()
    monkeypatch.setenv(name, "0")
    assert is_first_process()
    monkeypatch.setenv(name, "1")
    assert not is_first_process()
