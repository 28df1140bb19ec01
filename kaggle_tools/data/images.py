"""Photos and masks: which files there are, and files to arrays and back. Knows nothing of torch."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.system.files import replacing

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""What counts as a photo in a folder that is not laid out by Kaggle."""
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


@dataclass(frozen=True)
class Photo:
    """A photo and, where it is known, its mask."""

    stem: str
    """The file name without its extension: by it a photo is known everywhere."""
    path: Path
    size: tuple[int, int]
    """(height, width) in pixels."""
    mask: Path | None = None


def training_photos(competition: Competition, folder: Path) -> list[Photo]:
    """The training photos with their masks, in the order of their stems.

    Raises:
        InputError: no photos, or photos or masks that are missing, unpaired, unreadable or differ in size;
            one message names the first few of each kind.
    """
    photos = _files_by_stem(folder, competition, competition.train_photos)
    masks = _files_by_stem(folder, competition, competition.train_masks)
    problems = {
        f"without a mask ({competition.train_masks})": sorted(photos.keys() - masks.keys()),
        f"masks without a photo ({competition.train_photos})": sorted(masks.keys() - photos.keys()),
        f"not named like {competition.stem_format}": sorted(stem for stem in photos if not _fits(competition, stem)),
    }
    pairs, unreadable, unequal = [], [], []
    for stem in sorted(photos.keys() & masks.keys()):
        photo_size, mask_size = _size_or_none(photos[stem]), _size_or_none(masks[stem])
        unreadable += [path.name for path, size in ((photos[stem], photo_size), (masks[stem], mask_size)) if not size]
        if photo_size and mask_size and photo_size != mask_size:
            unequal.append(f"{stem} ({_text(photo_size)} and {_text(mask_size)})")
        if photo_size:
            pairs.append(Photo(stem, photos[stem], photo_size, masks[stem]))
    problems["unreadable"] = unreadable
    problems["whose photo and mask differ in size"] = unequal
    _refuse(folder, problems)
    return pairs


def photos_to_mask(competition: Competition, folder: Path) -> tuple[list[Photo], list[str]]:
    """The photos to be masked, in the order of their stems, and what is wrong with those that cannot be read.

    Raises:
        InputError: there are none.
    """
    return _readable(_files_by_stem(folder, competition, competition.test_photos))


def photos_in(folder: Path) -> tuple[list[Photo], list[str]]:
    """All photos that lie directly in a folder, in the order of their stems, and what is wrong with the unreadable.

    Raises:
        InputError: there is no such folder, no photo in it, or two differ only in their extension.
    """
    paths = [path for path in _visible(folder.glob("*")) if path.suffix.lower() in PHOTO_SUFFIXES]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if not paths:
        raise InputError(f"{folder}: no photos ({', '.join(sorted(PHOTO_SUFFIXES))}) in it")
    by_stem = {path.stem: path for path in paths}
    if len(by_stem) < len(paths):
        twice = sorted({path.name for path in paths} - {path.name for path in by_stem.values()})
        raise InputError(f"{folder}: photos that differ only in their extension would share a mask: {first_few(twice)}")
    return _readable(by_stem)


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


def shrink_for(photo: Photo, size: tuple[int, int]) -> int:
    """By how much the decoder itself may shrink a photo that `resize` then brings to `size`, (height, width).

    JPEG blocks of 8x8 pixels can be decoded to 4x4, 2x2 or one pixel, in a quarter of the time of decoding all
    and averaging. Only where both sides divide, as the decoder would round up and so shift the photo.
    """
    if photo.path.suffix.lower() not in JPEG_SUFFIXES:
        return 1
    sides = list(zip(photo.size, size, strict=True))
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


def write_mask(path: Path, mask_HW: NDArray[np.bool_], notes: Mapping[str, float] | None = None) -> None:
    """Write a mask of shape (H, W) as a PNG of one bit a pixel, whole or not at all.

    `notes` are numbers about the mask that lie in the same file, for `read_notes`.
    """
    write_packed_mask(path, np.packbits(mask_HW, axis=1), mask_HW.shape[1], notes)


def write_packed_mask(
    path: Path, bits: NDArray[np.uint8], width: int, notes: Mapping[str, float] | None = None
) -> None:
    """`write_mask` of a mask whose rows are packed already, as by `numpy.packbits`: shape (H, ceil(width / 8))."""
    text = PngInfo()
    for name, value in (notes or {}).items():
        text.add_text(name, repr(value))
    image = Image.frombytes("1", (width, len(bits)), bits.tobytes())
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=text)


def read_notes(path: Path) -> dict[str, float]:
    """The numbers that `write_mask` put beside a mask, without what others put there; the mask is not decoded.

    Raises:
        InputError: the file is missing or not an image.
    """
    try:
        with Image.open(path) as image:
            texts = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a mask that can be read ({error})") from error
    return {name: float(value) for name, value in texts.items() if _is_number(value)}


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


def write_gray(path: Path, gray_HW: NDArray[np.uint8]) -> None:
    """Write an image of one channel, shape (H, W), as a PNG, whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(gray_HW).save(temporary, format="PNG")


def write_photo(path: Path, photo_HW3: NDArray[np.uint8]) -> None:
    """Write a photo of shape (H, W, 3), RGB, as a JPEG, whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(photo_HW3).save(temporary, format="JPEG", quality=90)


def resize(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring an image (H, W) or (H, W, C) to `size`, (height, width).

    Shrinking averages over the pixels that fall together: a mask of 0 and 255 then holds the covered
    share of each pixel, which is worth more to the network than a jagged edge.
    """
    if pixels.shape[:2] == size:
        return pixels
    shrinks = size[0] <= pixels.shape[0] and size[1] <= pixels.shape[1]
    height, width = size
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def draw_outlines(
    photo_HW3: NDArray[np.uint8], predicted_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """A copy of the photo, (H, W, 3) uint8, with the outline of the predicted mask in red, of the true one in green."""
    drawn = photo_HW3.copy()
    masks = (
        [(predicted_HW, (255, 0, 0))] if truth_HW is None else [(truth_HW, (0, 255, 0)), (predicted_HW, (255, 0, 0))]
    )
    for mask_HW, colour in masks:
        outlines, _ = cv2.findContours(mask_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, colour, thickness=1)
    return drawn


def image_size(path: Path) -> tuple[int, int]:
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


def _files_by_stem(folder: Path, competition: Competition, pattern: str) -> dict[str, Path]:
    before, after = pattern.split("{stem}")
    paths = _visible(folder.glob(f"{before}*{after}"))
    if not paths:
        raise InputError(
            f"{folder / pattern.replace('{stem}', '*')}: no such files; is {folder} the folder with the data of "
            f"{competition.title}? For another competition, give --competition"
        )
    return {path.relative_to(folder).as_posix()[len(before) : -len(after) or None]: path for path in paths}


def _visible(paths: Iterable[Path]) -> list[Path]:
    """Without what file managers leave behind, such as `._photo.jpg`."""
    return [path for path in paths if not path.name.startswith(".")]


def _readable(paths: dict[str, Path]) -> tuple[list[Photo], list[str]]:
    photos, unreadable = [], []
    for stem in sorted(paths):
        try:
            photos.append(Photo(stem, paths[stem], image_size(paths[stem])))
        except InputError as error:
            unreadable.append(str(error))
    return photos, unreadable


def _size_or_none(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except InputError:
        return None


def _fits(competition: Competition, stem: str) -> bool:
    try:
        competition.group_and_view(stem)
    except ValueError:
        return False
    return True


def _refuse(folder: Path, problems: dict[str, list[str]]) -> None:
    found = [f"  {len(names):,} {what}: {first_few(names)}" for what, names in problems.items() if names]
    if found:
        raise InputError("\n".join([f"{folder}: mend or remove these files first", *found]))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG lacks its end marker: OpenCV fills what is missing with grey and only prints a warning."""
    return content.startswith(_JPEG) and b"\xff\xd9" not in content[-4096:]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
