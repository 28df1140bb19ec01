"""Whether photos and masks are still those that they were: the SHA-256 of their files, also as a table.

Contents count and nothing else: copies of a file are the same wherever they lie and whenever they were made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from kaggle_tools.data.images import MOST_BYTES
from kaggle_tools.data.listing import Photo, targets_of
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.system.files import read_csv, require_regular, sha256, write_csv
from kaggle_tools.system.progress import track

THREADS = 8
"""More than most disks need to be busy; hashing itself lets other threads work."""
CHUNK = 1024
"""Files that are handed to the threads at a time, so that memory does not grow with their number."""
LONG = 1000
"""The progress of so many files is shown."""
COLUMNS = ["image", "photo_sha256", "mask_sha256"]


class FileHashes(NamedTuple):
    """The SHA-256 of a photo's file and of its mask's, as hexadecimal digits."""

    photo: str
    mask: str


Fingerprint = Mapping[str, FileHashes]
"""By the stems of the photos."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        InputError: it cannot be read, or is no file of a photo or mask (see `MOST_BYTES`).
    """
    try:
        require_regular(path, MOST_BYTES)
        return sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def sha256_of_all(paths: Sequence[Path], what: str) -> list[str]:
    """`sha256_of` each of these files, in their order; `what` says what is being read, where that takes long.

    Raises:
        InputError: one cannot be read.
    """
    hashes = _hashed(paths)
    return list(track(hashes, len(paths), what) if len(paths) >= LONG else hashes)


def fingerprint_of(photos: Sequence[Photo]) -> Fingerprint:
    """The hashes of photos and of their masks, which all of them have.

    Raises:
        InputError: a file cannot be read.
    """
    targets = targets_of(photos)
    files = dict.fromkeys(path for photo in targets for path in (photo.path, photo.mask) if path)
    hashes = dict(zip(files, sha256_of_all([*files], "files hashed, so that later changes are noticed"), strict=True))
    return {photo.stem: FileHashes(hashes[photo.path], hashes[photo.mask]) for photo in targets if photo.mask}


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write it as a table: image,photo_sha256,mask_sha256."""
    write_csv(path, COLUMNS, [(stem, *hashes) for stem, hashes in fingerprint.items()])


def read_fingerprint(path: Path) -> Fingerprint:
    """The inverse of `write_fingerprint`.

    Raises:
        InputError: the table is damaged.
    """
    without = "without it, photos and masks count as they are now"
    return dict(read_csv(path, COLUMNS, _parsed, if_damaged=without))


def differences(before: Fingerprint, now: Fingerprint) -> str:
    """How many photos and masks are others than before, with the first of their names; empty where none are."""
    both = [stem for stem in before if stem in now]
    found = {
        "photos changed": [stem for stem in both if before[stem].photo != now[stem].photo],
        "masks changed": [stem for stem in both if before[stem].mask != now[stem].mask],
        "photos gone": [stem for stem in before if stem not in now],
        "photos added": [stem for stem in now if stem not in before],
    }
    return "; ".join(f"{len(stems):,} {what}: {first_few(sorted(stems))}" for what, stems in found.items() if stems)


def _hashed(paths: Sequence[Path]) -> Iterator[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), CHUNK):
            yield from pool.map(sha256_of, paths[start : start + CHUNK])


def _parsed(stem: str, *hashes: str) -> tuple[str, FileHashes]:
    if not all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes):
        raise ValueError(f"no two SHA-256 of {stem!r:.80}")
    return stem, FileHashes(*hashes)
