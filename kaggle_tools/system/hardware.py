"""What this machine computes with."""

import os
import platform
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from kaggle_tools.errors import InputError
from kaggle_tools.precision import BF16, FP16, FP32, FixedPrecision
from kaggle_tools.system.processes import CORES

GIB = 2**30
SIGNS_OF_NO_DEVICE_MEMORY = (
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "MPS backend out of memory",
    "NVML_SUCCESS == r INTERNAL ASSERT",
)
"""In errors of libraries that do not raise PyTorch's OutOfMemoryError; the last is seen where processes share a GPU."""


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


def require_working_gpu() -> None:
    """Check, where there is an NVIDIA GPU, that this PyTorch can compute on it.

    Raises:
        InputError: its driver is too old, or the GPU is older than PyTorch's kernels; says what to do.
    """
    instead = "or set CUDA_VISIBLE_DEVICES= (to nothing) to use the processor"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
        try:
            if available:
                torch.ones(1, device="cuda").add_(1).item()
        except RuntimeError as error:
            raise InputError(
                f"the GPU cannot be used ({_first_line(error)}). Install a PyTorch that was built for it, as named on "
                f"https://pytorch.org/get-started/previous-versions, {instead}"
            ) from error
    if not available and said:
        raise InputError(
            f"the GPU cannot be used ({_first_line(said[0].message)}). Renew NVIDIA's driver, or install a PyTorch for "
            f"an older CUDA, {instead}"
        )


@contextmanager
def one_kind_of_out_of_memory() -> Iterator[None]:
    """Let every way in which a device says that its memory does not suffice be PyTorch's own.

    Raises:
        OutOfMemoryError: the block failed for want of memory on the device.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not any(
            sign in str(error) for sign in SIGNS_OF_NO_DEVICE_MEMORY
        ):
            raise
        raise torch.OutOfMemoryError(_first_line(error)) from error


def fast_memory_format(device: torch.device) -> torch.memory_format:
    """In which order the values of photos lie in memory where convolutions are fastest."""
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def has_float64(device: torch.device) -> bool:
    """Whether it computes in double precision; Apple's GPUs do not."""
    return device.type != "mps"


def has_its_own_memory(device: torch.device) -> bool:
    """Whether PyTorch itself says where the memory of the device does not suffice."""
    return device.type == "cuda"


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was asked for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def fast_precision(device: torch.device) -> FixedPrecision:
    """The fastest arithmetic of a device in which networks learn and answer as well as in float32.

    Only what it computes with itself: older GPUs and processors imitate bfloat16, slowly. On GPUs without it that is
    float16, whose losses must be scaled.
    """
    if device.type == "cuda":
        return BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else FP16
    return BF16 if device.type == "cpu" and _cpu_is_faster_in_bfloat16() else FP32


def half_of(precision: FixedPrecision) -> torch.dtype | None:
    """The 16-bit numbers of an arithmetic, if it has any."""
    return {FP32: None, BF16: torch.bfloat16, FP16: torch.float16}[precision]


def _cpu_is_faster_in_bfloat16() -> bool:
    """Whether bfloat16 saves the processor time; False where this PyTorch cannot tell.

    Told from what the processor is and not from a measurement, so that a training that is continued computes as it
    began. Intel's Xeon of the fourth generation, where a virtual machine hides its AMX, multiplies in bfloat16 half as
    fast as in float32; AMD's Zen 4 nearly twice as fast (benchmarks/RESULTS.md).
    """
    known: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = known()
    has_vectors = bool(capabilities.get("avx512_bf16")) and "Intel" not in str(capabilities.get("cpu_name"))
    return has_vectors or bool(capabilities.get("amx_bf16"))


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _gpu(index: int) -> str:
    properties = torch.cuda.get_device_properties(index)
    return f"{properties.name} ({properties.total_memory / GIB:.0f} GiB)"


def _cpu() -> str:
    linux = Path("/proc/cpuinfo")  # where Python itself knows only x86_64
    lines = linux.read_text().splitlines() if linux.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
