"""Where one of several processes fails, all end at once, and one of them says why.

The others would otherwise wait for it, with their memory held, until a collective operation of theirs times out. They
ask each other before each gradient step and after each validation, on the CPU, so that no GPU waits for it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import distributed

from kaggle_tools.errors import InputError, SharedError
from kaggle_tools.system.processes import is_orphan, rank_and_ranks

SIGNS_OF_A_LOST_PROCESS = ("Connection closed by peer", "Connection reset by peer", "remote process exited")
"""In errors of gloo and NCCL."""
PATIENCE = 1.0
"""Seconds after which a process notices that the one that started it has ended."""


def any_of_all_ranks(fact: bool) -> bool:
    """Whether something holds in one of the processes, which all ask at the same place."""
    if rank_and_ranks()[1] == 1:
        return fact
    largest = torch.tensor(fact, dtype=torch.uint8)
    distributed.all_reduce(largest, distributed.ReduceOp.MAX, group=_on_the_cpu())
    return bool(largest)


def require_all_well() -> None:
    """End this process where another one is about to end with an error, which it says itself.

    Raises:
        SharedError: there is one.
    """
    if any_of_all_ranks(False):
        raise SharedError("")


class Failures(Callback):
    """Tells the other processes, which ask when they have their photos, that this one cannot read one of its own."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Answer the question that the others are asking."""
        if isinstance(exception, InputError) and not isinstance(exception, SharedError):
            any_of_all_ranks(True)


@contextmanager
def explained_loss_of_a_process() -> Iterator[None]:
    """Say in one line that another process is gone, in the place of what the libraries say of it.

    Raises:
        InputError: the block failed for that reason.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in SIGNS_OF_A_LOST_PROCESS):
            raise
        if rank_and_ranks()[0] > 0:
            raise SharedError("") from error
        raise InputError(
            "another process of this training has ended, for a reason that stands above if it could say one; "
            "the same command continues from the last whole epoch"
        ) from error


@contextmanager
def ends_with_its_parent(active: bool) -> Iterator[None]:
    """Let this process end as soon as the one that started it has, with which it shares its work.

    A killed process cannot tell the others; those may wait for it in an operation that nothing but a signal ends.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PATIENCE):
            if is_orphan():
                os._exit(1)

    if active:
        threading.Thread(target=watch, daemon=True, name="watches the parent").start()
    try:
        yield
    finally:
        done.set()


@cache
def _on_the_cpu() -> distributed.ProcessGroup | None:
    """The processes, to be asked without a GPU; None: as they are."""
    if distributed.get_backend() == "gloo":
        return None
    return cast(distributed.ProcessGroup, distributed.new_group(backend="gloo"))
