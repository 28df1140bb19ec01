"""Architectures and encoders of segmentation-models-pytorch, named `smp:ARCHITECTURE/ENCODER`."""

from torch import nn

from kaggle_tools.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MULTIPLE = 32  # the encoders halve the size five times

RGB = tuple[float, float, float]


def build(name: str, pretrained: bool) -> nn.Module:
    """A network with fresh weights, or with an encoder that was trained on ImageNet.

    Raises:
        InputError: there is no such network, or its pretrained weights cannot be fetched.
    """
    if not pretrained:
        return _create(name, weights=None)
    encoder = _parts(name)[1]
    try:
        # timm's encoders ("tu-") take True where smp's own take the name of the weights.
        return _create(name, weights=True if encoder.startswith("tu-") else "imagenet")
    except Exception as error:  # the hub's client has no common base class for "cannot be reached"
        raise _no_weights(encoder, error) from error


def normalisation(name: str, pretrained: bool) -> tuple[RGB, RGB]:
    """Mean and standard deviation for photos in [0, 1], RGB: those with which the encoder was trained.

    Raises:
        InputError: an unknown name, or pretrained weights that cannot be fetched.
    """
    encoder = _parts(name)[1]
    if not pretrained:
        return IMAGENET_MEAN, IMAGENET_STD
    _create(name, weights=None)  # so that an unknown name is not taken for a missing connection
    from segmentation_models_pytorch.encoders import get_preprocessing_params

    try:
        given = get_preprocessing_params(encoder)
    except Exception as error:  # the hub's client has no common base class for "cannot be reached"
        raise _no_weights(encoder, error) from error
    order = slice(None, None, -1 if given["input_space"] == "BGR" else 1)
    scale = max(given["input_range"])
    mean, std = (tuple(value / scale for value in given[which][order]) for which in ("mean", "std"))
    return mean, std


def _create(name: str, weights: str | bool | None) -> nn.Module:
    import segmentation_models_pytorch as smp

    architecture, encoder = _parts(name)
    try:
        net: nn.Module = smp.create_model(
            architecture, encoder_name=encoder, encoder_weights=weights, in_channels=3, classes=1
        )
    except (KeyError, ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if weights is not None:
            raise
        raise InputError(f"--model {name}: segmentation-models-pytorch cannot build it: {error}") from error
    return net


def _no_weights(encoder: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"--pretrained: the ImageNet weights of {encoder} could not be fetched from huggingface.co ({reason}).\n"
        "Run the command once on a machine with internet and copy its Hugging Face cache (~/.cache/huggingface), "
        "or train without --pretrained."
    )


def _parts(name: str) -> tuple[str, str]:
    kind, _, rest = name.partition(":")
    architecture, _, encoder = rest.partition("/")
    if kind != "smp" or not architecture or not encoder:
        raise InputError(f"--model {name}: must be `unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34")
    return architecture, encoder
