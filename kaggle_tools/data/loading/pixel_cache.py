"""Photos and masks at the size for training, kept as plain pixels: decoded and resized once and not in every epoch.

A file of the cache is named after all that decides its contents: the paths of photo and mask, the state of both files,
the size, and the versions of what decodes and resizes. So none is ever outdated; a photo that changes gets another.
Trainings that run at the same time may share a folder, and it may be removed whenever none runs.

H height, W width.
"""

import hashlib
import platform
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray

from kaggle_tools.config.training import Fit
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import read_bytes, remove_left_behind, replacing, write_text
from kaggle_tools.system.output import warn, warn_once

Pixels = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""A photo, (H, W, 3), and its mask, (H, W), from 0 to 255."""

SUFFIX = ".pixels"
TAG_FILE = "CACHEDIR.TAG"
"""By which backups know a folder that they may leave out (https://bford.info/cachedir/)."""
TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# Photos that kaggle_tools resized; it may be removed at any time.\n"
)
PIXELS = 1
"""One more whenever this project reads, or resizes, a photo or a mask to other pixels."""
MADE_WITH = [PIXELS, *(of.__version__ for of in (np, cv2, PIL, simplejpeg)), platform.machine()]
DIGEST_BYTES = 16
COLOURS = 3
"""Bytes a pixel of the photo takes; each of its masks takes one more."""


@dataclass(frozen=True)
class PixelCache:
    """A folder of resized photos with their masks."""

    folder: Path

    def pixels(self, photo: Photo, wanted: InputSize, decode: Callable[[], Pixels]) -> Pixels:
        """What `decode` gives, from the folder where it is there; else it is kept for the next time.

        Args:
            photo: whose pixels these are.
            wanted: to which size they are brought, and how.
            decode: reads the photo and its mask and brings them to this size.

        Raises:
            InputError: `decode` does.
        """
        path = self._path(photo, wanted)
        kept = _read(path, wanted.of(photo.size), len(photo.of_classes)) if path else None
        if kept:
            return kept
        pixels = decode()
        if path and path == self._path(photo, wanted):  # else a file was replaced while it was decoded
            self._keep(path, pixels)
        return pixels

    def prepare(self, photos: Sequence[Photo], image_sizes: Iterable[Size | None], fit: Fit = "stretch") -> None:
        """Make the folder, and check that what is not in it yet fits on its disk.

        The photos will be asked for at these sizes, (height, width), or at their own.

        Raises:
            InputError: it holds other things, cannot be written, or its disk has too little room.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--cache {self.folder}: is a file; give a folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _require_own(self.folder)
            if not (self.folder / TAG_FILE).exists():
                write_text(self.folder / TAG_FILE, TAG)
            remove_left_behind(self.folder)
            kept, free = {path.name for path in self.folder.iterdir()}, shutil.disk_usage(self.folder).free
        except OSError as error:
            raise InputError(f"--cache {self.folder}: cannot be written ({error.strerror})") from error
        needed = 0
        for size in set(image_sizes):
            if size is None:
                warn(f"--cache {self.folder}: photos of their own size are read no faster from it; leave it out")
            paths = [(photo, self._path(photo, InputSize(size, fit=fit))) for photo in photos]
            needed += bytes_of([photo for photo, path in paths if path and path.name not in kept], [size])
        if needed > free:
            raise InputError(
                f"--cache {self.folder}: needs {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free; "
                "give another folder, or a smaller --image-size"
            )

    def _path(self, photo: Photo, wanted: InputSize) -> Path | None:
        """The file that keeps the pixels; None if the photo or its mask cannot be looked at."""
        # From both sizes follows how far the decoder shrinks.
        decides: list[object] = [*MADE_WITH, photo.size, wanted.of(photo.size), *wanted.frame(photo.size)]
        try:
            decides += [_state(path) for path in (photo.path, *(one.mask for one in photo.targets)) if path]
        except OSError:
            return None
        return self.folder / f"{hashlib.sha256(repr(decides).encode()).hexdigest()}{SUFFIX}"

    def _keep(self, path: Path, pixels: Pixels) -> None:
        """Not to be able to is no reason to end a training."""
        values = b"".join(array.tobytes() for array in pixels)
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(_digest(values) + values)
        except OSError as error:
            warn_once(
                f"--cache {self.folder}: cannot be written ({error.strerror}); photos that are not in it are decoded "
                "every time"
            )


def bytes_of(photos: Iterable[Photo], image_sizes: Collection[Size | None]) -> int:
    """How much these photos take at each of these sizes, (height, width), or at their own."""
    sizes = [(len(photo.targets), *(size or photo.size)) for photo in photos for size in image_sizes]
    return sum(DIGEST_BYTES + (COLOURS + masks) * height * width for masks, height, width in sizes)


def _state(path: Path) -> tuple[str, int, int, int, int]:
    """By which it is known that a file is the same, without reading it, as git does it.

    The path, as a copy elsewhere may become another file; the inode, for a file that took its place; and both times,
    as Windows has none of the last change of a file's state.
    """
    found = path.stat()
    return str(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(path: Path, size: Size, classes: int) -> Pixels | None:
    """None where the file is missing or damaged; `classes` is 0 where there is but one kind of mask."""
    pixels = size[0] * size[1]
    expected = (COLOURS + max(1, classes)) * pixels
    try:
        content = bytearray(read_bytes(path, DIGEST_BYTES + expected))  # which arrays may write to
    except InputError:
        return None
    digest, values = content[:DIGEST_BYTES], memoryview(content)[DIGEST_BYTES:]
    if len(values) != expected or digest != _digest(values):
        return None
    photo, mask = np.split(np.frombuffer(values, np.uint8), [COLOURS * pixels])
    return photo.reshape(*size, COLOURS), mask.reshape((*size, classes) if classes else size)


def _digest(values: bytes | memoryview) -> bytes:
    return hashlib.blake2b(values, digest_size=DIGEST_BYTES).digest()


def _require_own(folder: Path) -> None:
    others = {path.name for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != SUFFIX}
    if others and not _has_our_tag(folder):
        raise InputError(f"--cache {folder}: holds other things, such as {min(others)}; give a folder of its own")


def _has_our_tag(folder: Path) -> bool:
    """Other programs mark their caches by a file of the same name."""
    with suppress(InputError):
        return read_bytes(folder / TAG_FILE, len(TAG)) == TAG.encode()
    return False
