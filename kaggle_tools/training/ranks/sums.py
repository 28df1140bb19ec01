"""Values of a whole batch, of which each process holds a share of the same size; differentiable.

DistributedDataParallel takes the mean of the processes' gradients. Each process computes the loss of the whole batch,
and what flows back to its share is added up over all of them, so that this mean is the gradient that one process would
find. In a single process nothing is changed, to the bit.
"""

from typing import Any

import torch
from torch import Tensor, distributed

from kaggle_tools.system.processes import rank_and_ranks


def of_all_ranks(value: Tensor) -> Tensor:
    """The sum of a tensor of any shape over all processes."""
    if rank_and_ranks()[1] == 1:
        return value
    total: Tensor = _Sum.apply(value)
    return total


def whole_batch(share_B1HW: Tensor) -> Tensor:
    """The photos of all processes, each process's behind those of the one before."""
    rank, ranks = rank_and_ranks()
    if ranks == 1:
        return share_B1HW
    nothing_B1HW = torch.zeros_like(share_B1HW)
    return of_all_ranks(torch.cat([share_B1HW if one == rank else nothing_B1HW for one in range(ranks)]))


class _Sum(torch.autograd.Function):
    """Each process's value has a part in the sums of all: its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total
