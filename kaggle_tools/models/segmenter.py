"""The network that segments photos: a U-Net from scratch or one of segmentation-models-pytorch, with its normalisation.

Knows nothing of training, folds or competitions.

B batch, C classes, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kaggle_tools.config.training import TrainingConfig, check_setting
from kaggle_tools.config.values import MOST_CLASSES, UNET
from kaggle_tools.errors import InputError
from kaggle_tools.models.encoders import smp
from kaggle_tools.models.encoders.smp import RGB
from kaggle_tools.models.unet import UNet, pad_to_multiple
from kaggle_tools.options import as_text
from kaggle_tools.system import json_values
from kaggle_tools.system.hardware import GIB, memory_bytes


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build a network for given weights.

    Raises:
        InputError: a value that is not possible.
        TypeError, ValueError: one that is not of its type.
    """

    name: str = UNET
    """`unet`, or `smp:ARCHITECTURE/ENCODER` for any of segmentation-models-pytorch."""
    width: int = 64
    """Channels of the U-Net's first block; smp models have sizes of their own."""
    depth: int = 4
    """How often the U-Net halves the size."""
    mean: RGB = (0.0, 0.0, 0.0)
    """Subtracted from photos in [0, 1], RGB."""
    std: RGB = (1.0, 1.0, 1.0)
    """Divided by, after the mean is subtracted."""
    unshuffle: int = 1
    """Side in pixels of the squares that are one pixel inside of the U-Net."""
    decoder_channels: tuple[int, ...] = ()
    """Of an smp model's decoder, from its smallest level to its largest; none: as smp has it."""
    classes: int = 1
    """How many masks it gives, each by a probability of its own, as they may overlap."""

    @property
    def options(self) -> str:
        """As it is asked for: `--model unet --width 16 --depth 4`."""
        if self.name != UNET:
            channels = f" --decoder-channels {as_text(self.decoder_channels)}" if self.decoder_channels else ""
            return f"--model {self.name}{channels}"
        squares = f" --unshuffle {self.unshuffle}" if self.unshuffle > 1 else ""
        return f"--model {self.name} --width {self.width} --depth {self.depth}{squares}"

    def __post_init__(self) -> None:
        for name in ("width", "depth", "unshuffle", "decoder_channels"):
            check_setting(name, getattr(self, name))
        if not 1 <= json_values.whole(self.classes) <= MOST_CLASSES:
            raise InputError(f"{self.classes} classes are not from 1 to {MOST_CLASSES}")
        check_setting("model", self.name)
        numbers = [json_values.floating(number) for number in (*self.mean, *self.std)]
        if not len(self.mean) == len(self.std) == 3 or min(numbers[3:]) <= 0:
            raise InputError(f"not the mean and the standard deviation of three colours: {self.mean}, {self.std}")


class Segmenter(nn.Module):
    """A network together with the normalisation that it expects.

    Takes photos as they come from the file, uint8 (B, 3, H, W) in RGB and of any size, and gives
    logits (B, C, H, W) of the same size, C for each class.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: RGB, std: RGB, multiple: int, classes: int = 1) -> None:
        super().__init__()
        self.net = net
        self.multiple = multiple
        self.classes = classes
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        """The logits (B, C, H, W) of photos (B, 3, H, W), uint8."""
        height, width = photos_B3HW.shape[-2:]
        images = (photos_B3HW.float() - self.mean) / self.std
        logits_BCHW: Tensor = self.net(pad_to_multiple(images, self.multiple))
        return logits_BCHW[..., :height, :width]


def design(config: TrainingConfig) -> Architecture:
    """The architecture that a training asks for, with the normalisation of its encoder.

    Raises:
        InputError: an unknown name, or pretrained weights that cannot be fetched.
    """
    if config.model == UNET:
        return Architecture(UNET, config.width, config.depth, unshuffle=config.unshuffle, classes=config.classes)
    mean, std = smp.normalisation(config.model, config.pretrained)
    return Architecture(
        config.model, mean=mean, std=std, decoder_channels=config.decoder_channels, classes=config.classes
    )


def build(architecture: Architecture, pretrained: str | None = None) -> Segmenter:
    """A network with fresh weights, or whose encoder has those of ImageNet, `imagenet`, or of a file.

    Raises:
        InputError: there is no such network, it is larger than this machine's memory, or its pretrained weights
            cannot be fetched, or do not fit it.
    """
    if architecture.name == UNET:
        _require_memory(architecture)  # the others are as large as their encoders, and those are listed
    return _built(architecture, pretrained)


def recompute_levels(model: Segmenter, levels: int) -> None:
    """Let a training compute the features of the U-Net's largest levels twice instead of keeping them.

    Raises:
        InputError: it is another network, and there are to be such levels.
    """
    if isinstance(model.net, UNet):
        model.net.recomputed_levels = levels
    elif levels:
        raise InputError("--recompute: knows the levels of --model unet alone; leave it out")


def blueprint(architecture: Architecture) -> Segmenter:
    """The network on PyTorch's meta device: shapes without contents, which take no memory.

    Draws no random number.

    Raises:
        InputError: there is no such network.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return _built(architecture)
        except InputError:  # the `mit` encoders compute with numbers when they are built
            return _built(architecture).to("meta")


def _built(architecture: Architecture, pretrained: str | None = None) -> Segmenter:
    net: nn.Module
    if architecture.name == UNET:
        net = UNet(
            architecture.width, architecture.depth, unshuffle=architecture.unshuffle, classes=architecture.classes
        )
        multiple = 1  # pads itself
    else:
        decoder, classes = architecture.decoder_channels, architecture.classes
        net, multiple = smp.build(architecture.name, pretrained, decoder, classes), smp.MULTIPLE
    return Segmenter(net, architecture.mean, architecture.std, multiple, architecture.classes)


def _require_memory(architecture: Architecture) -> None:
    needed, there_is = sum(weights.nbytes for weights in blueprint(architecture).parameters()), memory_bytes()
    if there_is and needed > there_is:
        raise InputError(
            f"--width {architecture.width} --depth {architecture.depth}: the weights of this U-Net need "
            f"{needed / GIB:,.0f} GiB, and this machine has {there_is / GIB:,.0f} GiB of memory"
        )
