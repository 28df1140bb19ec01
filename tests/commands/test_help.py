"""The complete `--help` of every command, so that no change of it goes unseen.

After a change that is meant, `python tests/commands/test_help.py` writes the texts anew.
"""

import os
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from kaggle_tools.__main__ import app

TEXTS = Path(__file__).parent / "help"
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
PLAIN = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}


def help_of(command: str) -> str:
    """What `kaggle-tools COMMAND --help` prints on a terminal of 100 columns."""
    said = CliRunner().invoke(app, [command, "--help"], env=PLAIN, prog_name="kaggle-tools").output
    return "\n".join(line.rstrip() for line in said.splitlines()).strip() + "\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_as_recorded(command: str) -> None:
    assert help_of(command) == (TEXTS / f"{command}.txt").read_text(encoding="utf-8")


def test_every_recorded_help_is_of_a_command() -> None:
    assert sorted(path.stem for path in TEXTS.iterdir()) == COMMANDS


if __name__ == "__main__":
    TEXTS.mkdir(exist_ok=True)
    os.environ.update(PLAIN)
    for command in COMMANDS:
        (TEXTS / f"{command}.txt").write_text(help_of(command), encoding="utf-8")
