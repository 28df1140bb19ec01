"""Reads submissions, sample submissions and tables of true run lengths row by row, plain or compressed.

The `csv` module instead of pandas: constant memory, and a blank mask stays the empty text that it is.
"""

import csv
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from kaggle_tools import rle
from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError

LONGEST_FIELD = 1 << 28
"""Characters of one mask; the `csv` module's own limit, 128 KiB, is too few for a ragged one."""


def sample_stems(sample: Path, competition: Competition) -> dict[str, str]:
    """The stem of each photo of the sample submission by its id, in the sample's order.

    Raises:
        InputError: the file is not a sample submission of this competition.
    """
    stems = {photo_id: competition.stem_of(photo_id) for photo_id, _ in read_masks(sample, competition)}
    if not stems:
        raise InputError(f"{sample}: no rows below the header")
    return stems


def read_masks(path: Path, competition: Competition) -> Iterator[tuple[str, str]]:
    """Yield the id and the run lengths, as text, of each row.

    Raises:
        InputError: the header is not the competition's, a row does not have two fields, or an id
            occurs twice or is not of the competition's form.
    """
    seen = set()
    for line, fields in read_rows(path, competition):
        if len(fields) != 2:
            raise InputError(f"{path}, line {line}: {len(fields)} fields, but there must be two")
        photo_id, text = fields
        if photo_id in seen:
            raise InputError(f"{path}, line {line}: {photo_id[:80]!r} for the second time")
        _require_form(path, line, photo_id, competition)
        seen.add(photo_id)
        yield photo_id, text


def read_rows(path: Path, competition: Competition) -> Iterator[tuple[int, list[str]]]:
    """Yield each row below the header as it is: its line, counted from 1, and its fields, however many.

    Raises:
        InputError: the file is missing, damaged or not a CSV, or its header is not the competition's.
    """
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with _open_text(path) as file:
            reader = csv.reader(file, strict=True)
            _require_header(path, next(reader, []), competition)
            for fields in reader:
                yield reader.line_num, fields
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, UnicodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV ({error})") from error


def parse_mask(text: str, pixels: int | None, competition: Competition) -> rle.Runs:
    """The runs of one row's mask, none where it is blank.

    Raises:
        ValueError: the text is neither blank nor valid run lengths (see `rle.parse`).
    """
    return rle.parse("" if text == competition.blank_mask else text, pixels, competition.rle_first)


def _require_form(path: Path, line: int, photo_id: str, competition: Competition) -> None:
    try:
        competition.stem_of(photo_id)
    except ValueError as error:
        raise InputError(f"{path}, line {line}: {error}") from error


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_only_member(path, archive)) as member:
            yield TextIOWrapper(member, encoding="utf-8", newline="")
    else:
        with path.open(encoding="utf-8", newline="") as file:
            yield file


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    if len(names) != 1:
        raise InputError(f"{path}: {len(names)} files in it, but there must be one, the CSV")
    return names[0]


def _require_header(path: Path, found: list[str], competition: Competition) -> None:
    wanted = [competition.id_column, competition.rle_column]
    if found != wanted:
        raise InputError(
            f"{path}: the header is {','.join(found)[:80]!r}, but {competition.title} wants {','.join(wanted)!r}. "
            "For another competition, give --competition"
        )
