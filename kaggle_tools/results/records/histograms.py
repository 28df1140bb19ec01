"""What `oof_histograms.npz` records of a fold's held-out photos: enough to know their scores at every threshold."""

import io
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.data.checks.zip_files import DAMAGED, USUAL
from kaggle_tools.errors import InputError
from kaggle_tools.results.after_care import LEVELS
from kaggle_tools.results.run_folder import BINS, HISTOGRAMS_FILE, OOF_FILE
from kaggle_tools.system.files import LARGEST_TABLE, read_bytes

LARGEST_HISTOGRAMS = 2**30
"""Bytes, unpacked: those of 250,000 photos."""
MOST_PIXELS = 10**12
"""Of a photo; so that sums of them are numbers of 64 bits."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out photos, or the masks of each of them, with what is needed to know their scores at every threshold."""

    stems: list[str]
    histograms: NDArray[np.int64]
    """(n, 2, BINS): of each photo, how many pixels of background and foreground have which probability."""
    levels: NDArray[np.int64] | None = None
    """(n, 2, LEVELS, 2): of each photo what `after_care.levels_of` counts; None where that is not known."""

    def part(self, chosen_n: NDArray[np.bool_]) -> "HeldOut":
        """Some of them."""
        stems = [stem for stem, is_chosen in zip(self.stems, chosen_n, strict=True) if is_chosen]
        return HeldOut(stems, self.histograms[chosen_n], None if self.levels is None else self.levels[chosen_n])


def read_histograms(folder: Path) -> HeldOut:
    """The held-out photos of a fold, from the file in its folder.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / HISTOGRAMS_FILE
    way_on = f"delete {folder / OOF_FILE} and run `train` again"
    try:
        content = io.BytesIO(read_bytes(path, LARGEST_TABLE, way_on))
        with zipfile.ZipFile(content) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST_HISTOGRAMS:
                raise ValueError(f"more than {LARGEST_HISTOGRAMS:,} bytes when unpacked")
            if any(part.compress_type not in USUAL for part in archive.infolist()):
                raise ValueError("packed in another way than deflate")
        with np.load(content, allow_pickle=False) as arrays:
            images, histograms = arrays["images"], arrays["histograms"]
            levels = arrays.get("levels")  # older versions did not count them
        if images.shape[:1] != histograms.shape[:1]:  # before memory is asked for
            raise ValueError(f"images of shape {images.shape}, histograms of shape {histograms.shape}")
        counts = _counts(histograms, (len(images), 2, BINS))
        found = HeldOut(
            _stems(images), counts, None if levels is None else _counts(levels, (len(images), 2, LEVELS, 2))
        )
    except (*DAMAGED, OSError, KeyError, tokenize.TokenError) as error:
        raise InputError(f"{path}: damaged ({error}); {way_on}") from error
    return found


def _stems(recorded: NDArray[Any]) -> list[str]:
    if recorded.ndim != 1 or recorded.dtype.kind != "U":
        raise ValueError(f"images of shape {recorded.shape} and type {recorded.dtype}")
    stems: list[str] = recorded.tolist()
    return stems


def _counts(recorded: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.int64]:
    if recorded.shape != shape or not np.issubdtype(recorded.dtype, np.integer):
        raise ValueError(f"histograms of shape {recorded.shape} and type {recorded.dtype}, not {shape}")
    if recorded.size * np.dtype(np.int64).itemsize > LARGEST_HISTOGRAMS:
        raise ValueError(f"{len(recorded):,} histograms")
    counts = recorded.astype(np.int64)
    if not ((counts >= 0) & (counts <= MOST_PIXELS)).all():
        raise ValueError("numbers of pixels that cannot be")
    return counts
