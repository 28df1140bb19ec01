"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with batch normalisation, as it is used today.

Knows nothing of photos, competitions or files. The modules stand in the order of
github.com/milesial/Pytorch-UNet (transposed convolutions), so that its weights and ours map one to
one: `dict(zip(ours.state_dict(), theirs.state_dict().values()))`.

B batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class UNet(nn.Module):
    """An encoder that halves the size and doubles the channels, and a decoder that undoes it.

    Takes float images (B, in_channels, H, W) of any size and gives logits (B, classes, H, W): the size is
    padded to a multiple of unshuffle * 2**depth inside, and exactly the padding is cropped.

    Args:
        width: channels of the first block; each of the `depth` blocks below has twice as many.
        depth: how often the size is halved.
        in_channels: channels of the images.
        unshuffle: side in pixels of the squares that are one pixel inside: their pixels become channels, and logits of
            all of them are shuffled back (sub-pixel convolution: Shi et al. 2016, arXiv:1609.05158). Most of the
            work lies in the largest levels, so 2 leaves a quarter of it.
        classes: how many masks an image has.

    Attributes:
        recomputed_levels: of how many levels, from the largest size on, a training computes the features again in its
            backward pass instead of keeping them; see `recomputed`. The result has the same bits.
    """

    recomputed_levels = 0

    def __init__(
        self, width: int = 64, depth: int = 4, in_channels: int = 3, unshuffle: int = 1, classes: int = 1
    ) -> None:
        super().__init__()
        if min(width, depth, unshuffle, classes) < 1:
            given = f"width {width}, depth {depth}, unshuffle {unshuffle} and classes {classes}"
            raise ValueError(f"{given} must all be at least 1")
        channels = [width * 2**level for level in range(depth + 1)]
        self.stem = DoubleConv(in_channels * unshuffle**2, channels[0])
        self.down = nn.ModuleList(Down(above, below) for above, below in pairwise(channels))
        self.up = nn.ModuleList(Up(channels[level + 1], channels[level]) for level in reversed(range(depth)))
        self.head = nn.Conv2d(channels[0], classes * unshuffle**2, kernel_size=1)
        self.unshuffle = unshuffle
        self.multiple = unshuffle * 2**depth

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """The logits (B, classes, H, W) of images (B, C, H, W)."""
        height, width = images_BCHW.shape[-2:]
        squares = F.pixel_unshuffle(pad_to_multiple(images_BCHW, self.multiple), self.unshuffle)
        features = self._apply_block(0, self.stem, squares)
        skips = []
        for level, down in enumerate(self.down, start=1):
            skips.append(features)
            features = self._apply_block(level, down, features)
        for up in self.up:
            skip = skips.pop()
            features = self._apply_block(len(skips), up, features, skip)
        logits = F.pixel_shuffle(self.head(features), self.unshuffle)
        return logits[..., :height, :width]

    def _apply_block(self, level: int, block: nn.Module, *features_BCHW: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled() and level < self.recomputed_levels:
            return recomputed(block, *features_BCHW)
        answer: Tensor = block(*features_BCHW)
        return answer


class DoubleConv(nn.Sequential):
    """Twice: 3x3 convolution, batch normalisation, ReLU. The size stays."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            # Without bias: the normalisation that follows has one of its own.
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Down(nn.Sequential):
    """Halve the size, then convolve."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))


class Up(nn.Module):
    """Double the size, join what the encoder saw at that size, then convolve."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        self.convolve = DoubleConv(2 * out_channels, out_channels)

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """Features from below (B, 2C, H/2, W/2) and from the encoder (B, C, H, W) to (B, C, H, W)."""
        features: Tensor = self.convolve(torch.cat([skip_BCHW, self.upsample(below_BCHW)], dim=1))
        return features


def recomputed(block: nn.Module, *inputs: Tensor) -> Tensor:
    """What a block answers; what its backward pass needs of it is computed again there, instead of being kept.

    Takes a second forward pass of the block, for less memory (Chen et al. 2016, arXiv:1604.06174). The block must
    draw no random numbers.
    """
    contexts = (nullcontext(), _unchanged_buffers(block))
    answer: Tensor = checkpoint(
        block, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: contexts
    )
    return answer


@contextmanager
def _unchanged_buffers(block: nn.Module) -> Iterator[None]:
    """Let the second pass not count: batch normalisation adds each batch to its running statistics once."""
    before = [buffer.clone() for buffer in block.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(block.buffers(), before, strict=True):
            buffer.copy_(value)


def pad_to_multiple(images_BCHW: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `multiple`.

    Only the bottom and the right grow, so that `[..., :H, :W]` undoes it. Repeating works at any size;
    reflecting would need more pixels than a small image has.
    """
    height, width = images_BCHW.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return images_BCHW
    return F.pad(images_BCHW, (0, right, 0, bottom), mode="replicate")
