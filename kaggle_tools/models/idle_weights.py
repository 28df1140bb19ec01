"""Weights of a network that no answer depends on, as some encoders bring layers that no decoder uses.

They get no gradient, which DistributedDataParallel takes for a mistake. Found on tensors without contents.
"""

import torch
from torch import nn

from kaggle_tools.models.segmenter import Architecture, Segmenter, blueprint


def freeze_idle_weights(model: Segmenter, architecture: Architecture, size: tuple[int, int]) -> None:
    """Exclude them from the training, in which nothing would change them either.

    Args:
        model: the network.
        architecture: what it was built as.
        size: (height, width) of the photos that it is trained on, which it takes.
    """
    idle = _idle(blueprint(architecture).train(), size)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name not in idle)


def _idle(network: nn.Module, size: tuple[int, int]) -> set[str]:
    photos_B3HW = torch.empty(2, 3, *size, dtype=torch.uint8, device="meta")
    with torch.random.fork_rng(devices=[]):
        network(photos_B3HW.to(memory_format=torch.channels_last)).sum().backward()
    return {name for name, weight in network.named_parameters() if weight.grad is None}
