import io
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_tools.system.output import printable, say

COMMAND = """
import sys
from pathlib import Path
from kaggle_tools import cli
from kaggle_tools.system.output import say

app = cli.new_app()

@app.command()
def command(done: Path) -> None:
    for number in range(20_000):
        say(f"epoch {number}: größer, 東, \U0001f697")
    done.touch()

cli.run(app)
"""


STARTS_ANOTHER = """
import subprocess
import sys
from pathlib import Path
from kaggle_tools import cli

LOOK = "import sys; open(sys.argv[1], 'w').write(str([sys.stdin is None, sys.stdout is None, sys.stderr is None]))"

app = cli.new_app()

@app.command()
def command(done: Path) -> None:
    subprocess.run([sys.executable, "-c", LOOK, done], check=True)

cli.run(app)
"""


def run(tmp_path: Path, redirected: str, command: str = COMMAND, **environment: str) -> tuple[int, str]:
    """The exit code and stderr of a command that prints a lot and then leaves a file, after it was run in a shell."""
    (tmp_path / "command.py").write_text(command, encoding="utf-8")
    line = f"set -o pipefail; {sys.executable} {tmp_path / 'command.py'} {tmp_path / 'done'} {redirected}"
    package = str(Path(__file__).parents[2])
    ended = subprocess.run(
        ["bash", "-c", line], env={"PYTHONPATH": package, **environment}, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("a car, größer, 東, \U0001f697", "a car, größer, 東, \U0001f697"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("car\rerror", r"car\rerror"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202ephoto", r"gpj.\u202ephoto"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("\0", r"\x00"),
    ],
)
def test_what_could_command_a_terminal_is_written_out(outside: str, shown: str) -> None:
    assert printable(outside) == shown


def test_a_line_is_printed_with_what_could_command_a_terminal_written_out() -> None:
    stream = io.StringIO()
    say("\x1b[2Jcar", to=stream)
    assert stream.getvalue() == "\\x1b[2Jcar\n"


def test_a_reader_that_ends_does_not_end_the_command(tmp_path: Path) -> None:
    assert run(tmp_path, "| head -1") == (0, "")
    assert (tmp_path / "done").exists()


def test_an_output_that_was_closed_before_does_not_end_the_command(tmp_path: Path) -> None:
    assert run(tmp_path, ">&-") == (0, "")
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_what_was_closed_before_is_open_for_the_processes_that_a_command_starts(tmp_path: Path, closed: str) -> None:
    assert run(tmp_path, closed, STARTS_ANOTHER) == (0, "")
    assert (tmp_path / "done").read_text() == "[False, False, False]"


def test_a_full_disk_beneath_the_output_is_an_error_after_the_work_is_done(tmp_path: Path) -> None:
    code, error = run(tmp_path, "> /dev/full")
    assert code == 1
    assert error == (
        "error: the output could not be written: [Errno 28] No space left on device; the work itself went on\n"
    )
    assert (tmp_path / "done").exists()


def test_characters_that_the_output_cannot_hold_are_written_out(tmp_path: Path) -> None:
    assert run(tmp_path, f"> {tmp_path / 'log'}", PYTHONIOENCODING="cp1252") == (0, "")
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines[-1] == b"epoch 19999: gr\xf6\xdfer, \\u6771, \\U0001f697"
