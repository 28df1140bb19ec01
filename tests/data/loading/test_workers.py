import errno
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from faults import in_small_shared_memory
from noise import draw
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.datasets import MaskedPhotos
from kaggle_tools.data.loading.workers import WORKER_NICENESS, loader, plain_worker_errors
from kaggle_tools.errors import InputError


class Workplace(Dataset[tuple[int, int]]):
    """What a worker that asks for an item runs with."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[int, int]:
        return os.getpriority(os.PRIO_PROCESS, 0), cv2.getNumThreads()


class TestPriority:
    def of_a_worker(self, workers: int, device: str) -> tuple[int, int]:
        ((niceness, threads),) = loader(Workplace(), workers=workers, device=device)
        return int(niceness), int(threads)

    def test_workers_beside_a_model_on_the_cpu_have_a_lower_priority(self) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert self.of_a_worker(1, "cpu") == (min(own + WORKER_NICENESS, 19), 1)

    def test_workers_beside_a_model_on_a_gpu_have_the_usual_priority(self) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert self.of_a_worker(1, "mps") == (own, 1)

    def test_the_process_of_the_model_keeps_its_priority(self) -> None:
        own = os.getpriority(os.PRIO_PROCESS, 0), cv2.getNumThreads()
        assert self.of_a_worker(0, "cpu") == own
        self.of_a_worker(1, "cpu")
        assert (os.getpriority(os.PRIO_PROCESS, 0), cv2.getNumThreads()) == own

    @pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False), ("mps", False)])
    def test_memory_is_pinned_for_a_gpu(self, device: str, pinned: bool) -> None:
        assert loader(Workplace(), workers=0, device=device).pin_memory is pinned


LOADS = """
import os, time
from kaggle_tools.data.loading.workers import loader

def slow(_):
    print(os.getpid(), flush=True)
    time.sleep(60)

next(iter(loader([0, 1], workers=1, collate_fn=slow)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with the one that started it")
def test_workers_are_gone_as_soon_as_the_process_that_trains_is_killed() -> None:
    """Not after seconds, in which they hold its connections to other processes."""
    with subprocess.Popen([sys.executable, "-c", LOADS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        worker = int(process.stdout.readline())
        process.kill()
    end = time.monotonic() + 3
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    """Neither gone nor waiting for somebody to ask how it ended."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


class TestBrokenPhotos:
    def message(self, dataset: Dataset, workers: int) -> str:
        batches = loader(dataset, workers=workers, batch_size=2)
        with pytest.raises(InputError) as refusal, plain_worker_errors():
            list(batches)
        if workers:
            batches._iterator._shutdown_workers()  # as garbage, the iterator would wait 5 seconds for each worker
        return str(refusal.value)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_input_error_of_a_worker_has_its_own_message_without_a_traceback(
        self, photos: list[Photo], workers: int
    ) -> None:
        photos[4].path.write_bytes(b"\xff\xd8 cut off")
        assert self.message(MaskedPhotos(photos, None), workers) == (
            f"{photos[4].path}: not a photo that can be read; fetch it again"
        )

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_input_error_of_a_worker_with_a_cause_has_its_own_message_too(
        self, photos: list[Photo], workers: int
    ) -> None:
        photos[4].mask.write_bytes(b"GIF")
        message = self.message(MaskedPhotos(photos, None), workers)
        assert re.fullmatch(rf"{photos[4].mask}: not a mask that can be read \(.*\)", message)

    def test_other_errors_of_a_worker_pass_as_they_are(self) -> None:
        with pytest.raises(ZeroDivisionError, match="division by zero"), plain_worker_errors():
            _ = 1 / 0

    def test_an_input_error_of_several_lines_stays_whole(self) -> None:
        with pytest.raises(InputError, match=r"^first\n  second$"), plain_worker_errors():
            raise InputError("first\n  second")


class TestLittleSharedMemory:
    """What torch says where /dev/shm is full: of its own, of a worker that the system killed, or from a worker."""

    @pytest.mark.parametrize(
        "message",
        [
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit.",
            "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            "RuntimeError: unable to allocate shared memory(shm) for file </torch_7_1_0>: No space left on device\n",
            "Caught RuntimeError in DataLoader worker process 3.\nOriginal Traceback (most recent call last):\n"
            "RuntimeError: unable to write to file </torch_7_1_0>: No space left on device (28)\n",
        ],
        ids=["killed", "allocated", "written"],
    )
    def test_little_shared_memory_is_named_with_what_to_do(self, message: str) -> None:
        with pytest.raises(InputError) as refused, plain_worker_errors():
            raise RuntimeError(message)
        assert str(refused.value) == (
            "/dev/shm: too small for the photos that worker processes hand over. Give --workers 0, or make it larger: "
            "`docker run --shm-size 8g` for a container, else `mount -o remount,size=8G /dev/shm`"
        )

    @pytest.mark.parametrize("size", ["8k", "64k"])
    def test_a_loader_whose_workers_have_little_of_it_says_so(self, size: str, tmp_path: Path) -> None:
        """In a process that alone sees the small /dev/shm: for two pages not even a worker is started."""
        photos = [draw(tmp_path, number, size=(200, 300)) for number in range(2)]

        def load() -> None:
            with pytest.raises(InputError, match="^/dev/shm: too small for the photos"), plain_worker_errors():
                list(loader(MaskedPhotos(photos, None), workers=1, batch_size=2))

        in_small_shared_memory(size, load)

    def test_what_of_a_loader_could_not_be_set_up_is_removed_without_a_traceback(self) -> None:
        half_set_up = object.__new__(_MultiProcessingDataLoaderIter)
        half_set_up.__del__()

    @pytest.mark.parametrize("hidden", [False, True])
    def test_workers_that_cannot_be_started_for_want_of_it_are_named_too(
        self, hidden: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before the first photo, for what the processes agree by; Lightning then fails while it tidies up."""
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))

        def start() -> None:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            finally:
                if hidden:
                    raise RuntimeError("Please call `iter(combined_loader)` first.")

        with pytest.raises(InputError, match="^/dev/shm: too small for the photos"), plain_worker_errors():
            start()

    def test_a_full_disk_is_not_taken_for_it_nor_another_end_of_a_worker(self) -> None:
        for error in (
            OSError(errno.ENOSPC, "No space left on device"),
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. "),
            RuntimeError("unable to mmap 8 bytes: shared memory"),
            RuntimeError("Caught OSError in DataLoader worker 0.\nOSError: [Errno 28] No space left on device: 'f'"),
        ):
            with pytest.raises(type(error)) as passed, plain_worker_errors():
                raise error
            assert passed.value is error
