import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kaggle_tools.errors import InputError
from kaggle_tools.system.hardware import (
    fast_memory_format,
    fast_precision,
    hardware,
    has_float64,
    one_kind_of_out_of_memory,
    require_working_gpu,
    wait_for,
)

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


class TestGpuThatDoesNotStart:
    """Injected: what PyTorch says where it is so."""

    INSTEAD = "or set CUDA_VISIBLE_DEVICES= (to nothing) to use the processor"

    def test_a_machine_without_a_gpu_is_fine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        require_working_gpu()

    def test_a_driver_that_is_too_old_is_named_with_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def is_available() -> bool:
            warnings.warn("The NVIDIA driver on your system is too old (found version 11040).\nMore.", stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        with pytest.raises(InputError) as raised:
            require_working_gpu()
        assert str(raised.value) == (
            "the GPU cannot be used (The NVIDIA driver on your system is too old (found version 11040)). "
            f"Renew NVIDIA's driver, or install a PyTorch for an older CUDA, {self.INSTEAD}"
        )

    def test_a_gpu_that_is_older_than_the_kernels_is_named_with_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nMore.")

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch, "ones", fail)
        with pytest.raises(InputError) as raised:
            require_working_gpu()
        assert str(raised.value) == (
            "the GPU cannot be used (CUDA error: no kernel image is available for execution on the device). Install a "
            "PyTorch that was built for it, as named on https://pytorch.org/get-started/previous-versions, "
            f"{self.INSTEAD}"
        )


@pytest.mark.parametrize(
    "message",
    [
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`",
        "MPS backend out of memory (MPS allocated: 9.0 GB)",
        "NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp",
    ],
)
def test_every_way_of_running_out_of_memory_on_a_device_is_the_same_error(message: str) -> None:
    with pytest.raises(torch.OutOfMemoryError, match=re.escape(message.splitlines()[0])), one_kind_of_out_of_memory():
        raise RuntimeError(message)


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="size of tensor a") as raised, one_kind_of_out_of_memory():
        raise RuntimeError("The size of tensor a must match")
    assert not isinstance(raised.value, torch.OutOfMemoryError)
    known = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(torch.OutOfMemoryError) as raised, one_kind_of_out_of_memory():
        raise known
    assert raised.value is known


@pytest.mark.parametrize(("kind", "last", "double"), [("cpu", True, True), ("cuda", True, True), ("mps", False, False)])
def test_what_apples_gpus_do_not_have_is_not_asked_of_them(kind: str, last: bool, double: bool) -> None:
    device = torch.device(kind)
    assert (fast_memory_format(device) == torch.channels_last) == last
    assert has_float64(device) == double


def test_every_device_but_the_processor_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: waited.append(device.type))
    for kind in ("cpu", "cuda", "mps"):
        wait_for(torch.device(kind))
    assert waited == ["cuda", "mps"]


class TestFastPrecision:
    @pytest.mark.parametrize(("itself", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
    def test_a_gpu_computes_in_bfloat16_where_it_does_not_imitate_it(
        self, itself: bool, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: itself or including_emulation)
        assert fast_precision(torch.device("cuda")) == expected

    @pytest.mark.parametrize(
        ("capabilities", "expected"),
        [
            ({"avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
            ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "AMD EPYC"}, "bf16-mixed"),
            ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, "32-true"),
            ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, "bf16-mixed"),
            ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
            ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, "32-true"),
            ({"architecture": "aarch64"}, "32-true"),
        ],
    )
    def test_a_processor_computes_in_bfloat16_where_that_is_faster(
        self, capabilities: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        assert fast_precision(torch.device("cpu")) == expected

    def test_a_pytorch_that_does_not_tell_computes_in_float32(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        assert fast_precision(torch.device("cpu")) == "32-true"

    def test_apples_gpus_compute_in_float32(self) -> None:
        assert fast_precision(torch.device("mps")) == "32-true"
