import pytest
import torch
from torch import Tensor, nn

from kaggle_tools.models.encoders.depthwise import DepthwiseInFloat32


def layer_of(channels: int, groups: int, out: int = 8, stride: int = 1) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)


def features(channels: int) -> Tensor:
    return torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(1))


def trained(layer: nn.Conv2d, features_BCHW: Tensor, mode: bool) -> tuple[Tensor, Tensor]:
    """The result in bfloat16, and the gradient of its sum of squares after the weights."""
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        if mode:
            with DepthwiseInFloat32():
                result = layer(features_BCHW)
        else:
            result = layer(features_BCHW)
    result.float().square().sum().backward()
    assert layer.weight.grad is not None
    return result, layer.weight.grad.clone()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_is_that_of_float32_rounded(stride: int) -> None:
    layer = layer_of(8, groups=8, stride=stride)
    exact = layer(features(8))
    result, gradient = trained(layer, features(8), mode=True)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, exact.bfloat16())
    layer.zero_grad()
    (exact.bfloat16().float() * 2 * exact).sum().backward()  # of the rounded result, without rounding on the way
    assert layer.weight.grad is not None
    assert torch.allclose(gradient, layer.weight.grad / 2, rtol=0.02, atol=0.5)


@pytest.mark.parametrize("groups", [1, 4])
def test_other_convolutions_are_computed_as_before(groups: int) -> None:
    layer = layer_of(8, groups)
    for ours, theirs in zip(trained(layer, features(8), True), trained(layer, features(8), False), strict=True):
        assert torch.equal(ours, theirs)


def test_a_single_channel_and_float32_are_left_alone() -> None:
    layer = layer_of(1, groups=1)
    assert torch.equal(trained(layer, features(1), True)[0], trained(layer, features(1), False)[0])
    layer = layer_of(8, groups=8)
    with DepthwiseInFloat32():
        assert torch.equal(layer(features(8)), layer_of(8, groups=8)(features(8)))
