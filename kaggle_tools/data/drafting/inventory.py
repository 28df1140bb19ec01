"""What lies in a data folder: images by folder and extension, and tables. No image is decoded."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from kaggle_tools.data.checks.names import PHOTO_SUFFIXES, visible
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import LARGEST_TABLE

DEEPEST = 4
"""Folders below the data folder."""
MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class Images:
    """The images of one extension that lie in one folder."""

    folder: str
    """Relative to the data folder, with /; `.` is the data folder itself."""
    suffix: str
    files: tuple[Path, ...]

    @cached_property
    def by_name(self) -> dict[str, Path]:
        """The files by their names without the extension."""
        return {path.name.removesuffix(self.suffix): path for path in self.files}

    def pattern(self, after: str = "") -> str:
        """`train/{stem}.jpg`, or with what follows the stem in a name `train_masks/{stem}_mask.gif`."""
        name = f"{{stem}}{after}{self.suffix}"
        return name if self.folder == "." else f"{self.folder}/{name}"


@dataclass(frozen=True)
class Csv:
    """A table of texts."""

    name: str
    """Relative to the data folder."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @cached_property
    def whole_rows(self) -> list[tuple[str, ...]]:
        """Those with as many fields as the header."""
        return [row for row in self.rows if len(row) == len(self.header)]

    @property
    def first_column(self) -> list[str]:
        """The texts in it, from the top."""
        return [row[0] for row in self.rows if row]


@dataclass(frozen=True)
class Inventory:
    """What lies in a data folder."""

    folder: Path
    images: tuple[Images, ...]
    tables: tuple[Csv, ...]


def inventory_of(folder: Path) -> Inventory:
    """Look at all names in a data folder, and read its tables.

    Raises:
        InputError: there is no such folder, or no image or no table in it, or a table cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    tables = []
    for path in sorted(_files_below(folder)):
        if path.suffix.lower() in PHOTO_SUFFIXES | {".gif"}:
            found[path.parent.relative_to(folder).as_posix(), path.suffix].append(path)
        elif path.suffix.lower() == ".csv":
            tables.append(_table(folder, path))
    if not found or not tables:
        lacking = "images" if not found else "tables (*.csv)"
        raise InputError(f"{folder}: no {lacking} in it; unpack what Kaggle delivered first")
    return Inventory(folder, tuple(Images(*key, tuple(paths)) for key, paths in found.items()), tuple(tables))


def _files_below(folder: Path) -> Iterator[Path]:
    for depth in range(DEEPEST + 1):
        yield from (path for path in visible(folder.glob("*/" * depth + "*")) if path.is_file())


def _table(folder: Path, path: Path) -> Csv:
    try:
        csv.field_size_limit(LARGEST_TABLE)  # run lengths of a mask may be longer than the module's own limit
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [tuple(row) for row in islice(csv.reader(file), MOST_ROWS)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from error
    header, *body = rows or [()]
    return Csv(path.relative_to(folder).as_posix(), header, tuple(body))
