"""Pictures of the underground as a seismic survey shows it: layers, bent and broken, and salt that pushed through them.

Salt reflects sound at its edge and scatters it inside: the layers end there, and a cloudy texture begins. Nothing
else tells it from rock, neither brightness nor place. Knows nothing of competitions, names or files.

A section's axes: x to the right and y down from the upper left corner, both in heights of the picture.

H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.demo.noise import Field, blurred_noise

BLANK_SHARE, FULL_SHARE = 0.35, 0.05
"""How often a section holds no salt at all, and how often hardly anything else."""
DEPTHS = (-1.0, 3.0)
"""The depths for which echoes are invented: farther than waves and faults bring any layer."""
ECHOES = 50
"""Layers in one height of the picture, most of them faint."""
SAMPLES = 20
"""Of the trace, from one echo to the next."""
GRAY, CONTRAST = 128, 44
"""The brightness of silence, and of how much of an echo."""


@dataclass(frozen=True)
class Wave:
    """A fold of all layers."""

    amplitude: float
    length: float
    phase: float
    """In radians."""


@dataclass(frozen=True)
class Fault:
    """A line along which the layers to its right have slipped."""

    x: float
    """Where it meets the picture's upper edge."""
    lean: float
    """By how much it leans to the right, for each height down."""
    throw: float
    """By how much the layers to its right lie higher."""


@dataclass(frozen=True)
class Salt:
    """A body of salt: an ellipse with a wavy outline."""

    centre: tuple[float, float]
    """(x, y); it may lie outside of the picture."""
    radius: float
    aspect: float
    """Its width over its height."""
    bulges: tuple[tuple[float, float], ...]
    """(share of the radius, phase) of one, two, three … bulges around the outline."""


@dataclass(frozen=True)
class Section:
    """One picture."""

    waves: tuple[Wave, ...]
    fault: Fault
    salt: Salt | None
    loudness: float
    """A factor on all echoes."""
    noise: float
    """Standard deviation of the noise, where an echo is about 1."""
    seed: int
    """Of echoes, clouds and noise."""

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Draw the section, `size` being (height, width) in pixels.

        Returns:
            The picture, shape (H, W, 3), uint8, gray in all three channels; and the mask, shape (H, W), bool:
            the pixels whose middle lies in salt.
        """
        rng = np.random.default_rng(self.seed)
        x_HW, y_HW = _middles(size)
        inside_HW = _inside(self.salt, x_HW, y_HW)
        rock_HW = _echoes(_depth(self, x_HW, y_HW, inside_HW), rng)
        salt_HW = 0.7 * blurred_noise(size, (0.05, 0.02), rng)
        edge_HW = 1.6 * np.exp(-((inside_HW / 0.015) ** 2))
        share_HW = 0.5 + 0.5 * np.tanh(inside_HW / 0.01)
        sound_HW = (1 - share_HW) * rock_HW + share_HW * salt_HW + edge_HW
        noise_HW = self.noise * blurred_noise(size, (0.005, 0.005), rng)
        return _develop(self.loudness * sound_HW + noise_HW), inside_HW > 0


def random_section(rng: np.random.Generator) -> Section:
    """Invent a section."""
    waves = tuple(
        Wave(rng.uniform(0.0, 0.12) * length, length, rng.uniform(0, 2 * np.pi))
        for length in rng.uniform(0.4, 2.5, size=3)
    )
    return Section(
        waves=waves,
        fault=Fault(x=rng.uniform(-0.5, 1.5), lean=rng.uniform(-0.6, 0.6), throw=rng.uniform(-0.12, 0.12)),
        salt=_random_salt(rng) if rng.random() > BLANK_SHARE else None,
        loudness=rng.uniform(0.6, 1.3),
        noise=rng.uniform(0.1, 0.3),
        seed=int(rng.integers(2**32)),
    )


def _random_salt(rng: np.random.Generator) -> Salt:
    radius = rng.uniform(1.2, 2.0) if rng.random() < FULL_SHARE else rng.uniform(0.2, 0.6)
    return Salt(
        centre=(rng.uniform(0.0, 1.0), rng.uniform(0.2, 1.1)),
        radius=radius,
        aspect=rng.uniform(0.7, 1.8),
        bulges=tuple((rng.uniform(0, 0.15), rng.uniform(0, 2 * np.pi)) for _ in range(4)),
    )


def _middles(size: tuple[int, int]) -> tuple[Field, Field]:
    """Where the middle of each pixel is: x and y."""
    rows_HW, columns_HW = np.indices(size)
    return (columns_HW + 0.5) / size[0], (rows_HW + 0.5) / size[0]


def _inside(salt: Salt | None, x_HW: Field, y_HW: Field) -> Field:
    """How deep a pixel lies in salt; below 0 outside."""
    if salt is None:
        return np.full(x_HW.shape, -np.inf)
    right_HW, down_HW = (x_HW - salt.centre[0]) / salt.aspect, y_HW - salt.centre[1]
    angle_HW = np.arctan2(down_HW, right_HW)
    bulges = (share * np.cos(count * angle_HW + phase) for count, (share, phase) in enumerate(salt.bulges, start=1))
    return salt.radius * (1 + sum(bulges)) - np.hypot(right_HW, down_HW)


def _depth(section: Section, x_HW: Field, y_HW: Field, inside_HW: Field) -> Field:
    """The depth at which what is seen at a pixel was laid down."""
    bent_HW = sum(wave.amplitude * np.sin(2 * np.pi * x_HW / wave.length + wave.phase) for wave in section.waves)
    slipped_HW = x_HW > section.fault.x + section.fault.lean * y_HW
    dragged_HW = 0.1 * np.exp(np.minimum(inside_HW, 0) / 0.1)  # rising salt takes its surroundings along
    return np.asarray(y_HW + bent_HW + section.fault.throw * slipped_HW + dragged_HW)


def _echoes(depth_HW: Field, rng: np.random.Generator) -> Field:
    """What the layers at these depths send back."""
    layers = round((DEPTHS[1] - DEPTHS[0]) * ECHOES)
    strengths = rng.laplace(size=layers)  # few strong ones and many faint ones
    spikes = np.zeros(layers * SAMPLES)
    spikes[::SAMPLES] = strengths
    trace = np.convolve(spikes, _wavelet(), mode="same")
    return np.interp(depth_HW, np.linspace(*DEPTHS, len(trace)), trace)


def _wavelet() -> NDArray[np.float64]:
    """The form of one echo, Ricker's wavelet: the second derivative of a bell curve, turned upside down."""
    squared = np.linspace(-4, 4, 8 * SAMPLES + 1) ** 2
    return (1 - squared) * np.exp(-squared / 2)


def _develop(sound_HW: Field) -> NDArray[np.uint8]:
    gray_HW = np.clip(np.rint(GRAY + CONTRAST * sound_HW), 0, 255).astype(np.uint8)
    return np.repeat(gray_HW[..., None], 3, axis=2)
