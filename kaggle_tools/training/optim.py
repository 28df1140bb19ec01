"""The optimiser, the learning rate schedule, and the moving average of the weights (EMA)."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn, optim
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from kaggle_tools.config.training import TrainingConfig

MOMENTUM = 0.9  # of SGD


def make_optimizer(config: TrainingConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """The optimiser that the configuration names, at its peak learning rate."""
    if config.optimizer == "adam":
        return optim.Adam(parameters, lr=config.lr)
    if config.optimizer == "adamw":
        return optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return optim.SGD(parameters, lr=config.lr, momentum=MOMENTUM, weight_decay=config.weight_decay, nesterov=True)


def make_schedule(config: TrainingConfig, optimizer: optim.Optimizer, steps: int) -> LRScheduler:
    """The learning rate schedule over `steps` gradient steps, to be advanced after each of them."""
    if config.schedule == "one-cycle":
        # More than one step of warm-up and of descent, as torch divides by one less.
        share = min(0.9, max(config.warm_up, 1.5 / steps))
        return OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=share)
    warm_up = round(config.warm_up * steps)

    def share_of_peak(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        if config.schedule == "constant":
            return 1.0
        return (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2

    return LambdaLR(optimizer, share_of_peak)


Average = Callable[[list[Tensor], list[Tensor], Tensor], None]
"""Changes averages in place, given the weights of this step in the same order and how many steps there were."""


def moving_average(decay: float) -> Average:
    """The update of an exponential moving average (EMA), of all weights at once: three operations, not hundreds.

    The decay is smaller at first: (1 + steps) / (10 + steps). With a constant one, a fifth of the average would be
    the random initial weights after an epoch, and the normalisation statistics with them: every mask is black then.
    """

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
        if not averaged[0].is_floating_point():  # PyTorch groups them by type; these count batches
            torch._foreach_copy_(averaged, current)
            return
        share = ((1 + steps) / (10 + steps)).clamp(max=decay)
        # In this form constants, such as the mean and std of photos, stay the same to the bit, and the share need not
        # be known on the CPU, which would wait for the GPU.
        change = torch._foreach_sub(current, averaged)
        torch._foreach_mul_(change, 1 - share)
        torch._foreach_add_(averaged, change)

    return average
