import math
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console, RenderableType

from kaggle_tools.errors import InputError
from kaggle_tools.results.tables import Column, Kind, NumberInWords, Table, read_table

TABLE = Table(
    [Column("run"), Column("photos", "{:,}"), Column("Dice", "{:.3f}"), Column("gain", "{:+.2f}")],
    [["first", 1234, 0.98765, 0.0], ["[/] [red]hot[/red]", 7, None, "too few"]],
)
TEXTS = [["first", "1,234", "0.988", "+0.00"], ["[/] [red]hot[/red]", "7", "", "too few"]]


def cells(shown: RenderableType) -> list[list[str]]:
    """What stands between the rules of a table."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown)
    return [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in re.findall("^[│┃].*", capture.get(), re.M)
    ]


def test_the_values_of_a_table_are_formatted_as_their_columns_say() -> None:
    assert TABLE.texts() == TEXTS


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("{:.2f}", 0, "0.00"),  # nothing is unlike none
        ("{:.2f}", None, ""),
        ("{:.2f}", "", ""),
        ("{:.2f}", "1.23456", "1.23456"),  # words, even if they look like a number
        ("{}", 0, "0"),
        ("{}", None, ""),
        ("{}", False, "False"),
    ],
)
def test_a_cell_of_none_is_empty_and_a_cell_of_words_stays_as_it_is(form: str, value: object, text: str) -> None:
    assert Column("any", form).text(value) == text


def test_a_number_in_words_is_read_as_its_words_and_is_a_number_to_who_sorts() -> None:
    values = [NumberInWords(low, f"{low:+.2f} to 9") for low in (0.1, -0.05, -0.2)]
    assert [Column("interval", "{:.5f}").text(value) for value in sorted(values)] == [
        *("-0.20 to 9", "-0.05 to 9", "+0.10 to 9")
    ]
    assert str(values[1]) == "-0.05"


def test_columns_with_a_format_hold_numbers() -> None:
    assert [column.is_number for column in TABLE.columns] == [False, True, True, True]


@pytest.mark.parametrize("row", [["first"], ["first", 1, 0.5, 0.5, 0.5]])
def test_a_row_that_does_not_fit_the_columns_is_refused(row: list[object]) -> None:
    with pytest.raises(ValueError, match="zip"):
        Table(TABLE.columns, [row]).texts()


def test_the_terminal_shows_the_same_words_and_digits_as_the_page() -> None:
    assert cells(TABLE.for_terminal()) == [["run", "photos", "Dice", "gain"], *TEXTS]


def test_rows_in_the_terminal_are_parted_by_lines() -> None:
    """A cell may break into several lines, as the model of a run does."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(TABLE.for_terminal())
    assert capture.get().count("├") == len(TEXTS) - 1


def test_a_turned_table_has_a_column_for_each_row() -> None:
    assert cells(TABLE.turned_for_terminal()) == [
        ["", "first", "[/] [red]hot[/red]"],
        ["photos", "1,234", "7"],
        ["Dice", "0.988", ""],
        ["gain", "+0.00", "too few"],
    ]


def test_brackets_in_the_heading_of_a_table_are_shown() -> None:
    table = Table([Column("run"), Column("[red] cars")], [["first", 1]])
    assert cells(table.for_terminal())[0] == ["run", "[red] cars"]
    assert cells(table.turned_for_terminal())[1] == ["[red] cars", "1"]


def test_what_could_command_a_terminal_is_written_out_in_headings_too() -> None:
    table = Table([Column("run"), Column("to a\x1b[31m\x07")], [["first", 1]])
    assert cells(table.for_terminal())[0] == ["run", r"to a\x1b[31m\x07"]
    assert cells(table.turned_for_terminal())[1] == [r"to a\x1b[31m\x07", "1"]


class TestReadTable:
    KINDS: ClassVar = {
        "image": Kind(is_text=True, is_photo=True),
        "fold": Kind(is_whole=True, most=9),
        "score": Kind(most=1, may_be_missing=True),
    }

    def read(self, folder: Path, text: str) -> list[list[Any]]:
        (folder / "oof.csv").write_text(text)
        return read_table(folder / "oof.csv", self.KINDS, optional=["score"]).to_numpy().tolist()

    def test_a_table_is_read_with_the_types_of_its_columns_in_their_order(self, tmp_path: Path) -> None:
        rows = self.read(tmp_path, "fold,other,image,score\n1,x,007,0.5\n0,y,NA,\n")
        assert [row[:2] for row in rows] == [["007", 1], ["NA", 0]]
        assert rows[0][2] == 0.5
        assert math.isnan(rows[1][2])

    def test_an_optional_column_may_be_missing(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, "image,fold\na,1\n") == [["a", 1]]

    @pytest.mark.parametrize(
        ("row", "fault"),
        [
            ("a,,1", "values of fold are missing"),
            (",1,1", "name of a photo cannot be used"),
            ("../a,1,1", "name of a photo cannot be used"),
            ("b,1,1", "values of image stand there twice: b"),
            ("a,1,1.5", "values of score that are not from 0 to 1"),
            ("a,1,-0.1", "values of score that are not from 0 to 1"),
            ("a,1,inf", "values of score that are not from 0 to 1"),
            ("a,10,1", "values of fold that are not from 0 to 9"),
            ("a,1e400,1", "values of fold that are not from 0 to 9"),
            ("a,1.5,1", "values of fold that are not whole"),
            ("a,x,1", "not a table of image,fold,score"),
        ],
    )
    def test_a_value_that_cannot_be_is_refused(self, tmp_path: Path, row: str, fault: str) -> None:
        with pytest.raises(InputError) as refusal:
            self.read(tmp_path, f"image,fold,score\nb,1,1\n{row}\n")
        assert str(refusal.value).startswith(f"{tmp_path / 'oof.csv'}: ")
        assert fault in str(refusal.value)


class TestHeaders:
    """A table of a stranger takes neither minutes nor gigabytes before it is refused."""

    def test_columns_that_nobody_asked_for_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("other,score,more\nx,0.5,y\n")
        assert list(read_table(tmp_path / "t.csv", {"score": Kind()})) == ["score"]

    def test_a_header_of_a_million_columns_is_refused_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("score" + ",a" * 10**6 + "\n" + "0" + ",0" * 10**6 + "\n")
        with pytest.raises(InputError, match=r"t\.csv: not a table of score \(its first line is no header\)$"):
            read_table(tmp_path / "t.csv", {"score": Kind()})
