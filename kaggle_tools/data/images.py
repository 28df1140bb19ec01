"""Photo and mask files to arrays and back. Knows nothing of torch, nor of which files there are.

Pixels are read as they lie in the file: a rotation that is noted there is ignored, in all formats alike.

H height, W width, of the image itself.
"""

import io
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from kaggle_tools.data.checks.foreground import Foreground, foreground_of
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import replacing, require_regular

Pixel = TypeVar("Pixel", bound=np.generic)
Size = tuple[int, int]
"""(height, width) in pixels."""
Notes = Mapping[str, float | str]
"""What is noted of an image in its own file, by names."""

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What a file may hold, whatever its name. Pillow would go by the content and start Ghostscript for a page of text."""
MOST_BYTES = 2**30
"""No photo or mask is larger; what is, such as a device that never ends, would only fill the memory."""

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error, Image.DecompressionBombError)
"""What Pillow raises at damaged files, some of them only for some formats."""
_DAMAGED = ("Corrupt JPEG data", "Premature end of JPEG")
"""How libjpeg begins to say that pixels were lost; what else it says is harmless, or none of its business."""
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
        InputError: the file is missing, cut off, damaged or not an image, or not one that may be read (see `FORMATS`).
    """
    content = _read_bytes(path)
    in_decoder = shrink if content.startswith(_JPEG) else 1  # other formats are only subsampled there
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as header:
            own_size, turned = _stored_size(header), _noted_turn(header)
            if header.format == "TIFF":
                _require_whole_tiff(path, header)
        photo_HW3 = _decoded(content, own_size, in_decoder)
    except (*_UNREADABLE, cv2.error) as error:  # OpenCV: sides that cannot be, in a damaged header
        damage = f" ({error})" if "Corrupt" in str(error) else ""
        raise InputError(f"{path}: not a photo that can be read; fetch it again{damage}") from error
    photo_HW3 = _as_stored(photo_HW3, turned)
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
    """A mask, shape (H, W). What is foreground in which kind of file: see `foreground`.

    Raises:
        InputError: the file is missing, cut off or not an image, or not one that may be read (see `FORMATS`).
    """
    return read_foreground(path).mask_HW


def read_foreground(path: Path) -> Foreground:
    """A mask, and what was taken as its foreground where the file leaves that open.

    Raises:
        InputError: as for `read_mask`.
    """
    with _opened(path, "a mask") as image:
        turned, found = _noted_turn(image), foreground_of(image)
    return found._replace(mask_HW=_as_stored(found.mask_HW, turned)) if turned else found


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
    with _opened(path) as image:
        return {str(name): value for name, value in image.info.items() if isinstance(value, str)}


def read_gray(path: Path) -> NDArray[np.uint8]:
    """An image of one channel, shape (H, W).

    Raises:
        InputError: the file is missing, cut off or not an image.
    """
    with _opened(path) as image:
        turned, gray_HW = _noted_turn(image), np.asarray(image.convert("L"))
    return _as_stored(gray_HW, turned)


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
        InputError: the file is missing or not an image, or not one that may be read (see `FORMATS`).
    """
    with _opened(path) as image:
        return _stored_size(image)


def has_few_colours(path: Path, most: int) -> bool:
    """Whether an image has no more colours than that, as masks have and photos have not.

    Raises:
        InputError: it cannot be read.
    """
    with _opened(path) as image:
        if image.mode.startswith(("I", "F")):  # which Pillow would clip to 255
            return len(np.unique(np.asarray(image))) <= most
        return image.convert("RGB").getcolors(most) is not None


@contextmanager
def _opened(path: Path, what: str = "an image") -> Iterator[Image.Image]:
    """Every file that Pillow opens, it opens here.

    Raises:
        InputError: also for what the block finds while it decodes.
    """
    try:
        require_regular(path, MOST_BYTES)
        # From a path, Pillow would map an uncompressed TIFF into memory, and mix up its lines where these are turned.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            yield image
    except _UNREADABLE as error:
        raise InputError(f"{path}: not {what} that can be read ({error})") from error


def _read_bytes(path: Path) -> bytes:
    try:
        require_regular(path, MOST_BYTES)
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name from a table that no file can have
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _decoded(content: bytes, size: Size, shrink: int) -> NDArray[np.uint8]:
    """The pixels, shape (H, W, 3); of a JPEG of this size, in pixels, shrunken.

    Raises:
        ValueError: the file is damaged.
    """
    if content.startswith(_JPEG):
        # The same library as in OpenCV, and the same bits; but OpenCV hides that pixels were lost.
        height, width = (-(-side // shrink) for side in size)
        try:
            pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=height, min_width=width, strict=True)
            return np.asarray(pixels, dtype=np.uint8)
        except ValueError as error:
            if str(error).startswith(_DAMAGED):
                raise
            # Whole, but of a kind that only OpenCV decodes, as for printing (CMYK).
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED[shrink]
    if content.startswith(_PNG):
        content = _without_notes(content)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is None:
        raise ValueError("damaged")
    return np.asarray(pixels, dtype=np.uint8)


def _without_notes(png: bytes) -> bytes:
    """A PNG without the chunks that do not decide its pixels, of which libpng prints texts on the terminal as they are.

    A chunk is its length, its kind, its contents and a checksum (PNG specification, 5.3). The kinds of those that
    decide the pixels begin with a capital, but for the transparency.
    """
    at, kept = len(_PNG), [png[: len(_PNG)]]
    while at + 12 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        kind = png[at + 4 : at + 8]
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(png[at:end])
        at = end
    return b"".join([*kept, png[at:]])


def _require_whole_tiff(path: Path, image: Image.Image) -> None:
    """Decode it with Pillow as well: of damaged pixels in a TIFF, OpenCV takes no notice.

    Raises:
        InputError: it is of a kind that OpenCV does not decode.
        OSError, ValueError: it is damaged.
    """
    if image.mode in ("I", "F"):
        raise InputError(f"{path}: has 32 bits in a pixel; photos have 8 or 16 for each colour")
    image.load()


def _stored_size(image: Image.Image) -> Size:
    width, height = image.size
    if _noted_turn(image) >= 5:  # turned by 90 degrees: Pillow has exchanged the sides of a TIFF
        return width, height
    return height, width


def _noted_turn(image: Image.Image) -> int:
    """How pixels will be turned when they are decoded, as EXIF numbers it; 0 where they will not, or have been.

    Both Pillow and OpenCV turn those of a TIFF, even where they are told not to; neither turns others.
    """
    tags = getattr(image, "tag_v2", {})
    turn = tags.get(Base.Orientation, 0) if image.format == "TIFF" else 0
    return turn if turn in range(2, 9) else 0


def _as_stored(pixels: NDArray[Pixel], turn: int) -> NDArray[Pixel]:
    """Pixels, (H, W) or (H, W, 3), that were turned as EXIF numbers it, as they lie in the file."""
    if turn == 0:
        return pixels
    back: dict[int, NDArray[Pixel]] = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, -1),
    }
    return np.ascontiguousarray(back[turn])


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
