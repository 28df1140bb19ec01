"""Processes that work together, forked from the test: neither Python nor torch starts anew."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch
from torch import distributed

from kaggle_tools.system import processes

T = TypeVar("T")


def together(work: Callable[[int], T], store: Path, ranks: int = 2) -> list[T]:
    """What `work`, given its rank, returns in each of the processes; `store` is a file that is not there yet."""
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(ranks)]
    processes = [
        fork.Process(target=_work_as, args=(rank, ranks, work, store, sender), daemon=True)
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, sender in pipes:
        sender.close()  # so that a process that dies is noticed
    results = [receiver.recv() for receiver, _ in pipes]
    for process in processes:
        process.join()
    return results


def _work_as(rank: int, ranks: int, work: Callable[[int], T], store: Path, sender: Connection) -> None:
    processes.STARTER = os.getppid()  # not that of the process that imported it
    torch.set_num_threads(1)  # the other threads were not forked
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    sender.send(work(rank))
    distributed.destroy_process_group()
