"""The network that cuts out: build it, save it, load it.

Knows nothing of training, folds or competitions. Weights travel as safetensors, which cannot run
code when it is opened, beside a `model.json` that says how to build the network they belong to.

B batch, H height, W width.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kaggle_tools.config import Tta, tuples
from kaggle_tools.errors import InputError
from kaggle_tools.models.unet import UNet, pad_to_multiple
from kaggle_tools.system.files import read_json, replacing, write_json

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMP_MULTIPLE = 32  # smp's encoders halve the size five times

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build a network for given weights."""

    name: str = "unet"
    """`unet`, or `smp:ARCHITECTURE/ENCODER` for any of segmentation-models-pytorch."""
    width: int = 64
    """Channels of the U-Net's first block; smp models have sizes of their own."""
    depth: int = 4
    """How often the U-Net halves the size."""
    mean: RGB = (0.0, 0.0, 0.0)
    """Subtracted from photos in [0, 1], RGB."""
    std: RGB = (1.0, 1.0, 1.0)
    """Divided by, after the mean is subtracted."""


@dataclass(frozen=True)
class ModelCard:
    """What must be known of saved weights in order to use them: the contents of `model.json`."""

    architecture: Architecture
    image_size: tuple[int, int] | None
    """(height, width) to which photos are brought for the network; None: each stays at its own size."""
    competition: str
    """The slug of the competition whose photos it was trained on."""
    fold: int
    """The fold that it never saw."""
    tta: Tta = "none"
    """The flips over which the photos of that fold were averaged; others are treated alike if nothing else is asked."""
    tta_scales: tuple[float, ...] = (1.0,)
    """The factors of `image_size` over which they were averaged."""

    def __post_init__(self) -> None:
        if self.tta not in get_args(Tta) or not self.tta_scales or not all(0 < s < math.inf for s in self.tta_scales):
            raise ValueError(f"no such test-time augmentation: {self.tta}, {self.tta_scales}")


class Segmenter(nn.Module):
    """A network together with the normalisation that it expects.

    Takes photos as they come from the file, uint8 (B, 3, H, W) in RGB and of any size, and gives
    logits (B, 1, H, W) of the same size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: RGB, std: RGB, multiple: int) -> None:
        super().__init__()
        self.net = net
        self.multiple = multiple
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, photos_B3HW: Tensor) -> Tensor:
        """The logits (B, 1, H, W) of photos (B, 3, H, W), uint8."""
        height, width = photos_B3HW.shape[-2:]
        images = (photos_B3HW.float() - self.mean) / self.std
        return self.net(pad_to_multiple(images, self.multiple))[..., :height, :width]


def design(name: str, width: int = 64, depth: int = 4, pretrained: bool = False) -> Architecture:
    """The architecture of this name, with the normalisation of its encoder.

    Raises:
        InputError: an unknown name, or pretrained weights for a network that has none or that cannot be fetched.
    """
    if name == "unet":
        if pretrained:
            raise InputError("--pretrained: there are no pretrained weights for `unet`; take an smp model instead")
        return Architecture(name, width, depth)
    encoder = _smp_parts(name)[1]
    if not pretrained:
        return Architecture(name, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    _create_smp(name, weights=None)  # so that a name that does not exist is not taken for a missing network
    mean, std = _encoder_normalisation(encoder)
    return Architecture(name, mean=mean, std=std)


def build(architecture: Architecture, pretrained: bool = False) -> Segmenter:
    """A network with fresh weights, or with an encoder trained on ImageNet.

    Raises:
        InputError: there is no such network, or its pretrained weights cannot be fetched.
    """
    net: nn.Module
    if architecture.name == "unet":
        net, multiple = UNet(architecture.width, architecture.depth), 1  # pads itself
    else:
        net, multiple = _build_smp(architecture.name, pretrained), SMP_MULTIPLE
    return Segmenter(net, architecture.mean, architecture.std, multiple)


def save(model: Segmenter, card: ModelCard, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each whole or not at all."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.net.state_dict().items()}
    with replacing(folder / WEIGHTS_FILE) as temporary:
        save_file(weights, temporary)
    write_json(folder / CARD_FILE, asdict(card))


def load(folder: Path) -> tuple[Segmenter, ModelCard]:
    """Read a network in evaluation mode, on the CPU, and its card.

    Raises:
        InputError: a file is missing or damaged, or the weights do not fit the card.
    """
    card = read_card(folder)
    try:
        model = build(card.architecture)
        model.net.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{folder / WEIGHTS_FILE}: cannot be loaded as the {CARD_FILE} beside it says ({reason})"
        ) from error
    return model.eval(), card


def read_card(folder: Path) -> ModelCard:
    """Read `model.json`.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / CARD_FILE
    fields = read_json(path, if_missing=f"is {folder} a fold of a run that train.py has finished?")
    try:
        architecture = Architecture(**tuples(fields.pop("architecture")))
        return ModelCard(architecture=architecture, **tuples(fields))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a model card of this version ({error})") from error


def _build_smp(name: str, pretrained: bool) -> nn.Module:
    if not pretrained:
        return _create_smp(name, weights=None)
    encoder = _smp_parts(name)[1]
    try:
        # timm's encoders ("tu-") take True where smp's own take the name of the weights.
        return _create_smp(name, weights=True if encoder.startswith("tu-") else "imagenet")
    except Exception as error:  # the hub's client has no common base class for "cannot be reached"
        raise _no_weights(encoder, error) from error


def _create_smp(name: str, weights: str | bool | None) -> nn.Module:
    import segmentation_models_pytorch as smp

    architecture, encoder = _smp_parts(name)
    try:
        return smp.create_model(architecture, encoder_name=encoder, encoder_weights=weights, in_channels=3, classes=1)
    except (KeyError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if weights is not None:
            raise
        raise InputError(f"--model {name}: segmentation-models-pytorch cannot build it: {error}") from error


def _encoder_normalisation(encoder: str) -> tuple[RGB, RGB]:
    """Mean and standard deviation with which the encoder was trained, for photos in [0, 1], RGB."""
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    try:
        given = get_preprocessing_params(encoder)
    except Exception as error:  # the hub's client has no common base class for "cannot be reached"
        raise _no_weights(encoder, error) from error
    order = slice(None, None, -1 if given["input_space"] == "BGR" else 1)
    scale = max(given["input_range"])
    mean, std = (tuple(value / scale for value in given[which][order]) for which in ("mean", "std"))
    return mean, std


def _no_weights(encoder: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"--pretrained: the ImageNet weights of {encoder} could not be fetched from huggingface.co ({reason}).\n"
        "Run the command once on a machine with network and copy its Hugging Face cache (~/.cache/huggingface), "
        "or train without --pretrained."
    )


def _smp_parts(name: str) -> tuple[str, str]:
    kind, _, rest = name.partition(":")
    architecture, _, encoder = rest.partition("/")
    if kind != "smp" or not architecture or not encoder:
        raise InputError(f"--model {name}: must be `unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34")
    return architecture, encoder
