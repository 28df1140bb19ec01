import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kaggle_tools.system.hardware import hardware

MEMORY, PROCESSOR = Path("/proc/meminfo"), Path("/proc/cpuinfo")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not tie processes to cores")
def test_the_hardware_counts_only_cores_that_the_process_may_use() -> None:
    tied = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    code = f"{tied}; from kaggle_tools.system.hardware import hardware; print(hardware())"
    said = [subprocess.check_output([sys.executable, "-c", code], text=True), hardware()]
    counts = [int(re.search(r"(\d+) cores of ", words)[1]) for words in said]
    assert counts == [1, len(os.sched_getaffinity(0))]


@pytest.mark.skipif(not MEMORY.exists(), reason="Linux tells its memory there")
def test_the_hardware_names_the_memory_of_the_machine() -> None:
    kib = int(re.search(r"^MemTotal: +(\d+) kB$", MEMORY.read_text(), re.M)[1])
    assert hardware().endswith(f", {round(kib / 1024 / 1024)} GiB of memory")


@pytest.mark.skipif(
    not PROCESSOR.exists() or "model name" not in PROCESSOR.read_text(), reason="Linux names most processors there"
)
def test_the_hardware_names_the_processor_as_the_system_does() -> None:
    named = re.findall(r"^model name\s*: (.+)$", PROCESSOR.read_text(), re.M)
    assert f" cores of {named[0].strip()}," in hardware()


@pytest.mark.parametrize(
    ("gpus", "text"),
    [
        ([], ""),
        ([("NVIDIA L4", 24)], "1 x NVIDIA L4 (24 GiB), "),
        ([("A", 80), ("B", 24), ("A", 80)], "2 x A (80 GiB), 1 x B (24 GiB), "),
        ([("A", 80), ("A", 40)], "1 x A (80 GiB), 1 x A (40 GiB), "),
    ],
)
def test_the_hardware_counts_gpus_of_each_kind(
    gpus: list[tuple[str, int]], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = [SimpleNamespace(name=name, total_memory=gib * 1024**3) for name, gib in gpus]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(properties))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties[index])
    assert re.match(re.escape(text) + r"\d+ cores of ", hardware())
