"""A table that is shown twice, in the terminal and on a page, with the same words and digits in both."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from kaggle_tools.system.output import printable

Cell = str | float | None
"""Text, a number, or None for what is not known."""


@dataclass(frozen=True)
class Column:
    """A heading, and how the values beneath it are written."""

    name: str
    form: str = "{}"
    """As `str.format` takes it: `{:.5f}`."""

    @property
    def is_number(self) -> bool:
        """Whether its values stand to the right."""
        return ":" in self.form

    def text(self, value: Cell) -> str:
        """The value as it is read: empty for None, and a text unchanged also in a column of numbers."""
        return "" if value is None else printable(value) if isinstance(value, str) else self.form.format(value)


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
        table = RichTable(*(escape(column.name) for column in self.columns), show_lines=True)
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
            table.add_row(escape(column.name), *(Text(row[at]) for row in texts))
        return table
