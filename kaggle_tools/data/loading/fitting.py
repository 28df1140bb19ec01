"""How a photo is brought to the size of a network's input, and where in that it lies.

H height, W width, B batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kaggle_tools.config.training import Fit
from kaggle_tools.data.images import Size, resize


class Frame(NamedTuple):
    """Where a photo lies in the input of a network, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.height, self.width

    def cut(self, maps_BCHW: Tensor) -> Tensor:
        """The part of a network's answers that is about the photo, and not about what was added to it."""
        return maps_BCHW[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class InputSize:
    """The size to which photos are brought for a network."""

    size: Size | None
    """(height, width) in pixels; None: each photo's own."""
    scale: float = 1.0
    """By which both sides are multiplied, for test-time augmentation."""
    fit: Fit = "stretch"

    def of(self, own_size: Size) -> Size:
        """(height, width) of a photo of this size for the network."""
        height, width = self.size or own_size
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def frame(self, own_size: Size) -> Frame:
        """Where a photo of this size, (height, width), lies in the input."""
        return frame_of(own_size, self.of(own_size), self.fit)


def frame_of(own_size: Size, size: Size, fit: Fit) -> Frame:
    """Where a photo of a size, (height, width), lies in an input of another one.

    Stretched it fills the input. Padded it keeps its shape, and its pixels where it is smaller: it is enlarged only by
    a whole number, and stands in the middle.
    """
    if fit == "stretch":
        return Frame(0, 0, *size)
    scale = min(side / own for side, own in zip(size, own_size, strict=True))
    scale = int(scale) if scale >= 1 else scale
    height, width = (max(1, round(own * scale)) for own in own_size)
    return Frame((size[0] - height) // 2, (size[1] - width) // 2, height, width)


def fitted(pixels: NDArray[np.uint8], size: Size, frame: Frame) -> NDArray[np.uint8]:
    """An image (H, W) or (H, W, C) at a size, (height, width): resized to the frame, its edges reflected around it."""
    resized = resize(pixels, frame.size)
    if frame.size == size:
        return resized
    bottom, right = size[0] - frame.top - frame.height, size[1] - frame.left - frame.width
    padded = cv2.copyMakeBorder(resized, frame.top, bottom, frame.left, right, cv2.BORDER_REFLECT_101)
    return np.asarray(padded, dtype=np.uint8)
