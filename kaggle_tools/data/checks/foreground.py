"""What is foreground in a mask file, whatever kind of image it is.

A plain mask has two values, of which 0, or black, or transparent, is the background. Whatever else can be a mask is
read by one of these rules, and `Foreground.taken` says by which:

one bit a pixel     The bits that are set.
transparency        Where pixels differ in it and what is visible has one colour: what is visible. Where it has
                    several: its colours, as below; what is invisible is background, and so is all where nothing
                    is visible.
a palette           Every index above 0, whatever its colour. Where the colours in use are shades of grey that rise
                    with the index: these shades, as below. Where index 0 alone is in use: all, but for black.
grey                Of two values the higher. Of more, those above half of the highest: blurred edges and the noise of
 (8, 16, 32 bits,   a JPEG then neither swell nor shrink the mask. Whole numbers of which none reaches 32 are the
 floating point)    numbers of classes, of which each above 0 is foreground.
colours             The highest of red, green and blue, as grey; where that is the same everywhere: the brightness.

Knows nothing of files. H height, W width, N how many pixels or colours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from kaggle_tools.errors import counted_of, first_few

HIGHER = "the higher of two values, as the lower is not 0"
HALF = "values above half of the highest"
CLASSES = "every value above 0, as none reaches 32"
VISIBLE = "visible pixels with values above half of the highest"
INDICES = "every index of the palette above 0"
DARKER = "indices of the palette above 0, though index 0 is brighter"
ONLY = "the only colour of the palette, as it is not black"
COLOURS = "every colour but black"
FIRST = "that of the first of several images in the file"

CLASS_NUMBERS = 32
"""Whole numbers below this are taken for the numbers of classes: nobody draws that dark."""
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of one channel with more than 8 bits."""


class Foreground(NamedTuple):
    """A mask, and how it was understood."""

    mask_HW: NDArray[np.bool_]
    taken: str = ""
    """What was taken as foreground; empty for a plain mask, of which there is nothing to say."""


def foreground_of(image: Image.Image) -> Foreground:
    """What is foreground in an image of any of Pillow's modes, by the rules above.

    Raises:
        OSError, SyntaxError, ValueError: as Pillow raises them while it decodes; or pixels are NaN or infinite, or have
            more than two values and none above 0.
    """
    found = _of_first(image)
    if not getattr(image, "is_animated", False):  # Pillow's word for pages as well
        return found
    return found._replace(taken=f"{found.taken}; {FIRST}" if found.taken else FIRST)


def lines_of_ambiguous(names_by_taken: Mapping[str, Sequence[str]], masks: int) -> list[str]:
    """A line for each way in which masks, of so many, are not plain: how many are, and the first few of their files."""
    return [
        f"{counted_of(len(names), masks, 'mask')} not plainly black and white: {first_few([*names])}; "
        f"taken as foreground: {taken}"
        for taken, names in names_by_taken.items()
    ]


def _of_first(image: Image.Image) -> Foreground:
    """Of an image, or of the first of several in a file."""
    if image.mode == "1" and "transparency" not in image.info:
        # As our own masks are: no detour. Pillow gives a bit as a byte of 255.
        return Foreground(np.asarray(image).view(np.uint8) > 0)
    if image.mode in _DEEP:
        return _of_values(np.asarray(image))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        low, high = rgba.getchannel("A").getextrema()
        if high == 0:
            return Foreground(np.zeros((image.height, image.width), bool))
        if low != high:
            return _of_transparency(rgba)
    if image.mode == "P":
        return _of_palette(image)
    if image.mode == "L":
        return _of_values(np.asarray(image))
    return _of_colours(image.convert("RGB"))


def _of_values(values_HW: NDArray[Any]) -> Foreground:
    if not np.isfinite(low := values_HW.min()) or not np.isfinite(high := values_HW.max()):
        raise ValueError("pixels are NaN or infinite")
    if low == high:
        return Foreground(values_HW > 0)
    mask_HW = values_HW == high
    if np.count_nonzero(mask_HW) + np.count_nonzero(values_HW == low) == values_HW.size:
        return Foreground(mask_HW, "" if low == 0 else HIGHER)
    if high <= 0:
        raise ValueError("no pixel is above 0, though their values differ")
    if high < CLASS_NUMBERS and np.issubdtype(values_HW.dtype, np.integer):
        return Foreground(values_HW > 0, CLASSES)
    half = high // 2 if np.issubdtype(values_HW.dtype, np.integer) else high / 2
    return Foreground(values_HW > half, HALF)


def _of_palette(image: Image.Image) -> Foreground:
    indices_HW = np.asarray(image)
    used_N = np.array(sorted(index for _, index in image.getcolors(256) or []))
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    if used_N[-1] >= len(palette):
        raise ValueError("its palette is too short")
    colours_N3 = palette[used_N]
    if len(used_N) == 1:
        bright = used_N[0] == 0 and colours_N3.any()
        return Foreground(np.full(indices_HW.shape, bright or used_N[0] > 0), ONLY if bright else "")
    brightness_N = colours_N3.sum(axis=1)
    if (colours_N3 == colours_N3[:, :1]).all() and (np.diff(brightness_N) > 0).all():
        # Grey, and rising with the index: the lowest index whose shade is foreground parts the indices.
        shades = _of_values(colours_N3[:, 0])
        return Foreground(indices_HW >= used_N[shades.mask_HW][0], shades.taken)
    if used_N[0] == 0 and brightness_N[0] > brightness_N[1:].max():
        return Foreground(indices_HW > 0, DARKER)
    plain = used_N[0] == 0 and len(used_N) == 2
    return Foreground(indices_HW > 0, "" if plain else INDICES)


def _of_colours(rgb: Image.Image) -> Foreground:
    found = _of_values(_highest_channel(rgb))
    if found.taken or rgb.getcolors(2):
        return found
    return found._replace(taken=COLOURS)  # several colours that are alike in their highest channel


def _of_transparency(rgba: Image.Image) -> Foreground:
    """Of an image whose pixels differ in transparency."""
    alpha_HW, rgb = np.asarray(rgba.getchannel("A")), rgba.convert("RGB")
    visible_HW = alpha_HW > 0
    colours_N3 = np.asarray(rgb)[visible_HW]
    if (colours_N3 == colours_N3[0]).all():
        return _of_values(alpha_HW)
    return _of_values(np.where(visible_HW, _highest_channel(rgb), 0))._replace(taken=VISIBLE)


def _highest_channel(rgb: Image.Image) -> NDArray[np.uint8]:
    """The highest of red, green and blue, uint8 (H, W); the brightness where that is the same everywhere."""
    red, green, blue = rgb.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    low, high = highest.getextrema()
    return np.asarray(rgb.convert("L") if low == high else highest)
