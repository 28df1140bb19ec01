"""How the values of options are written, and what they must be."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from kaggle_tools.errors import InputError
from kaggle_tools.options import Check, parse_count, parse_size

EarlySize = tuple[int, int, int]
"""(height, width, epochs)."""

UNET = "unet"
"""The network from scratch, among the models."""
FULL = "full"
"""In the place of an image size: the photos' own."""
OFF = "off"
"""In the place of a size: none."""
NO_EARLY_SIZES = "none"
USUAL = "default"
"""In the place of a decoder's channels: those that smp gives it."""
IMAGENET = "imagenet"
"""In the place of a file of pretrained weights: those that the encoder's authors publish."""
AUTO: Final = "auto"
"""In the place of a batch size: the largest that fits; of an arithmetic: the fastest of the machine."""


def size_or_full(option: str, text: str) -> tuple[int, int] | None:
    """`HxW` as (height, width) in pixels; None for `full`.

    Raises:
        InputError: it is not of this form.
    """
    return None if text == FULL else parse_size(option, text)


def size_or_off(option: str, text: str) -> tuple[int, int] | None:
    """`HxW` as (height, width) in pixels; None for `off`.

    Raises:
        InputError: it is not of this form.
    """
    return None if text == OFF else parse_size(option, text)


def file_or_imagenet(option: str, text: str) -> str:
    """Where an encoder's weights come from: `imagenet`, or the path of a file."""
    return text if text == IMAGENET else path_text(option, text)


def path_text(_option: str, text: str) -> str:
    """A path as `config.json` records it: from the root on, so that it means the same from every folder."""
    return str(Path(text).resolve())


def parse_early_sizes(option: str, text: str) -> tuple[EarlySize, ...]:
    """`256x384:4,512x768:2` as (height, width, epochs) each; nothing for `none`.

    Raises:
        InputError: it is not of this form.
    """
    if text == NO_EARLY_SIZES:
        return ()
    found = []
    for part in text.split(","):
        size, _, epochs = part.partition(":")
        try:
            found.append((*parse_size(option, size), parse_count(option, epochs)))
        except InputError as error:
            raise InputError(
                f"{option} {text}: must be sizes in pixels with their numbers of epochs, as 256x384:4,512x768:2"
            ) from error
    return tuple(found)


def early_sizes_as_text(sizes: Iterable[Sequence[int]]) -> str:
    """The inverse of `parse_early_sizes`."""
    return ",".join(f"{height}x{width}:{epochs}" for height, width, epochs in sizes) or NO_EARLY_SIZES


def parse_channels(option: str, text: str) -> tuple[int, ...]:
    """`256,128,64` as whole numbers; nothing for `default`.

    Raises:
        InputError: it is not of this form.
    """
    if text == USUAL:
        return ()
    try:
        return tuple(parse_count(option, part) for part in text.split(","))
    except InputError as error:
        raise InputError(f"{option} {text}: must be whole numbers with commas between them, as 128,64,32") from error


def channels_as_text(channels: Sequence[int]) -> str:
    """The inverse of `parse_channels`."""
    return ",".join(map(str, channels)) or USUAL


# Nobody needs more, and the `model.json` of a stranger must not ask for all memory.
WIDEST, DEEPEST, LARGEST_SQUARE, MOST_CLASSES = 1024, 10, 8, 256
MOST_LEVELS = 5  # encoders halve the size five times
SHORTEST_SIDE, LONGEST_SIDE = 16, 8192  # pixels
LARGEST_SCALE, MOST_SCALES = 4, 16
SCALES = Check(
    lambda scales: 0 < len(scales) <= MOST_SCALES and all(0 < scale <= LARGEST_SCALE for scale in scales),
    f"must be numbers above 0 and up to {LARGEST_SCALE}, at most {MOST_SCALES} of them",
)
SIDES = Check(
    lambda size: min(size) >= SHORTEST_SIDE and max(size) <= LONGEST_SIDE,
    f"each side must be from {SHORTEST_SIDE} to {LONGEST_SIDE:,} pixels",
)
SMALL_SIDES = Check(
    lambda sizes: all(SIDES.holds(size[:2]) and size[2] > 0 for size in sizes) and len(sizes) <= MOST_SCALES,
    f"{SIDES.message}, at most {MOST_SCALES} sizes, each for at least one epoch",
)
CHANNELS = Check(
    lambda channels: all(0 < number <= WIDEST for number in channels) and len(channels) <= DEEPEST,
    f"must be from 1 to {WIDEST:,}, at most {DEEPEST} of them",
)
TWO_FOLDS = Check(lambda folds: folds >= 2, "must be at least 2, to train on and to validate on")
