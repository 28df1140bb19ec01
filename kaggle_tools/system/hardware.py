"""What this machine computes with."""

import os
import platform
from collections import Counter
from pathlib import Path

import torch

from kaggle_tools.system.processes import CORES

GIB = 2**30


def hardware() -> str:
    """GPUs, processor and memory, for those who read a run's figures later.

    As in `2 x NVIDIA A100 (80 GiB), 16 cores of AMD EPYC, 126 GiB of memory`.
    """
    gpus = Counter(_gpu(index) for index in range(torch.cuda.device_count()))
    parts = [f"{count} x {gpu}" for gpu, count in gpus.items()] + [f"{CORES} cores of {_cpu()}"]
    if memory := memory_bytes():
        parts.append(f"{memory / GIB:.0f} GiB of memory")
    return ", ".join(parts)


def memory_bytes() -> int | None:
    """How much main memory there is; None where the system does not tell."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None


def best_device() -> torch.device:
    """The fastest device of this machine."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether the GPU itself computes in bfloat16; older ones only imitate it, slowly."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def half_precision() -> torch.dtype:
    """The 16-bit numbers that this machine computes with: bfloat16, or float16 on GPUs that only imitate it."""
    return torch.bfloat16 if not torch.cuda.is_available() or has_bfloat16() else torch.float16


def _gpu(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} ({properties.total_memory / GIB:.0f} GiB)"


def _cpu() -> str:
    linux = Path("/proc/cpuinfo")  # where Python itself knows only x86_64
    lines = linux.read_text().splitlines() if linux.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
