"""Random textures of drawn pictures.

H height, W width.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
"""A number for each pixel, shape (H, W)."""


def blurred_noise(
    size: tuple[int, int], blur: tuple[float, float], rng: np.random.Generator, least: float = 0.0
) -> Field:
    """Noise with a standard deviation of 1, blurred along x and y by these shares of the height, or `least` pixels."""
    across, down = (max(least, share * size[0]) for share in blur)
    noise_HW = cv2.GaussianBlur(rng.standard_normal(size), (0, 0), sigmaX=across, sigmaY=down)
    return np.asarray(noise_HW / noise_HW.std())
