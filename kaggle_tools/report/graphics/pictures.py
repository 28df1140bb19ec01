"""Photos as a page shows them: small, with outlines and wrong pixels drawn in, and larger on a click.

The larger view is the photo at its own pixels, as far as dozens of them fit into one file, and what is drawn lies over
it as images of their own: one for the whole photo at the width of a window, one for its single pixels. Each is drawn at
the size at which it is seen, so that lines stay as thin, and single wrong pixels as visible, as they can be.

H height, W width, at the size of what is drawn.
"""

import base64
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.fingerprint import sha256_of
from kaggle_tools.data.images import Size, read_mask, read_photo, resize
from kaggle_tools.errors import InputError
from kaggle_tools.report.graphics.marks import as_layer, marks, painted

FULL_WIDTH, THUMBNAIL, SMALLEST_WIDTH = 960, 320, 320  # pixels; a thumbnail is no higher either
TALLEST = 4 * FULL_WIDTH
FULL_QUALITY, THUMBNAIL_QUALITY = 70, 70  # of a WebP: at its own 1918x1280 pixels, a photo of a car takes 50 kB
MOST_PIXELS = 2_500_000
MOST_CHARACTERS = 100_000
"""Of a photo in a page: a hundred of them make the 10 MB that a page may have."""
LARGEST_SIDE = 16_383
"""Of a WebP."""
SMALLEST_PART = 0.05
"""Of the largest part of a mask: smaller ones are stray pixels."""


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
    """The photo alone."""
    size: Size = (1, 1)
    """(height, width) in pixels, of `full`."""
    share: float = 1.0
    """Of the photo's own width."""
    layer: str = ""
    """What is drawn, for the whole photo at about the width of a window."""
    own_layer: str = ""
    """What is drawn, for the pixels of `full`; empty where `layer` serves."""


@dataclass(frozen=True)
class Gallery:
    """Pictures that belong together."""

    title: str
    pictures: list[Picture]
    together: int = 1
    """So many in turn show the same photo, and stay beside each other."""

    @property
    def not_shown(self) -> list[tuple[int, str]]:
        """How many of the pictures cannot be shown for each reason, the most frequent one first."""
        return reasons(self.pictures)


def reasons(shown: Iterable[Picture]) -> list[tuple[int, str]]:
    """How many pictures cannot be shown for each reason, the most frequent one first, with the file of one of them."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for picture in shown:
        if not picture.thumbnail:
            reason = picture.errors.partition(": ")[2] or picture.errors  # after the file's path
            first.setdefault(reason, picture.errors)
            counts[reason] += 1
    return [(count, first[reason]) for reason, count in counts.most_common()]


def pictures(photos: Iterable[PhotoFiles]) -> list[Picture]:
    """Draw them; of a photo whose files cannot be read it is said why."""
    return [_picture(photo) for photo in photos]


def draw(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None, width: int
) -> NDArray[np.uint8]:
    """The photo at this width, or of a very high one at `TALLEST`, with the outline of the predicted mask.

    Where the truth is known, its outline is drawn as well, and false negative and false positive pixels are coloured.
    """
    size = _of_width(photo_HW3.shape[:2], width)
    return painted(resize(photo_HW3, size), marks(predicted_HW, truth_HW, size))


def data_uri(pixels: NDArray[np.uint8], quality: int | None = None) -> str:
    """An image (H, W, 3), RGB, or (H, W), as the `src` of an <img>: WebP of this quality, or PNG without one."""
    image = Image.fromarray(pixels)
    if quality is None:
        return _address(image, "PNG", optimize=True)
    return _address(image, "WEBP", quality=quality, method=2)  # in half the time of the default, 4, for 5 % more bytes


def _address(image: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
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
    full, size = _full(photo_HW3)
    return Picture(
        files.stem,
        files.caption,
        errors,
        thumbnail=_thumbnail(photo_HW3, predicted_HW, truth_HW),
        full=full,
        size=size,
        share=size[1] / photo_HW3.shape[1],
        layer=_layer(predicted_HW, truth_HW, _window_size(photo_HW3.shape[:2])),
        own_layer=_layer(predicted_HW, truth_HW, size) if size[1] > FULL_WIDTH else "",
    )


def _thumbnail(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None
) -> str:
    box = _around(predicted_HW if truth_HW is None else predicted_HW | truth_HW)
    height, width = photo_HW3[box].shape[:2]
    fitting = max(1, round(THUMBNAIL * min(1, width / height)))
    drawn = draw(photo_HW3[box], predicted_HW[box], None if truth_HW is None else truth_HW[box], fitting)
    return data_uri(drawn, THUMBNAIL_QUALITY)


def _full(photo_HW3: NDArray[np.uint8]) -> tuple[str, Size]:
    """A photo with as many of its own pixels as there is room for, and its size there; a small one without any loss."""
    height, width = own = photo_HW3.shape[:2]
    if max(own) <= SMALLEST_WIDTH and len(exact := data_uri(photo_HW3)) <= MOST_CHARACTERS:
        return exact, own
    share = min(1.0, sqrt(MOST_PIXELS / (height * width)), LARGEST_SIDE / max(own))
    size = _reduced(own, share)
    full = data_uri(resize(photo_HW3, size), FULL_QUALITY)
    while len(full) > MOST_CHARACTERS and size[1] > FULL_WIDTH:  # a smaller one has more detail in each pixel
        share = max(share * min(0.9, sqrt(MOST_CHARACTERS / len(full))), FULL_WIDTH / width)
        size = _reduced(own, share)
        full = data_uri(resize(photo_HW3, size), FULL_QUALITY)
    return full, size


def _layer(predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None, size: Size) -> str:
    return _address(as_layer(marks(predicted_HW, truth_HW, size)), "PNG", optimize=True)


def _window_size(own: Size) -> Size:
    """Of the layer for a whole photo: a small one is enlarged by a whole factor, that its pixels stay square."""
    enlarged = own[1] * -(-SMALLEST_WIDTH // own[1])
    return _of_width(own, min(FULL_WIDTH, max(own[1], enlarged)))


def _of_width(own: Size, width: int) -> Size:
    """The size at this width, or of a very high photo at `TALLEST`: one pixel wide, it would fill the memory."""
    height = max(1, round(own[0] * width / own[1]))
    return (height, width) if height <= TALLEST else (TALLEST, max(1, round(own[1] * TALLEST / own[0])))


def _reduced(own: Size, share: float) -> Size:
    return max(1, round(own[0] * share)), max(1, round(own[1] * share))


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
    """The part of a photo, of the photo's own shape, that holds the mask; all of it where there is no mask.

    Stray pixels far from it, parts of less than `SMALLEST_PART` of its largest one, may lie outside.
    """
    _, _, found, _ = cv2.connectedComponentsWithStats(mask_HW.astype(np.uint8))
    parts = found[1:]  # the first is the background
    if not len(parts):
        return slice(None), slice(None)
    areas = parts[:, cv2.CC_STAT_AREA]
    left, top, wide, high, _ = parts[areas >= SMALLEST_PART * areas.max()].T
    starts_and_stops = ((top, top + high), (left, left + wide))
    sides = [
        (int(start.min()), int(stop.max()), length)
        for (start, stop), length in zip(starts_and_stops, mask_HW.shape, strict=True)
    ]
    share = min(1.0, 1.1 * max((stop - start) / length for start, stop, length in sides))
    rows, columns = (_centred(start, stop, round(share * length), length) for start, stop, length in sides)
    return rows, columns


def _centred(start: int, stop: int, length: int, limit: int) -> slice:
    first = int(np.clip((start + stop - length) // 2, 0, limit - length))
    return slice(first, first + length)
