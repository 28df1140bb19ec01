import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from kaggle_tools.models.encoders.strided_pointwise import without_faulty_kernels
from kaggle_tools.models.segmenter import Architecture, build

TRAIN_ONE_LAYER = """
import torch
from torch import nn
from kaggle_tools.models.encoders.strided_pointwise import without_faulty_kernels

for channels in (3, 13, 15):
    net = without_faulty_kernels(nn.Sequential(nn.Conv2d(channels, 48, kernel_size=1, stride=2)))
    net = net.to(memory_format=torch.channels_last)
    for size in (96, 128, 160):
        for _ in range(4):
            photos = torch.randn(2, channels, size, size).to(memory_format=torch.channels_last)
            net(photos).square().sum().backward()
print("trained")
"""


def pointwise(channels: int, stride: int | tuple[int, int] = 2, **settings: int) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, 32, kernel_size=settings.pop("kernel_size", 1), stride=stride, **settings)


def test_a_first_layer_that_skips_pixels_can_be_trained_with_the_channels_last() -> None:
    done = subprocess.run([sys.executable, "-c", TRAIN_ONE_LAYER], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


@pytest.mark.parametrize("stride", [2, 3, (2, 1), (1, 4)])
def test_layers_that_take_every_nth_pixel_themselves_give_the_same(stride: int | tuple[int, int]) -> None:
    photos = torch.randn(2, 3, 61, 94, generator=torch.Generator().manual_seed(1))
    layer = pointwise(3, stride)
    expected: Tensor = layer(photos)
    assert torch.allclose(without_faulty_kernels(layer)(photos), expected, atol=1e-6)
    assert layer.stride == (1, 1)


def test_weights_fit_with_and_without_the_workaround() -> None:
    layer = pointwise(3)
    assert without_faulty_kernels(pointwise(3)).load_state_dict(layer.state_dict()) == ([], [])


@pytest.mark.parametrize(
    "layer",
    [
        pointwise(16),
        pointwise(3, stride=1),
        pointwise(3, kernel_size=3),
        pointwise(4, groups=4),
        pointwise(3, padding=1),
    ],
    ids=["16 channels", "no stride", "3x3", "groups", "padded"],
)
def test_layers_of_other_kinds_stay_as_they_are(layer: nn.Conv2d) -> None:
    stride = layer.stride
    assert without_faulty_kernels(layer).stride == stride
    assert not layer._forward_pre_hooks


@pytest.mark.parametrize("encoder", ["tu-repvgg_a0", "mobileone_s0"])
def test_no_encoder_keeps_a_layer_with_the_faulty_kernel(encoder: str) -> None:
    with torch.device("meta"):
        net = build(Architecture(f"smp:Unet/{encoder}"))
    strided = [one for one in net.modules() if isinstance(one, nn.Conv2d) and one.kernel_size == (1, 1)]
    assert all(one.stride == (1, 1) for one in strided if one.in_channels < 16)
