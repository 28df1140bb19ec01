"""Tables: those of a run are read with every value checked; others are shown, in the terminal and on a page alike."""

import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from kaggle_tools.data.checks.names import require_usable
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.system.files import LARGEST_TABLE, read_bytes
from kaggle_tools.system.output import printable

if TYPE_CHECKING:
    import pandas as pd

LONGEST_HEADER = 10_000  # bytes
Cell = str | float | None
"""Text, a number, or None for what is not known."""


class NumberInWords(float):
    """A number that is read as words, as an interval is, of which it is the lower end: tables sort by the number."""

    words: str

    def __new__(cls, number: float, words: str) -> Self:
        """The number, with words of its own."""
        made = super().__new__(cls, number)
        made.words = words
        return made


class Kind(NamedTuple):
    """What the values of a column of a file must be."""

    is_text: bool = False
    is_whole: bool = False
    least: float = 0
    """The smallest number."""
    most: float = math.inf
    """The largest."""
    may_be_missing: bool = False
    is_photo: bool = False
    """Whether it names photos, each once."""


@dataclass(frozen=True)
class Column:
    """A heading, and how the values beneath it are written."""

    name: str
    form: str = "{}"
    """As `str.format` takes it: `{:.5f}`."""

    @property
    def heading(self) -> str:
        """The name as it is read; that of a run may hold anything."""
        return printable(self.name)

    @property
    def is_number(self) -> bool:
        """Whether its values stand to the right, and are sorted by their size."""
        return ":" in self.form

    def text(self, value: Cell) -> str:
        """The value as it is read: empty for None, and a text unchanged also in a column of numbers."""
        words = value.words if isinstance(value, NumberInWords) else value
        return "" if words is None else printable(words) if isinstance(words, str) else self.form.format(words)


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def texts(self) -> list[list[str]]:
        """The rows as they are read."""
        return [[column.text(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def for_terminal(self) -> RichTable:
        """A row for each row."""
        table = RichTable(*(escape(column.heading) for column in self.columns), show_lines=True)
        for row in self.texts():
            table.add_row(*map(Text, row))  # as plain text: a message may hold brackets, which are rich's markup
        return table

    def turned_for_terminal(self) -> RichTable:
        """A column for each row, for few rows of many columns: the first value heads it."""
        texts = self.texts()
        table = RichTable("")
        for row in texts:
            table.add_column(Text(row[0]))
        for at, column in list(enumerate(self.columns))[1:]:
            table.add_row(escape(column.heading), *(Text(row[at]) for row in texts))
        return table


def read_table(path: Path, kinds: Mapping[str, Kind], optional: Collection[str] = ()) -> "pd.DataFrame":
    """The columns of these names, each value of the kind of its column; those that are `optional` may be missing.

    Raises:
        InputError: the file is missing or damaged.
    """
    import pandas as pd  # loaded here, for who only shows tables, as `submissions` does, need not wait for it

    content = read_bytes(path, LARGEST_TABLE)
    numbers = [name for name, kind in kinds.items() if not kind.is_text]
    try:
        if content.find(b"\n", 0, LONGEST_HEADER) < 0:
            raise ValueError("its first line is no header")
        table = pd.read_csv(
            io.BytesIO(content),
            usecols=lambda name: name in kinds,  # thousands of others would take pandas minutes
            # Whole numbers are read as others first: pandas makes a whole number of whatever it finds.
            dtype={name: str if kind.is_text else float for name, kind in kinds.items()},
            # A car may be called NA or nan: what pandas takes for a missing value is one in columns of numbers alone.
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in numbers},
        )
        names = [name for name in kinds if name in table or name not in optional]
        table = table[names]
    except (ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: not a table of {','.join(kinds)} ({error})") from error
    if table.empty:
        raise InputError(f"{path}: damaged (no rows in it)")
    for name in names:
        if kinds[name].is_photo:
            require_usable(path, table[name], "the table is damaged")
        if fault := _fault(table[name], kinds[name]):
            raise InputError(f"{path}: damaged (values of {name} {fault})")
    return table.astype({name: int for name in names if kinds[name].is_whole})


def _fault(values: "pd.Series[float]", kind: Kind) -> str:
    """What is wrong with the values of a column, in words; empty where nothing is."""
    missing = (values == "") if kind.is_text else values.isna()
    if missing.any() and not kind.may_be_missing:
        return "are missing"
    if kind.is_photo and values.duplicated().any():
        return f"stand there twice: {first_few(values[values.duplicated()].astype(str).tolist())}"
    if kind.is_text:
        return ""
    if not values[~missing].between(kind.least, kind.most).all():
        return f"that are not from {kind.least:,} to {kind.most:,}"
    return "that are not whole" if kind.is_whole and (values % 1 != 0).any() else ""
