"""Brings masks to the size that a competition wants in its CSV, where that is not the size of the photos."""

import cv2
import numpy as np
from numpy.typing import NDArray

from kaggle_tools.competitions.competition import Competition


def as_submitted(mask_HW: NDArray[np.bool_], competition: Competition) -> NDArray[np.bool_]:
    """The mask, (H, W) and bool, at the competition's `mask_size`; as it is where there is none.

    A smaller one has foreground where at least half of a pixel's area has, the mean of the pixels that fall together.
    A larger one is interpolated between the middles of pixels, with the same limit of one half.
    """
    if competition.mask_size is None or mask_HW.shape == competition.mask_size:
        return mask_HW
    height, width = competition.mask_size
    shrinks = height <= mask_HW.shape[0] and width <= mask_HW.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    shares_HW = cv2.resize(mask_HW.astype(np.float32), (width, height), interpolation=how)  # bytes would be rounded
    return np.asarray(shares_HW >= 0.5)
