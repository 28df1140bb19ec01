"""Pixel unshuffle: a network that sees squares of pixels as one pixel with more channels, and answers for each of them.

The costs of a network lie in its largest levels. So it works at a fraction of the size, while all pixels are seen and
all are answered for (sub-pixel convolution: Shi et al. 2016, arXiv:1609.05158).

B batch, C channels, H height, W width.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Unshuffled(nn.Module):
    """A network for images (B, C, H, W) around one for images (B, C * side², H/side, W/side).

    H and W must be multiples of `side`.

    Args:
        net: gives `side`² logits a pixel of what it sees.
        side: of the squares, in pixels.
    """

    def __init__(self, net: nn.Module, side: int) -> None:
        super().__init__()
        self.net = net
        self.side = side

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """The logits (B, 1, H, W)."""
        return F.pixel_shuffle(self.net(unshuffled(images_BCHW, self.side)), self.side)


def unshuffled(images_BCHW: Tensor, side: int) -> Tensor:
    """Squares of pixels as channels: the colours of the first pixel, those of the next one, row by row.

    The colours of a pixel stay together, so that weights for C channels can be repeated.
    """
    channels = images_BCHW.shape[1]
    by_colour = F.pixel_unshuffle(images_BCHW, side)  # all pixels of the first colour, then those of the next one
    return by_colour.unflatten(1, (channels, side**2)).transpose(1, 2).flatten(1, 2)
