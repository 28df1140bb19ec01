"""The optimiser, the learning rate schedule, and the moving average of the weights (EMA)."""

import math
from collections.abc import Callable, Iterable

from torch import Tensor, nn, optim
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from kaggle_tools.config import TrainingConfig

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


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The update of an exponential moving average (EMA): (average, weights, steps so far) to the new average.

    The decay is smaller at first: (1 + steps) / (10 + steps). With a constant one, a fifth of the average would be
    the random initial weights after an epoch, and the normalisation statistics with them: every mask is black then.
    """

    def average(averaged: Tensor, current: Tensor, steps: Tensor) -> Tensor:
        share = ((1 + steps) / (10 + steps)).clamp(max=decay)
        # In this form constants, such as the mean and std of photos, stay the same to the bit.
        return averaged + (1 - share) * (current - averaged)

    return average
