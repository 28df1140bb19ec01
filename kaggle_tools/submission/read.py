"""Reads submissions, sample submissions and tables of true run lengths row by row, plain or compressed.

The `csv` module instead of pandas: constant memory, and a blank mask stays the empty text that it is.
"""

import codecs
import csv
import gzip
import math
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import NamedTuple, TextIO, cast

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.named import name_of
from kaggle_tools.competitions.own_score import RECORD, OwnScore
from kaggle_tools.competitions.toml_file import competition_of, packaged, packaged_competition
from kaggle_tools.data.checks.names import fault_of
from kaggle_tools.data.checks.zip_files import DAMAGED, MAX_RATIO, USUAL, files_in
from kaggle_tools.errors import InputError, counted
from kaggle_tools.system.files import read_json

LONGEST_LINE = 1 << 25
"""Characters of one row: a chessboard of 6 megapixels has fewer. The `csv` module's own limit for a field, 128 KiB,
would refuse a ragged mask."""

STARTS = {
    codecs.BOM_UTF8: "begins with a byte order mark (BOM); save it as UTF-8 without one",
    codecs.BOM_UTF16_LE: "in UTF-16; save it as UTF-8",
    codecs.BOM_UTF16_BE: "in UTF-16; save it as UTF-8",
    b"\x1f\x8b": "packed by gzip, but not named .gz",
    b"PK\x03\x04": "a zip file, but not named .zip, or a spreadsheet; export that as CSV",
}
"""How files begin that are no plain CSV."""


class Sample(NamedTuple):
    """What a sample submission lists."""

    names: dict[str, str]
    """The name of each mask by its id, in the sample's order; the stem of its photo where there are no classes."""
    placeholder: str | None
    """The run lengths that all rows hold, as Kaggle's samples do; None where they differ."""
    columns: tuple[str, ...]
    """The headers, in the sample's order."""

    def row(self, name: str, text: str, competition: Competition) -> list[str]:
        """The fields of the row of a mask, in the sample's order."""
        fields = dict(zip(competition.columns, (*competition.id_fields(name), text), strict=True))
        return [fields[column] for column in self.columns]


def read_sample(path: Path, competition: Competition) -> Sample:
    """Read a sample submission.

    Raises:
        InputError: the file is not a sample submission of this competition.
    """
    names: dict[str, str] = {}
    texts: set[str] = set()
    for mask_id, text in read_masks(path, competition):
        names[mask_id] = competition.name_of(mask_id)
        if len(texts) < 2:
            texts.add(text)
    if not names:
        raise InputError(f"{path}: no rows below the header")
    with _open_text(path) as file:
        columns = tuple(next(csv.reader(file)))
    return Sample(names, texts.pop() if len(texts) == 1 else None, columns)


def read_masks(path: Path, competition: Competition) -> Iterator[tuple[str, str]]:
    """Yield the id and the run lengths, as text, of each row.

    Raises:
        InputError: the header is not the competition's, a row has too few or too many fields, or an id
            occurs twice or is not of the competition's form.
    """
    seen = set()
    for line, fields in read_rows(path, competition):
        if len(fields) != len(competition.columns):
            raise InputError(f"{path}, line {line}: not {len(competition.columns)} fields ({', '.join(fields)[:80]})")
        mask_id, text = id_in(fields), fields[-1]
        if mask_id in seen:
            raise InputError(f"{path}, line {line}: {mask_id[:80]!r} for the second time")
        _require_form(path, line, mask_id, competition)
        seen.add(mask_id)
        yield mask_id, text


def read_rows(path: Path, competition: Competition) -> Iterator[tuple[int, list[str]]]:
    """Yield each row below the header: its line, counted from 1, and its fields, however many.

    Fields of the right number are in the order of the competition's columns, whatever that of the header.
    Blank lines at the end are no rows.

    Raises:
        InputError: the file is missing, damaged or not a CSV, swells too much, or its header is not the competition's.
    """
    csv.field_size_limit(LONGEST_LINE)
    try:
        with _open_text(path) as file:
            reader = csv.reader(_bounded_lines(path, file), strict=True)
            header = next(reader, [])
            _require_header(path, header, competition)
            order = [header.index(name) for name in competition.columns]
            blank = 0
            for fields in reader:
                if not fields:
                    blank += 1
                    continue
                for before in range(blank, 0, -1):
                    yield reader.line_num - before, []
                blank = 0
                yield reader.line_num, [fields[at] for at in order] if len(fields) == len(order) else fields
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file{_advice(path, competition)}") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, but a CSV is expected, plain, .gz or .zip") from error
    except (*DAMAGED, OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV ({str(error) or type(error).__name__})") from error


def _advice(path: Path, competition: Competition) -> str:
    is_sample = path.name == Path(competition.sample_submission).name
    return "; it is on the competition's Data page, and lists the masks that are to be submitted" if is_sample else ""


def id_in(fields: Sequence[str]) -> str:
    """The id of the mask that a row is about; where a column holds the class, it follows behind a comma: `a.png,2`."""
    return ",".join(fields[:-1])


def parse_mask(text: str, pixels: int | None, competition: Competition) -> rle.Runs:
    """The runs of one row's mask, none where it is blank.

    Raises:
        ValueError: the text is neither blank nor valid run lengths (see `rle.parse`).
    """
    return rle.parse("" if text == competition.blank_mask else text, pixels, competition.rle_first)


def _require_form(path: Path, line: int, mask_id: str, competition: Competition) -> None:
    try:
        stem = competition.name_of(mask_id)
    except ValueError as error:
        raise InputError(f"{path}, line {line}: {error}") from error
    if fault := fault_of(stem):
        raise InputError(f"{path}, line {line}: the id {mask_id[:80]!a} {fault}")


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    with _open_binary(path) as file:
        _require_utf8(path, file.peek(4)[:4])
        yield TextIOWrapper(file, encoding="utf-8", newline="")


@contextmanager
def _open_binary(path: Path) -> Iterator[BufferedReader]:
    """The bytes of the CSV, unpacked."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as unpacked:
            yield cast(BufferedReader, unpacked)
    elif suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(_only_member(path, archive)) as member:
            yield cast(BufferedReader, member)
    else:
        with path.open("rb") as file:
            yield file


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    files = files_in(archive)
    if len(files) != 1:
        raise InputError(f"{path}: {counted(len(files), 'file')} in it, but there must be one, the CSV")
    if files[0].compress_type not in USUAL:
        raise InputError(f"{path}: packed in another way than deflate; unpack it, and give the CSV itself")
    return files[0].filename


def _require_utf8(path: Path, start: bytes) -> None:
    """Name what a spreadsheet, pandas or a lost ending may have made of the file, by the bytes that it begins with."""
    found = next((what for mark, what in STARTS.items() if start.startswith(mark)), None)
    if found is None and b"\0" in start:
        found = STARTS[codecs.BOM_UTF16_LE]
    if found:
        raise InputError(f"{path}: {found}")


def _bounded_lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file, as long as neither one of them nor all that a small packed file holds fills the memory."""
    packed = path.suffix.lower() in (".gz", ".zip")
    read, most = 0, MAX_RATIO * path.stat().st_size if packed else math.inf
    while line := file.readline(LONGEST_LINE + 1):
        read += len(line)
        if len(line) > LONGEST_LINE:
            raise InputError(f"{path}: a line of more than {LONGEST_LINE:,} characters, which is no row of a CSV")
        if read > most:
            raise InputError(f"{path}: holds more than {MAX_RATIO} times its own size, as no CSV of masks does")
        yield line


def _require_header(path: Path, found: list[str], competition: Competition) -> None:
    wanted = [*competition.columns]
    if found != wanted and not (competition.class_column and sorted(found) == sorted(wanted)):
        header = ",".join(found)[:80]
        raise InputError(
            f"{path}: the header is {header!r}, but {competition.title} wants {','.join(wanted)!r}. "
            f"{_advice_on_header(path, found, wanted)}"
        )


def _advice_on_header(path: Path, found: list[str], wanted: list[str]) -> str:
    """What may have gone wrong, by the header that was found instead of the one that is wanted."""
    if not found:
        return "The file is empty, or its first line is"
    if found[1:] == wanted:
        return "The first column is an index: with pandas, write the table with index=False"
    if sorted(found) == sorted(wanted):
        return "Swap the columns"
    if [name.strip().lower() for name in found] == wanted:
        return "Spaces and capital letters count"
    if len(found) == 1 and re.split("[;\t]", found[0]) == wanted:
        return "Separate the fields by commas"
    others = {slug: packaged_competition(slug) for slug in packaged()}
    with suppress(InputError):  # there is no such file, as in a PRED, or it cannot be read
        beside = read_json(path.parent / RECORD, "", competition_of)
        name = "FILE.toml" if isinstance(beside.score, OwnScore) else name_of(path.parent, beside)
        others = {name: beside, **others}
    for name, other in others.items():
        if sorted(found) == sorted(other.columns):
            return f"This is a CSV of {other.title}: give another file or folder, or --competition {name}"
    return "Is it the file that was meant?"
