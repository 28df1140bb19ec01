"""Outlines of masks, and wrong pixels, drawn into a photo.

Overlays, TensorBoard's pictures and the report's share these colours, which colour-blind people can tell apart
(Okabe and Ito 2008, Color Universal Design).

H height, W width, of the photo that is drawn on.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kaggle_tools.data.images import Size, resize

OPACITY = 0.65
"""Of the colour on wrong pixels."""


class Mark(NamedTuple):
    """Something that is drawn into a photo."""

    name: str
    """What a legend calls it."""
    colour: tuple[int, int, int]
    """Red, green and blue, 0 to 255."""


# Warm is what belongs to the truth, cool what belongs to the prediction. Green and purple, red and green would look
# alike to people without one of the cones.
TRUE = Mark("true outline", (213, 94, 0))  # vermilion
PREDICTED = Mark("predicted outline", (0, 114, 178))  # blue
FALSE_NEGATIVE = Mark("false negative pixels", (230, 159, 0))  # orange
FALSE_POSITIVE = Mark("false positive pixels", (86, 180, 233))  # sky blue


def draw_outlines(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """A copy of the photo, (H, W, 3) uint8, with the outlines of the true mask, where given, and of the predicted one.

    A line is one pixel wide and lies on the mask. Masks of another size are brought to the photo's.
    """
    drawn_HW3 = photo_HW3.copy()
    for mask_HW, mark in ((truth_HW, TRUE), (predicted_HW, PREDICTED)):  # where they meet, the predicted one is seen
        if mask_HW is not None:
            drawn_HW3[outline(mask_HW, photo_HW3.shape[:2])] = mark.colour
    return drawn_HW3


def colour_errors(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """A copy of the photo, (H, W, 3) uint8, with false negative and false positive pixels in their colours.

    The masks share a size, which may be another than the photo's. In a smaller photo, a pixel is coloured if at
    least one wrong pixel falls into it, so that single ones can be seen; in a larger one, squares stay squares.
    """
    coloured_HW3 = photo_HW3.copy()
    for wrong_HW, mark in ((truth_HW & ~predicted_HW, FALSE_NEGATIVE), (predicted_HW & ~truth_HW, FALSE_POSITIVE)):
        covered_HW = touched(wrong_HW, photo_HW3.shape[:2])
        mixed = (1 - OPACITY) * coloured_HW3[covered_HW] + OPACITY * np.array(mark.colour)
        coloured_HW3[covered_HW] = mixed.astype(np.uint8)
    return coloured_HW3


def outline(mask_HW: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """The outline of a mask, one pixel wide and on the mask, in an image of this size, (height, width)."""
    fitting_HW = resize(mask_HW.astype(np.uint8) * 255, size) > 127
    lines, _ = cv2.findContours(fitting_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    drawn_HW = np.zeros(size, dtype=np.uint8)
    cv2.drawContours(drawn_HW, lines, -1, 1, thickness=1)
    return drawn_HW > 0


def touched(pixels_HW: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """The pixels of an image of this size, (height, width), into which one of these falls; enlarged, a square."""
    height, width = size
    how = cv2.INTER_NEAREST if width > pixels_HW.shape[1] else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels_HW.astype(np.float32), (width, height), interpolation=how) > 0)
