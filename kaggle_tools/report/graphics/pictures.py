"""Photos as a page shows them: with outlines and wrong pixels drawn in, small, and larger on a click.

A larger view is at most 960 pixels wide, so that dozens of them fit into one file. What is drawn is brought to that
size first, so that lines stay as thin, and single wrong pixels as visible, as they can be.

H height, W width, at the size of the view.
"""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.draw_outlines import colour_errors, draw_outlines
from kaggle_tools.data.fingerprint import sha256_of
from kaggle_tools.data.images import read_mask, read_photo, resize
from kaggle_tools.errors import InputError

FULL_WIDTH, THUMBNAIL_WIDTH, SMALLEST_WIDTH = 960, 320, 320  # pixels
TALLEST = 4 * FULL_WIDTH
FULL_QUALITY, THUMBNAIL_QUALITY = 72, 70  # of a JPEG


@dataclass(frozen=True)
class PhotoFiles:
    """A photo that is to be shown, and its masks."""

    stem: str
    caption: str
    """What is to be known of it, such as its score."""
    photo: Path
    predicted: Path
    truth: Path | None = None
    photo_sha256: str = ""
    """Of the photo as it was when it was masked; empty where that is not known."""
    truth_sha256: str = ""
    """Of the true mask as it was then."""
    paths_recorded: bool = False
    """Whether the paths of the photo and of the true mask were read from a file that may come from a stranger."""


@dataclass(frozen=True)
class Picture:
    """A photo that is shown."""

    stem: str
    caption: str
    errors: str
    """How many pixels are wrong, where the truth is known; or why there is nothing to be seen."""
    thumbnail: str = ""
    """The `src` of an image; empty where a file could not be read."""
    full: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together."""

    title: str
    pictures: list[Picture]


def pictures(photos: Iterable[PhotoFiles]) -> list[Picture]:
    """Draw them; of a photo whose files cannot be read it is said why."""
    return [_picture(photo) for photo in photos]


def draw(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None, width: int
) -> NDArray[np.uint8]:
    """The photo at this width, or of a very high one at `TALLEST`, with the outline of the predicted mask.

    Where the truth is known, its outline is drawn as well, and false negative and false positive pixels are coloured.
    """
    own_height, own_width = photo_HW3.shape[:2]
    height = max(1, round(own_height * width / own_width))
    if height > TALLEST:  # as of a photo one pixel wide, which would fill the memory
        height, width = TALLEST, max(1, round(own_width * TALLEST / own_height))
    drawn_HW3 = resize(photo_HW3, (height, width))
    if truth_HW is not None:
        drawn_HW3 = colour_errors(drawn_HW3, predicted_HW, truth_HW)
    return draw_outlines(drawn_HW3, predicted_HW, truth_HW)


def data_uri(pixels: NDArray[np.uint8], quality: int | None = None) -> str:
    """An image (H, W, 3), RGB, or (H, W), as the `src` of an <img>: JPEG of this quality, or PNG without one."""
    file, kind = io.BytesIO(), "PNG" if quality is None else "JPEG"
    Image.fromarray(pixels).save(file, format=kind, **({} if quality is None else {"quality": quality}), optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _picture(files: PhotoFiles) -> Picture:
    try:
        _require_the_ones(files)
        photo_HW3, predicted_HW = read_photo(files.photo), read_mask(files.predicted)
        truth_HW = read_mask(files.truth) if files.truth else None
    except InputError as error:
        return Picture(files.stem, files.caption, str(error))
    shapes = {photo_HW3.shape[:2], predicted_HW.shape} | ({truth_HW.shape} if truth_HW is not None else set())
    if len(shapes) > 1:
        return Picture(files.stem, files.caption, f"{files.photo}: has another size than its mask")
    errors = ""
    if truth_HW is not None:
        false_negative, false_positive = np.sum(truth_HW & ~predicted_HW), np.sum(predicted_HW & ~truth_HW)
        errors = f"{false_negative:,} false negative, {false_positive:,} false positive pixels"
    own_width = photo_HW3.shape[1]
    enlarged = own_width * -(-SMALLEST_WIDTH // own_width)  # by a whole factor, that pixels stay square
    full_width = min(FULL_WIDTH, max(own_width, enlarged))
    full = draw(photo_HW3, predicted_HW, truth_HW, full_width)
    box = _around(predicted_HW if truth_HW is None else predicted_HW | truth_HW)
    cut_truth_HW = None if truth_HW is None else truth_HW[box]
    thumbnail = draw(photo_HW3[box], predicted_HW[box], cut_truth_HW, THUMBNAIL_WIDTH)
    return Picture(
        files.stem, files.caption, errors, data_uri(thumbnail, THUMBNAIL_QUALITY), data_uri(full, FULL_QUALITY)
    )


def _require_the_ones(files: PhotoFiles) -> None:
    """Check that the files are those that were masked.

    A recorded path might name any picture of this machine, but a stranger who records its SHA-256 has it already.

    Raises:
        InputError: one was changed, or is only recorded, without its SHA-256.
    """
    for path, before in ((files.photo, files.photo_sha256), (files.truth, files.truth_sha256)):
        if path and files.paths_recorded and not before:
            raise InputError(f"{path}: not shown, as its SHA-256 is not recorded; name the photos' folder by --data")
        if path and before and sha256_of(path) != before:
            raise InputError(f"{path}: is no longer what it was when the photo was masked")


def _around(mask_HW: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of a photo, of the photo's own shape, that holds the mask; all of it where there is no mask."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    sides = [(found[0], found[-1] + 1, length) for found, length in zip((rows, columns), mask_HW.shape, strict=True)]
    share = min(1.0, 1.1 * max((stop - start) / length for start, stop, length in sides))
    return tuple(_centred(start, stop, round(share * length), length) for start, stop, length in sides)  # type: ignore[return-value]


def _centred(start: int, stop: int, length: int, limit: int) -> slice:
    first = int(np.clip((start + stop - length) // 2, 0, limit - length))
    return slice(first, first + length)
