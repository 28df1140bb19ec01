"""1x1 convolutions with a stride, which skip pixels: computed without the kernel of oneDNN that writes out of bounds.

On CPUs with AVX-512 that kernel corrupts the heap in the backward pass where photos lie with the channels last and the
convolution has fewer than 16 input channels (a vector of that CPU) and no groups; benchmarks/RESULTS.md has the cases.
Some encoders begin with such a layer: RepVGG, MobileOne, FastViT and GENet.
"""

from typing import TypeVar

from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)

VECTOR = 16
"""From so many input channels on, the kernel works."""


def without_faulty_kernels(net: Net) -> Net:
    """The same network, whose layers of the faulty kind take every n-th pixel themselves and have no stride.

    The results are the same: a kernel of one pixel sees nothing of the pixels between.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and _is_faulty(layer):
            layer.register_forward_pre_hook(_EveryNth(*layer.stride))
            layer.stride = (1, 1)
    return net


def _is_faulty(layer: nn.Conv2d) -> bool:
    skips_pixels = layer.kernel_size == (1, 1) and layer.stride != (1, 1) and layer.padding == (0, 0)
    return skips_pixels and layer.in_channels < VECTOR and layer.groups == 1


class _EveryNth:
    """Every n-th row and column of what a layer is given."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (inputs[0][..., :: self.rows, :: self.columns],)
