"""From mask files to the CSV that Kaggle takes, checked, and to its compressed form.

Knows nothing of models, of torch or of Kaggle's service. A full submission is 100,064 masks and
800 MB of text, so masks pass through one by one and are encoded by all cores.
"""

import csv
import gzip
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.foreground import lines_of_ambiguous
from kaggle_tools.data.fingerprint import sha256_of
from kaggle_tools.data.images import Size, image_size, read_foreground
from kaggle_tools.errors import InputError, counted_of, first_few
from kaggle_tools.results.pred_folder import is_of_other_photo
from kaggle_tools.submission.check import CheckReport, check_submission
from kaggle_tools.submission.mask_size import as_submitted
from kaggle_tools.submission.read import read_sample
from kaggle_tools.system.files import replacing
from kaggle_tools.system.memory import keep_freed_memory
from kaggle_tools.system.progress import track

SizeOf = Callable[[str], Size | None]
"""The size of the photo of the mask with this name, or None where it is not known."""

CHUNK = 32
"""Masks that a process takes at a time: the transport stays cheap, and the last chunks keep no core waiting."""


LARGE = 4_000_000  # pixels
MOST_CHANGES = 1_000_000
"""Of neighbours in a large mask; more run lengths than that would fill the memory, and belong to no object."""


class Written(NamedTuple):
    """A CSV that may be submitted."""

    csv: Path
    packed: Path
    """Its compressed form, which is uploaded."""
    report: CheckReport
    """What is in it."""
    ambiguous: dict[str, list[str]]
    """The files of the masks that are not plain, by what was taken as their foreground: see `foreground`."""
    of_other_photos: list[str]
    """The names of the masks that note another photo than the one in the data folder."""

    def ambiguous_masks(self) -> list[str]:
        """A line for each way in which masks are not plain."""
        return lines_of_ambiguous(self.ambiguous, self.report.rows)


class Encoded(NamedTuple):
    """What is known of the masks in a CSV, by their names."""

    sizes: dict[str, Size]
    """(height, width) in pixels of the mask files, for `check_submission`."""
    ambiguous: dict[str, list[str]]
    of_other_photos: list[str]
    """Both as of `Written`."""


def write_checked(
    masks: Path, sample: Path, csv: Path, competition: Competition, *, data: Path | None = None, force: bool = False
) -> Written:
    """Write, check and compress a CSV. What is refused leaves neither file.

    Each mask must have its photo's size, as far as that is known.

    Args:
        masks: the folder of the mask files.
        sample: the competition's sample submission, plain or compressed.
        csv: the file to be written.
        competition: says how ids, columns and run lengths are written.
        data: the competition's data folder; photos that are there say how large a mask must be.
        force: let masks of unusual size pass whose photos are not there, and a CSV in which all masks are full, or
            blank, or the sample submission's.

    Raises:
        InputError: the masks cannot be used, or the CSV does not pass the check.
    """
    usual = None if force else competition.photo_size
    size_of_photo: SizeOf = size_of_photos(data, competition) if data else lambda _: None
    for path in (csv, compressed_path(csv)):
        path.unlink(missing_ok=True)  # it is of the masks as they were before
    with replacing(csv) as temporary:  # a file of the CSV's name has passed the check, however this process ends
        encoded = write_submission(
            masks, sample, temporary, competition, size_of=lambda stem: size_of_photo(stem) or usual, data=data
        )
        report = check_submission(
            *(temporary, sample, competition),
            size_of=encoded.sizes.get,
            data=data,
            allow_degenerate=force,
            called=csv,
        )
    return Written(csv, compress(csv), report, encoded.ambiguous, encoded.of_other_photos)


def write_submission(
    masks: Path,
    sample: Path,
    destination: Path,
    competition: Competition,
    *,
    size_of: SizeOf | None = None,
    data: Path | None = None,
    workers: int | None = None,
) -> Encoded:
    """Encode `masks/<stem>.png` for every row of the sample, in its order, into a CSV.

    Args:
        masks: the folder of the mask files; see `foreground`.
        sample: the competition's sample submission, plain or compressed.
        destination: the CSV, which appears whole or not at all.
        competition: says how ids, columns and run lengths are written.
        size_of: the photos' sizes, as far as they are known: each mask must have its photo's.
        data: the competition's data folder; photos that are there are compared with those that masks note.
        workers: how many processes encode; one for each core by default.

    Raises:
        InputError: masks that are missing (noticed before any is encoded), that cannot be read, or
            that do not have their photo's size; one message says how many and names the first few.
    """
    listed = read_sample(sample, competition)
    names = listed.names
    _refuse_missing(masks, list(names.values()))
    encode = partial(_encode_masks, masks, competition, data)
    encoded_masks = _map_in_order(encode, list(names.values()), workers or os.cpu_count() or 1)
    sizes: dict[str, Size] = {}
    ambiguous: dict[str, list[str]] = {}
    problems, of_other_photos = [], []
    with replacing(destination) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(listed.columns)
        shown = track(encoded_masks, len(names), "masks encoded")
        for name, encoded in zip(names.values(), shown, strict=True):
            sizes[name] = encoded.size
            if encoded.taken:
                ambiguous.setdefault(encoded.taken, []).append(f"{name}.png")
            if encoded.is_of_other_photo:
                of_other_photos.append(name)
            problems.append(encoded.problem or _size_problem(name, encoded.size, size_of))
            writer.writerow(listed.row(name, encoded.text or competition.blank_mask, competition))
        _refuse_unusable(list(filter(None, problems)), len(names))
    return Encoded(sizes, ambiguous, of_other_photos)


def size_of_photos(folder: Path, competition: Competition) -> SizeOf:
    """Looks up, by the names of their masks, the sizes of the competition's test photos that lie in its data folder."""

    @lru_cache(maxsize=1)  # the masks of a photo follow each other
    def size_of_photo(stem: str) -> Size | None:
        path = folder / competition.test_photos.format(stem=stem)
        return image_size(path) if path.exists() else None

    return lambda name: size_of_photo(competition.stem_of(name))


def compress(path: Path) -> Path:
    """Write `<path>.gz` and return it: the same bytes for the same CSV, whenever it is done.

    Level 1 halves Carvana's 800 MB at 67 MB/s; level 6 gains little more, at 11 MB/s.
    """
    compressed = compressed_path(path)
    with (
        path.open("rb") as source,
        replacing(compressed) as temporary,
        temporary.open("wb") as target,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=target, mtime=0) as packed,
    ):
        shutil.copyfileobj(source, packed, 1 << 20)
    return compressed


def compressed_path(path: Path) -> Path:
    """Where `compress` writes."""
    return path.with_name(path.name + ".gz")


class _EncodedMask(NamedTuple):
    text: str
    size: Size
    problem: str = ""
    taken: str = ""
    """What was taken as foreground, if the mask is not plain."""
    is_of_other_photo: bool = False


def _encode_masks(masks: Path, competition: Competition, data: Path | None, stems: list[str]) -> list[_EncodedMask]:
    """What a process does at a time. It takes and returns plain values, which can travel between processes."""
    photos = {name: data and data / competition.test_photos.format(stem=competition.stem_of(name)) for name in stems}
    hash_of = lru_cache(maxsize=1)(sha256_of)  # the masks of a photo follow each other
    return [_encode_mask(masks / f"{name}.png", competition, photo, hash_of) for name, photo in photos.items()]


def _encode_mask(
    path: Path, competition: Competition, photo: Path | None, hash_of: Callable[[Path], str]
) -> _EncodedMask:
    try:
        mask_HW, taken = read_foreground(path)
        of_other_photo = photo is not None and is_of_other_photo(path, photo, hash_of)
    except InputError as error:
        return _EncodedMask("", (0, 0), str(error))
    height, width = mask_HW.shape
    mask_HW = as_submitted(mask_HW, competition)
    lines = mask_HW if competition.rle_order == "row-major" else mask_HW.T
    if mask_HW.size > LARGE and (changes := np.count_nonzero(lines[:, 1:] != lines[:, :-1])) > MOST_CHANGES:
        return _EncodedMask("", (height, width), f"{path}: its pixels change {changes:,} times, as no object's do")
    text = rle.encode(mask_HW, competition.rle_order, competition.rle_first)
    return _EncodedMask(text, (height, width), "", taken, of_other_photo)


def _map_in_order(
    encode: Callable[[list[str]], list[_EncodedMask]], stems: list[str], workers: int
) -> Iterator[_EncodedMask]:
    """Yield `encode` of all stems from processes that are never more than a few chunks ahead.

    `Executor.map` would hand out everything at once and pile up the results that are not yet written.
    """
    chunks = [stems[start : start + CHUNK] for start in range(0, len(stems), CHUNK)]
    if workers == 1 or len(chunks) == 1:  # not worth starting processes for
        for chunk in chunks:
            yield from encode(chunk)
        return
    try:
        with ProcessPoolExecutor(min(workers, len(chunks)), initializer=keep_freed_memory) as pool:
            ahead: deque[Future[list[_EncodedMask]]] = deque()
            for chunk in chunks:
                ahead.append(pool.submit(encode, chunk))
                if len(ahead) > 2 * workers:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
    except BrokenProcessPool as error:
        raise InputError("a process that encodes masks was ended, as when memory runs out; run it again") from error


def _refuse_missing(masks: Path, stems: list[str]) -> None:
    if not masks.is_dir():
        raise InputError(f"{masks}: no such folder; `infer` writes it")
    there = {path.name for path in masks.iterdir()}
    missing = [f"{stem}.png" for stem in stems if f"{stem}.png" not in there]
    if missing:
        raise InputError(
            f"{masks}: {counted_of(len(missing), len(stems), 'mask')} missing: {first_few(missing)}; "
            "run `infer` on all photos of the sample submission first"
        )


def _refuse_unusable(problems: list[str], total: int) -> None:
    if problems:
        raise InputError(f"{counted_of(len(problems), total, 'mask')} unusable: {first_few(problems)}")


def _size_problem(stem: str, size: Size, size_of: SizeOf | None) -> str:
    photo = size_of(stem) if size_of else None
    if photo is None or photo == size:
        return ""
    return f"{stem}.png (is {size[1]}x{size[0]}, its photo {photo[1]}x{photo[0]})"
