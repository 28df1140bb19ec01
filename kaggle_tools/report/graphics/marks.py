"""What is drawn over a photo: outlines with a halo, and wrong pixels, as an image of few colours that lies upon it.

So a photo can be looked at with and without them, and lines stay sharp, whatever is lost of the photo itself.

H height, W width, of the image that is drawn.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.draw_outlines import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    OPACITY,
    PREDICTED,
    TRUE,
    outline,
    touched,
)
from kaggle_tools.data.images import Size

HALO, HALO_OPACITY = (255, 255, 255), 0.9
"""Around outlines: the blue one would be lost on a dark car. On a light ground the halo is lost, and not needed."""

_NOTHING, _HALO, _FALSE_NEGATIVE, _FALSE_POSITIVE, _TRUE, _PREDICTED = range(6)
_COLOURS = np.array([(0, 0, 0), HALO, *(m.colour for m in (FALSE_NEGATIVE, FALSE_POSITIVE, TRUE, PREDICTED))], np.uint8)
_OPACITIES = np.array([0, HALO_OPACITY, OPACITY, OPACITY, 1, 1])
"""By the numbers above."""


def marks(predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None, size: Size) -> NDArray[np.uint8]:
    """The marks of an image of this size, (height, width): what each pixel shows, as a number of this module's own.

    The masks share a size, which may be another. Where the truth is known, its outline is drawn as well, below the
    predicted one, and false negative and false positive pixels, which no halo covers.
    """
    marks_HW = np.zeros(size, dtype=np.uint8)
    outlines = [(outline(predicted_HW, size), _PREDICTED)]
    wrong = []
    if truth_HW is not None:
        outlines.insert(0, (outline(truth_HW, size), _TRUE))
        wrong = [(truth_HW & ~predicted_HW, _FALSE_NEGATIVE), (predicted_HW & ~truth_HW, _FALSE_POSITIVE)]
    lines_HW = np.any([line_HW for line_HW, _ in outlines], axis=0)
    marks_HW[cv2.dilate(lines_HW.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = _HALO
    for pixels_HW, mark in wrong:
        marks_HW[touched(pixels_HW, size)] = mark
    for line_HW, mark in outlines:
        marks_HW[line_HW] = mark
    return marks_HW


def painted(photo_HW3: NDArray[np.uint8], marks_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of the photo, with these marks on it."""
    painted_HW3 = photo_HW3.copy()
    marked_HW = marks_HW != _NOTHING
    found = marks_HW[marked_HW]
    opacities = _OPACITIES[found, None]
    painted_HW3[marked_HW] = ((1 - opacities) * photo_HW3[marked_HW] + opacities * _COLOURS[found]).astype(np.uint8)
    return painted_HW3


def as_layer(marks_HW: NDArray[np.uint8]) -> Image.Image:
    """The marks alone, as an image with a palette, transparent where there are none."""
    layer = Image.fromarray(marks_HW)
    layer.putpalette(_COLOURS.tobytes())
    layer.info["transparency"] = bytes(np.round(255 * _OPACITIES).astype(np.uint8))
    return layer
