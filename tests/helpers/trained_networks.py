"""Small networks that have been trained a little, and photos for them."""

from typing import Any

import torch
from known_competitions import CARVANA
from torch import Tensor

from kaggle_tools.config.presets import config_from
from kaggle_tools.models.segmenter import Architecture, Segmenter, build, design

SMALL_UNET = Architecture("unet", width=4, depth=2)
SMP = "smp:Unet/mobilenet_v2"


def two_photos(height: int = 61, width: int = 93) -> Tensor:
    """Noise, always the same: shape (2, 3, height, width), uint8."""
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def designed(model: str, **options: Any) -> Architecture:
    """The architecture of a training with this model and these options, fields by name."""
    return design(config_from("carvana", CARVANA.slug, {"model": model, **options}))


def trained(architecture: Architecture) -> Segmenter:
    """A network that has seen a batch, so that its normalisations are no longer as they were built."""
    torch.manual_seed(0)
    model = build(architecture)
    with torch.no_grad():
        model.train()(two_photos())
    return model.eval()
