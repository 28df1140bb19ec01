"""Photos as a page shows them: with outlines and errors drawn in, small, and larger on a click.

A larger view is at most 960 pixels wide, so that dozens of them fit into one file. What is drawn is brought to that
size first, so that lines stay as thin, and single wrong pixels as visible, as they can be.

H height, W width, at the size of the view.
"""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.images import read_mask, read_photo, resize
from kaggle_tools.errors import InputError

FULL_WIDTH, THUMBNAIL_WIDTH, SMALLEST_WIDTH = 960, 320, 320  # pixels
FULL_QUALITY, THUMBNAIL_QUALITY = 72, 70  # of a JPEG

TRUE, PREDICTED = (0, 158, 115), (204, 51, 153)
"""The borders' colours, green and purple, which most colour-blind people can tell apart (after Okabe and Ito)."""
MISSED, INVENTED = (230, 120, 0), (0, 114, 220)
"""The colours of wrong pixels, orange and blue."""


@dataclass(frozen=True)
class Subject:
    """A photo that is to be shown."""

    stem: str
    caption: str
    """What is to be known of it, such as its score."""
    photo: Path
    predicted: Path
    truth: Path | None = None


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


def pictures(subjects: Iterable[Subject]) -> list[Picture]:
    """Draw them; of a photo whose files cannot be read it is said why."""
    return [_picture(subject) for subject in subjects]


def draw(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None, width: int
) -> NDArray[np.uint8]:
    """The photo at this width with the border of the predicted mask and, where the truth is known, the true one's.

    Pixels that were missed and invented are coloured: of the view's those that hold at least one.
    """
    height = max(1, round(photo_HW3.shape[0] * width / photo_HW3.shape[1]))
    drawn = resize(photo_HW3, (height, width)).copy()
    if truth_HW is not None:
        for wrong_HW, colour in ((truth_HW & ~predicted_HW, MISSED), (predicted_HW & ~truth_HW, INVENTED)):
            how = cv2.INTER_NEAREST if width > photo_HW3.shape[1] else cv2.INTER_AREA
            covered_HW = cv2.resize(wrong_HW.astype(np.float32), (width, height), interpolation=how) > 0
            drawn[covered_HW] = (0.35 * drawn[covered_HW] + 0.65 * np.array(colour)).astype(np.uint8)
        _draw_border(drawn, truth_HW, TRUE)
    _draw_border(drawn, predicted_HW, PREDICTED)
    return drawn


def data_uri(pixels: NDArray[np.uint8], quality: int | None = None) -> str:
    """An image (H, W, 3), RGB, or (H, W), as the `src` of an <img>: JPEG of this quality, or PNG without one."""
    file, kind = io.BytesIO(), "PNG" if quality is None else "JPEG"
    Image.fromarray(pixels).save(file, format=kind, **({} if quality is None else {"quality": quality}), optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _picture(subject: Subject) -> Picture:
    try:
        photo_HW3, predicted_HW = read_photo(subject.photo), read_mask(subject.predicted)
        truth_HW = read_mask(subject.truth) if subject.truth else None
    except InputError as error:
        return Picture(subject.stem, subject.caption, str(error))
    shapes = {photo_HW3.shape[:2], predicted_HW.shape} | ({truth_HW.shape} if truth_HW is not None else set())
    if len(shapes) > 1:
        return Picture(subject.stem, subject.caption, f"{subject.photo}: has another size than its mask")
    errors = ""
    if truth_HW is not None:
        missed, invented = (int(np.sum(wrong)) for wrong in (truth_HW & ~predicted_HW, predicted_HW & ~truth_HW))
        errors = f"{missed:,} px missed, {invented:,} px invented"
    own_width = photo_HW3.shape[1]
    enlarged = own_width * -(-SMALLEST_WIDTH // own_width)  # by a whole factor, that pixels stay square
    full_width = min(FULL_WIDTH, max(own_width, enlarged))
    full = draw(photo_HW3, predicted_HW, truth_HW, full_width)
    box = _around(predicted_HW if truth_HW is None else predicted_HW | truth_HW)
    cut_truth_HW = None if truth_HW is None else truth_HW[box]
    thumbnail = draw(photo_HW3[box], predicted_HW[box], cut_truth_HW, THUMBNAIL_WIDTH)
    return Picture(
        subject.stem, subject.caption, errors, data_uri(thumbnail, THUMBNAIL_QUALITY), data_uri(full, FULL_QUALITY)
    )


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


def _draw_border(drawn: NDArray[np.uint8], mask_HW: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    size_HW = resize(mask_HW.astype(np.uint8) * 255, drawn.shape[:2]) > 127
    borders, _ = cv2.findContours(size_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, borders, -1, colour, thickness=1)
