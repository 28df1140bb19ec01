"""Photo and mask files to arrays and back. Knows nothing of torch, nor of which files there are.

H height, W width, of the image itself.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kaggle_tools.errors import InputError
from kaggle_tools.system.files import replacing

Size = tuple[int, int]
"""(height, width) in pixels."""
Notes = Mapping[str, float | str]
"""What is noted of an image in its own file, by names."""

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})

_JPEG = b"\xff\xd8"
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises at damaged files, some of them only for some formats."""

# OpenCV's names say grey, but with IMREAD_COLOR_RGB the colours stay.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def read_photo(path: Path, shrink: int = 1) -> NDArray[np.uint8]:
    """The pixels of a photo, shape (H, W, 3), RGB.

    A rotation noted in the file is ignored, as the masks were drawn without it. With `shrink`, 2, 4 or 8, the
    shape is (H / shrink, W / shrink, 3): see `shrink_for`.

    Raises:
        InputError: the file is missing, cut off or not an image.
    """
    content = _read_bytes(path)
    in_decoder = shrink if content.startswith(_JPEG) else 1  # other formats are only subsampled there
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[in_decoder]
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error:  # sides that cannot be, in a damaged header
        pixels = None
    if pixels is None or _is_cut_off(content):
        raise InputError(f"{path}: not a photo that can be read; fetch it again")
    photo_HW3 = np.asarray(pixels, dtype=np.uint8)
    if in_decoder == shrink:
        return photo_HW3
    return resize(photo_HW3, (photo_HW3.shape[0] // shrink, photo_HW3.shape[1] // shrink))


def shrink_for(path: Path, own_size: Size, size: Size) -> int:
    """By how much the decoder itself may shrink a photo that `resize` then brings to `size`: 1, 2, 4 or 8.

    Both sizes are (height, width) in pixels, `own_size` that of the photo in the file.

    JPEG blocks of 8x8 pixels can be decoded to 4x4, 2x2 or one pixel, in a quarter of the time of decoding all
    and averaging. Only where both sides divide, as the decoder would round up and so shift the photo.
    """
    if path.suffix.lower() not in JPEG_SUFFIXES:
        return 1
    sides = list(zip(own_size, size, strict=True))
    fitting = (by for by in (8, 4, 2) if all(own % by == 0 and own // by >= wanted for own, wanted in sides))
    return next(fitting, 1)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask, shape (H, W): every pixel above 0 is foreground.

    Raises:
        InputError: the file is missing, cut off or not an image.
    """
    try:
        with Image.open(path) as image:
            # One bit a pixel, as our own masks have, needs no detour through gray; Pillow gives it as bytes of 255.
            return np.asarray(image if image.mode == "1" else image.convert("L")).view(np.uint8) > 0
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a mask that can be read ({error})") from error


def write_mask(path: Path, mask_HW: NDArray[np.bool_], notes: Notes | None = None) -> None:
    """Write a mask of shape (H, W) as a PNG of one bit a pixel, whole or not at all.

    `notes` are numbers and texts about the mask that lie in the same file, for `read_notes` and `read_texts`.
    """
    write_packed_mask(path, np.packbits(mask_HW, axis=1), mask_HW.shape[1], notes)


def write_packed_mask(path: Path, bits: NDArray[np.uint8], width: int, notes: Notes | None = None) -> None:
    """`write_mask` of a mask whose rows are packed already, as by `numpy.packbits`: shape (H, ceil(width / 8))."""
    image = Image.frombytes("1", (width, len(bits)), bits.tobytes())
    save_image(path, image, "PNG", pnginfo=_as_texts(notes))


def read_notes(path: Path) -> dict[str, float]:
    """The numbers that `write_mask` put beside a mask, without what others put there; the mask is not decoded.

    Raises:
        InputError: the file is missing or not an image.
    """
    return {name: float(value) for name, value in read_texts(path).items() if _is_number(value)}


def read_texts(path: Path) -> dict[str, str]:
    """All texts that lie beside the pixels in an image's file, by their names; the pixels are not decoded.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            return {str(name): value for name, value in image.info.items() if isinstance(value, str)}
    except _UNREADABLE as error:
        raise InputError(f"{path}: not an image that can be read ({error})") from error


def read_gray(path: Path) -> NDArray[np.uint8]:
    """An image of one channel, shape (H, W).

    Raises:
        InputError: the file is missing, cut off or not an image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except _UNREADABLE as error:
        raise InputError(f"{path}: not an image that can be read ({error})") from error


def write_gray(path: Path, gray_HW: NDArray[np.uint8], notes: Notes | None = None) -> None:
    """Write an image of one channel, shape (H, W), as a PNG, whole or not at all; `notes` as of `write_mask`."""
    save_image(path, Image.fromarray(gray_HW), "PNG", pnginfo=_as_texts(notes))


def write_photo(path: Path, photo_HW3: NDArray[np.uint8]) -> None:
    """Write a photo of shape (H, W, 3), RGB, as a JPEG, whole or not at all."""
    save_image(path, Image.fromarray(photo_HW3), "JPEG", quality=90)


def save_image(path: Path, image: Image.Image, format: str, **options: Any) -> None:
    """Write an image in one of Pillow's formats, with options of that format, whole or not at all.

    It is encoded in memory: of a disk that takes a part of a file only, as it is full, Pillow itself takes no notice.
    """
    encoded = io.BytesIO()
    image.save(encoded, format=format, **options)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def resize(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Bring an image (H, W) or (H, W, C) to `size`, (height, width).

    Shrinking averages over the pixels that fall together: a mask of 0 and 255 then holds the covered
    share of each pixel, from which a model learns more than from a jagged edge.
    """
    if pixels.shape[:2] == size:
        return pixels
    shrinks = size[0] <= pixels.shape[0] and size[1] <= pixels.shape[1]
    height, width = size
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def image_size(path: Path) -> Size:
    """(height, width) in pixels, from the file's header alone.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except _UNREADABLE as error:
        raise InputError(f"{path}: not an image that can be read ({error})") from error
    return height, width


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG lacks its end marker: OpenCV fills what is missing with grey and only prints a warning."""
    return content.startswith(_JPEG) and b"\xff\xd9" not in content[-4096:]


def _as_texts(notes: Notes | None) -> PngInfo:
    texts = PngInfo()
    for name, value in (notes or {}).items():
        texts.add_text(name, value if isinstance(value, str) else repr(value))
    return texts


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
