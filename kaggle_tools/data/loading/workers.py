"""Worker processes that load photos beside a model: their priority and threads, and their errors in plain words."""

import ctypes
import errno
import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from kaggle_tools.errors import OF_A_WORKER, InputError

Item = TypeVar("Item")

WORKER_NICENESS = 10
PR_SET_PDEATHSIG = 1
"""From Linux's sys/prctl.h."""
SHARED_MEMORY = Path("/dev/shm")
LITTLE = 1 << 20  # bytes of shared memory, with which no worker can do anything
SIGNS_OF_LITTLE_SHARED_MEMORY = re.compile("Bus error|shared memory|No space left on device(?!: ')")
"""In a message of torch. Where the name of a file follows, it is a disk that is full."""

# How many workers there are is the user's choice; torch says so again with each iterator.
warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")

# An iterator of torch that could not be set up would print a traceback when it is removed, as it then looks for this.
_MultiProcessingDataLoaderIter._shutdown = True


def loader(dataset: Dataset[Item], *, workers: int, device: str = "cpu", **settings: Any) -> DataLoader[Item]:
    """A DataLoader whose worker processes compete for the cores neither with each other nor with a model on the CPU.

    `device` is the type of the device on which the model runs, such as `cuda`; `settings` are DataLoader's own.
    """
    return DataLoader(
        dataset,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device == "cuda",
        worker_init_fn=_step_back if device == "cpu" else _one_thread,
        **settings,
    )


@contextmanager
def plain_worker_errors() -> Iterator[None]:
    """Restore the message of a worker's InputError, which a DataLoader replaces by the text of a traceback.

    Raises:
        InputError: the block raised one, in this process or in a worker's; or there is too little shared memory, in
            which workers hand over their photos.
    """
    try:
        yield
    except InputError as error:
        raise type(error)(str(error).rpartition(f"{InputError.__name__}: ")[2].rstrip()) from error
    except (RuntimeError, OSError) as error:
        if not any(_lacks_shared_memory(one) for one in _with_causes(error)):
            raise
        raise InputError(
            f"{SHARED_MEMORY}: too small for the photos that worker processes hand over. Give --workers 0, or make it "
            f"larger: `docker run --shm-size 8g` for a container, else `mount -o remount,size=8G {SHARED_MEMORY}`"
        ) from error


def _lacks_shared_memory(error: BaseException) -> bool:
    """Whether this is how torch, or multiprocessing before the first photo, fails for want of shared memory."""
    if isinstance(error, RuntimeError):
        return OF_A_WORKER in str(error) and SIGNS_OF_LITTLE_SHARED_MEMORY.search(str(error)) is not None
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
    return full and SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < LITTLE


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those before it, which Lightning may hide behind one of its own when it tidies up."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_thread(_: int) -> None:
    _end_with_the_parent()
    cv2.setNumThreads(0)


def _end_with_the_parent() -> None:
    """Let Linux end this process as soon as the one that trains is gone.

    It has that one's connections as well: while it holds them open, the other processes of the training wait for an
    answer, and Lightning ends them before they can say why.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _step_back(worker: int) -> None:
    _one_thread(worker)
    # The threads of a model on the CPU wait for each other: a core that a worker takes delays all of them. With a lower
    # priority, workers take what the model leaves, which is enough while it waits for them (benchmarks/RESULTS.md).
    if hasattr(os, "nice"):  # not on Windows
        os.nice(WORKER_NICENESS)
