"""Weights that a training leaves as they are. Found on tensors without contents, which cost nothing.

B batch, H height, W width.
"""

from typing import cast

import torch
from torch import Tensor, nn

from kaggle_tools.errors import InputError
from kaggle_tools.models.segmenter import Architecture, Segmenter, blueprint


def freeze_idle_weights(model: Segmenter, architecture: Architecture, size: tuple[int, int]) -> None:
    """Exclude the weights that no answer depends on, as some encoders bring layers that no decoder uses.

    Nothing would change them either, but DistributedDataParallel takes weights without a gradient for a mistake.

    Args:
        model: the network.
        architecture: what it was built as.
        size: (height, width) of the photos that it is trained on, which it takes.
    """
    network = blueprint(architecture).train()
    with torch.random.fork_rng(devices=[]):
        network(_photos(2, size)).sum().backward()
    _freeze(model, {name for name, weight in network.named_parameters() if weight.grad is None})


def freeze_levels(model: Segmenter, architecture: Architecture, size: tuple[int, int], levels: int) -> None:
    """Exclude the first levels of an encoder: what pretrained ones see there is the same in all photos.

    They work at the largest sizes, so that half of an encoder's time goes into them, and most of that into gradients.
    Their normalisations still take the statistics of the batches.

    Args:
        model: the network.
        architecture: what it was built as.
        size: (height, width) of photos that it takes.
        levels: 1 for the layers whose results have at least half the sides of a photo, 2 for a quarter, and so on.

    Raises:
        InputError: the encoder has no layer as large as that.
    """
    if not levels:
        return
    network, weights = blueprint(architecture).eval(), set[str]()
    names = {layer: name for name, layer in network.named_modules()}

    def look(layer: nn.Module, _: object, result: object) -> None:
        if isinstance(result, Tensor) and result.ndim == 4 and result.shape[2] * 2**levels >= size[0]:
            weights.update(f"{names[layer]}.{weight}" for weight, _ in layer.named_parameters(recurse=False))

    for layer in cast(nn.Module, network.net.encoder).modules():
        layer.register_forward_hook(look)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network(_photos(1, size))
    if not weights:
        raise InputError(f"--frozen-levels {levels}: the encoder of {architecture.name} has no layer as large as that")
    _freeze(model, weights)


def _photos(count: int, size: tuple[int, int]) -> Tensor:
    photos_B3HW = torch.empty(count, 3, *size, dtype=torch.uint8, device="meta")
    return photos_B3HW.to(memory_format=torch.channels_last)


def _freeze(model: Segmenter, names: set[str]) -> None:
    for name, weight in model.named_parameters():
        if name in names:
            weight.requires_grad_(False)
