"""Batch normalisation, computed by the convolution before it: what a trained network does with fewer operations.

In evaluation, normalisation multiplies and adds constants, which can be put into the weights of the convolution. The
results are the same but for rounding.

B batch, C classes, H height, W width.
"""

import copy
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Model = TypeVar("Model", bound=nn.Module)

TRIAL_SIDE = 128  # pixels
TOLERANCE = 1e-3
"""The largest difference that passes, as a share of the largest logit: rounding makes up to 1e-5
(benchmarks/RESULTS.md), a layer that is folded wrongly far more."""


class Pair(NamedTuple):
    """A normalisation and the convolution whose result it is given."""

    convolution: nn.Conv2d
    normalisation: nn.BatchNorm2d


def without_normalisation(model: Model) -> Model:
    """A copy of a network in evaluation mode, on the CPU, whose convolutions do what normalisations did after them.

    Which follow each other is seen in a trial with a small image. Where the copy does not answer as the network
    does, or the network does not take so small an image, the network itself is returned.
    """
    folded = copy.deepcopy(model)
    photos_B3HW = torch.randint(
        256, (1, 3, TRIAL_SIDE, TRIAL_SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        try:
            pairs, expected_BCHW = _pairs(folded, photos_B3HW)
        except Exception:  # hundreds of networks raise what they like
            return model
        _fold(folded, pairs)
        try:
            found_BCHW = folded(photos_B3HW)
        except Exception:  # such as one that asks its normalisation for what is no longer there
            return model
    return folded if _is_alike(found_BCHW, expected_BCHW) else model


def _is_alike(found_BCHW: Tensor, expected_BCHW: Tensor) -> bool:
    return bool((found_BCHW - expected_BCHW).abs().max() <= TOLERANCE * expected_BCHW.abs().max())


def _pairs(model: nn.Module, photos_B3HW: Tensor) -> tuple[list[Pair], Tensor]:
    """What follows each other, in the order of the work, and the network's answer."""
    results: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[Pair] = []

    def after(layer: nn.Conv2d, _: object, result: Tensor) -> None:
        results[id(result)] = layer, result  # the tensor is kept, so that no other gets its id

    def before(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        if made := results.get(id(inputs[0])):
            pairs.append(Pair(made[0], layer))

    layers = list(model.modules())
    hooks = [layer.register_forward_hook(after) for layer in layers if isinstance(layer, nn.Conv2d)]
    hooks += [layer.register_forward_pre_hook(before) for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    answer_BCHW = model(photos_B3HW)
    for hook in hooks:
        hook.remove()
    return pairs, answer_BCHW


def _fold(model: nn.Module, pairs: list[Pair]) -> None:
    places = {layer: (parent, name) for parent in model.modules() for name, layer in parent.named_children()}
    for convolution, layer in pairs:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            layer.running_mean,
            layer.running_var,
            layer.eps,
            layer.weight,
            layer.bias,
        )
        parent, name = places[layer]
        setattr(parent, name, _rest(layer))


def _rest(layer: nn.BatchNorm2d) -> nn.Module:
    """What a normalisation does beside it: timm's have an activation inside."""
    act = getattr(layer, "act", nn.Identity())
    assert isinstance(act, nn.Module)
    return act
