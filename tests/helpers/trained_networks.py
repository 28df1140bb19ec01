"""Small networks that have been trained a little, and photos for them."""

import torch
from torch import Tensor

from kaggle_tools.models.segmenter import Architecture, Segmenter, build

SMALL_UNET = Architecture("unet", width=4, depth=2)
SMP = "smp:Unet/mobilenet_v2"


def two_photos(height: int = 61, width: int = 93) -> Tensor:
    """Noise, always the same: shape (2, 3, height, width), uint8."""
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def trained(architecture: Architecture) -> Segmenter:
    """A network that has seen a batch, so that its normalisations are no longer as they were built."""
    torch.manual_seed(0)
    model = build(architecture)
    with torch.no_grad():
        model.train()(two_photos())
    return model.eval()
