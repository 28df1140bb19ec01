"""The complete `--help` of every command, so that no change of it goes unseen.

After a change that is meant, `python tests/commands/test_help.py` writes the texts anew.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from kaggle_tools.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
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


def test_without_a_command_the_program_shows_its_commands() -> None:
    said = CliRunner().invoke(app, [], env=PLAIN, prog_name="kaggle-tools").output
    assert "Usage: kaggle-tools [OPTIONS] COMMAND" in said
    assert all(f" {command} " in said for command in COMMANDS)


def test_run_by_its_path_the_program_is_found_by_processes_that_are_started_from_it(tmp_path: Path) -> None:
    """Lightning starts `python -m` with the name in `__spec__` of the main module, which here would be `__main__`."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print('spec', sys.modules['__main__'].__spec__))"
    )
    command = [sys.executable, str(ROOT / "kaggle_tools"), "check", "--help"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "spec None", done


def test_every_recorded_help_is_of_a_command() -> None:
    assert sorted(path.stem for path in TEXTS.iterdir()) == COMMANDS


if __name__ == "__main__":
    TEXTS.mkdir(exist_ok=True)
    os.environ.update(PLAIN)
    for command in COMMANDS:
        (TEXTS / f"{command}.txt").write_text(help_of(command), encoding="utf-8")
