"""Weights of an encoder from a file, as packages and model zoos hand them out.

The names of tensors differ from library to library, so those that do not fit by name are taken in the file's order.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kaggle_tools.errors import InputError, first_few
from kaggle_tools.models import saved_tensors
from kaggle_tools.models.saved_tensors import DamagedError
from kaggle_tools.system.files import require_regular

MOST_BYTES = 2**34
"""No encoder is larger."""
SAFETENSORS = ".safetensors"
INSIDE = ("state_dict", "model", "model_state", "model_ema")
"""Under which a training's checkpoint keeps the weights."""

Weights = dict[str, Tensor]


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Give an encoder the weights in a file; what the file holds beside, such as a classifier, is left out.

    Raises:
        InputError: the file cannot be read, or fits the encoder neither by names nor by order; says where it does not.
    """
    own = _without_counts(encoder.state_dict())
    found = _without_counts(read_weights(path))
    fitting = _by_name(own, found) or _by_order(own, found)
    if fitting is None:
        raise InputError(f"--pretrained {path}: does not fit the encoder: {_difference(own, found)}")
    encoder.load_state_dict(fitting, strict=False)  # which leaves the counts of batches as they are


def read_weights(path: Path) -> Weights:
    """The tensors in a `.safetensors` file, or in a state dict that `torch.save` wrote, in their order.

    Of the latter nothing is unpickled but tensors and plain values.

    Raises:
        InputError: it is missing or damaged, or holds something else.
    """
    try:
        if path.suffix == SAFETENSORS:
            require_regular(path, MOST_BYTES)
            return load_file(path)
        return _state_dict(path, saved_tensors.read(path, MOST_BYTES))
    except OSError as error:
        raise InputError(f"--pretrained {path}: cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        raise InputError(f"--pretrained {path}: not a safetensors file ({error})") from error
    except DamagedError as error:
        raise InputError(
            f"--pretrained {path}: neither a {SAFETENSORS} file nor a state dict that can be read without running code "
            f"({error})"
        ) from error


def _state_dict(path: Path, saved: object) -> Weights:
    found = dict(saved) if isinstance(saved, Mapping) else {}
    inside = next((found[name] for name in INSIDE if isinstance(found.get(name), Mapping)), found)
    weights = {name: value for name, value in inside.items() if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f"--pretrained {path}: holds no state dict")
    return weights


def _without_counts(weights: Mapping[str, Tensor]) -> Weights:
    """Without whole numbers: how many batches each normalisation has seen, which some libraries leave out."""
    return {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}


def _by_name(own: Weights, found: Weights) -> Weights | None:
    """The weights by the encoder's names, maybe behind a prefix such as `encoder.`; None if they do not fit."""
    first = next(iter(own))
    for prefix in (name.removesuffix(first) for name in found if name.endswith(first)):
        named = {name: found[prefix + name] for name in own if prefix + name in found}
        if len(named) == len(own) and _shapes(named) == _shapes(own):
            return named
    return None


def _by_order(own: Weights, found: Weights) -> Weights | None:
    """The file's first tensors, if each has the shape of the encoder's tensor at its place."""
    if len(found) < len(own) or _shapes(found)[: len(own)] != _shapes(own):
        return None
    return dict(zip(own, found.values(), strict=False))


def _shapes(weights: Weights) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in weights.values()]


def _difference(own: Weights, found: Weights) -> str:
    """Where the file stops fitting: by names if it knows most of them, and else by order."""
    named = {name: next((other for other in found if other.endswith(name)), None) for name in own}
    missing = [name for name, other in named.items() if other is None]
    if len(missing) > len(own) / 2:
        return _out_of_order(own, found)
    if missing:
        return f"it lacks {first_few(missing)}"
    shapes = {name: (tuple(found[other].shape), tuple(own[name].shape)) for name, other in named.items() if other}
    odd = [f"{name} has the shape {theirs}, not {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours]
    return odd[0] if odd else "its names have several prefixes"


def _out_of_order(own: Weights, found: Weights) -> str:
    pairs = zip(own, found, _shapes(own), _shapes(found), strict=False)
    for place, (name, other, ours, theirs) in enumerate(pairs, start=1):
        if ours != theirs:
            return (
                f"in the order of both, tensor {place} is {other} of the shape {theirs} in the file, and {name} of the "
                f"shape {ours} in the encoder"
            )
    return f"it holds {len(found)} tensors, and the encoder has {len(own)}"
