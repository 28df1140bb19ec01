"""Architectures and encoders of segmentation-models-pytorch, named `smp:ARCHITECTURE/ENCODER`."""

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import cast

from torch import nn

from kaggle_tools.config.values import IMAGENET
from kaggle_tools.errors import InputError
from kaggle_tools.models.encoders.pretrained_file import load_encoder
from kaggle_tools.models.encoders.strided_pointwise import without_faulty_kernels

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MULTIPLE = 32  # the encoders halve the size five times

RGB = tuple[float, float, float]


def build(name: str, pretrained: str | None, decoder_channels: tuple[int, ...] = (), classes: int = 1) -> nn.Module:
    """A network with fresh weights, or whose encoder has those of ImageNet, `imagenet`, or of a file.

    Raises:
        InputError: there is no such network, or its pretrained weights cannot be fetched, or do not fit it.
    """
    if pretrained != IMAGENET:
        net = _create(name, None, decoder_channels, classes)
        if pretrained is not None:
            load_encoder(cast(nn.Module, net.encoder), Path(pretrained))
        return net
    encoder = _parts(name)[1]
    try:
        # timm's encoders ("tu-") take True where smp's own take the name of the weights.
        return _create(name, True if encoder.startswith("tu-") else "imagenet", decoder_channels, classes)
    except Exception as error:  # the hub's client has no common base class for "cannot be reached"
        raise _no_weights(encoder, error) from error


def normalisation(name: str, pretrained: str | None) -> tuple[RGB, RGB]:
    """Mean and standard deviation for photos in [0, 1], RGB: those with which the encoder was trained.

    For weights in a file these are what timm says of the encoder, or else ImageNet's.

    Raises:
        InputError: an unknown name, or pretrained weights that cannot be fetched.
    """
    encoder = _parts(name)[1]
    if pretrained is None:
        return IMAGENET_MEAN, IMAGENET_STD
    if pretrained != IMAGENET:
        return _normalisation_in_timm(encoder) or (IMAGENET_MEAN, IMAGENET_STD)
    _create(name, weights=None)  # so that a network that cannot be built is not taken for a missing connection
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    try:
        given = get_preprocessing_params(encoder)
    except Exception as error:  # the hub's client has no common base class for "cannot be reached"
        raise _no_weights(encoder, error) from error
    order = slice(None, None, -1 if given["input_space"] == "BGR" else 1)
    scale = max(given["input_range"])
    mean, std = (tuple(value / scale for value in given[which][order]) for which in ("mean", "std"))
    return mean, std


def _create(
    name: str, weights: str | bool | None, decoder_channels: tuple[int, ...] = (), classes: int = 1
) -> nn.Module:
    import segmentation_models_pytorch as smp

    architecture, encoder = _parts(name)
    _require_known(name, architecture, encoder)
    options = {}
    if decoder_channels:
        options["decoder_channels"] = decoder_channels
        network = smp.MODEL_ARCHITECTURES_MAPPING[architecture.lower()]
        if "decoder_channels" not in signature(network).parameters:  # smp itself passes over what it does not know
            raise InputError(f"--decoder-channels: {architecture} of smp has none to choose; leave it out")
    try:
        net: nn.Module = smp.create_model(
            architecture, encoder_name=encoder, encoder_weights=weights, in_channels=3, classes=classes, **options
        )
    except Exception as error:  # hundreds of networks raise what they like where they do not fit each other
        if weights is not None:
            raise
        raise InputError(f"--model {name}: segmentation-models-pytorch cannot build it: {error}") from error
    return without_faulty_kernels(net)


def _require_known(name: str, architecture: str, encoder: str) -> None:
    """Refuse what smp and timm do not list: timm also takes names of folders and of repositories on a hub.

    Raises:
        InputError: the architecture or the encoder is not listed; the nearest names that are.
    """
    import segmentation_models_pytorch as smp
    import timm

    architectures = [network.__name__ for network in smp.MODEL_ARCHITECTURES_MAPPING.values()]
    if architecture.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise InputError(f"--model {name}: not an architecture of smp; these are {', '.join(architectures)}")
    if not _is_listed(encoder):
        listed = [*smp.encoders.encoders, *(f"tu-{of_timm}" for of_timm in timm.list_models())]
        raise InputError(
            f"--model {name}: no encoder {encoder}{_nearest(encoder, listed)}. The encoders are listed on "
            "https://smp.readthedocs.io/en/latest/encoders.html; those of timm are named tu-NAME"
        )


def _is_listed(encoder: str) -> bool:
    import timm
    from segmentation_models_pytorch.encoders import encoders

    kind, _, of_timm = encoder.partition("-")
    # "timm-" is what smp called some of timm's encoders earlier, some of them without timm's own "tf_".
    return encoder in encoders or (
        kind in ("tu", "timm") and (timm.is_model(of_timm) or timm.is_model(f"tf_{of_timm}"))
    )


def _normalisation_in_timm(encoder: str) -> tuple[RGB, RGB] | None:
    import timm

    kind, _, of_timm = encoder.partition("-")
    known = [name for name in (of_timm, f"tf_{of_timm}") if kind in ("tu", "timm") and timm.is_model(name)]
    found = timm.get_pretrained_cfg(known[0]) if known else None
    return (cast(RGB, found.mean), cast(RGB, found.std)) if found else None


def _nearest(name: str, known: Iterable[str]) -> str:
    """`; the nearest are a, b, c`, or nothing where no name is near."""
    nearest = get_close_matches(name, list(known), n=4)
    return f"; the nearest are {', '.join(nearest)}" if nearest else ""


def _no_weights(encoder: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"--pretrained imagenet: the weights of {encoder} could not be fetched from huggingface.co ({reason}).\n"
        "Run the command once on a machine with internet and copy its Hugging Face cache (~/.cache/huggingface), "
        "or train without --pretrained."
    )


def _parts(name: str) -> tuple[str, str]:
    kind, _, rest = name.partition(":")
    architecture, _, encoder = rest.partition("/")
    if kind != "smp" or not architecture or not encoder:
        raise InputError(f"--model {name}: must be `unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34")
    return architecture, encoder
