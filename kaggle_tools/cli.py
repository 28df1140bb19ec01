"""What the commands share: the option that names the competition, and how failures end.

Imports nothing heavy, so that `--help` answers at once.
"""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kaggle_tools.errors import OF_A_WORKER, InputError, KaggleToolsError, OutOfTimeError, SharedError
from kaggle_tools.system.files import is_utf8
from kaggle_tools.system.output import LOST, make_lasting, say, warn
from kaggle_tools.system.processes import is_first_process

if TYPE_CHECKING:
    from rich.table import Table


COMPETITION_HELP = "Which competition, by the last part of its address, or by the file that describes it."
CompetitionOption = Annotated[str, typer.Option("--competition", metavar="SLUG|FILE.toml", help=COMPETITION_HELP)]
"""For commands that come first, so that no folder records the competition yet."""

RecordedCompetitionOption = Annotated[
    str | None,
    typer.Option(
        "--competition",
        metavar="SLUG|FILE.toml",
        help=COMPETITION_HELP,
        show_default="what the folder records",
    ),
]
"""For commands whose input folder records its competition."""

LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        envvar="KAGGLE_TOOLS_LEDGER",
        help="Where submissions are noted.",
        show_default="submissions.jsonl in the user's data folder",
    ),
]

DEFAULT_SLUG = "carvana-image-masking-challenge"


def new_app() -> typer.Typer:
    """A Typer application with the settings that all commands have in common."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def app_of(command: Callable[..., None]) -> typer.Typer:
    """An application that is this one command."""
    app = new_app()
    app.command(no_args_is_help=True)(command)
    return app


def this_command() -> str:
    """The command line as it can be given to `python` again."""
    words = ["-m", "kaggle_tools"] if Path(sys.argv[0]).name in ("__main__.py", "kaggle-tools") else [sys.argv[0]]
    return shlex.join([*words, *sys.argv[1:]])


def finish_with_page(write: Callable[[], Path], again: str) -> None:
    """Write the page at the end of a command, whose work is done: without it, it has not failed."""
    try:
        say(f"page: {write()}")
    except (KaggleToolsError, OSError) as error:
        warn(f"no page was written: {error}\n`{again}` tries it again")


WIDE = 200
"""Characters in a line of a table that does not go to a terminal."""


def show(table: "Table") -> None:
    """Print a table: on a terminal in its width, elsewhere in one that breaks few lines."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


NO_MEMORY = "out of main memory; a smaller --batch-size, --image-size or --width needs less"
NO_DEVICE_MEMORY = "out of memory on the GPU; does another program use it? The same command continues"
SIGNS_OF_NO_MEMORY = ("can't allocate memory", "Insufficient memory")
"""How torch and OpenCV say so, in errors of no class of their own."""

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def run(app: typer.Typer) -> NoReturn:
    """Run the command line. What the user can repair ends in one message and an exit code, not in a traceback."""
    make_lasting()
    exit_code = _exit_code(app)
    sys.stdout.flush()
    if LOST:
        say(f"error: the output could not be written: {LOST[0]}; the work itself went on", to=sys.stderr)
    sys.exit(exit_code or (1 if LOST else 0))


def _exit_code(app: typer.Typer) -> int:
    try:
        _require_utf8()
        app()
    except OutOfTimeError as stopped:
        if not is_first_process():
            return 0  # the first process reports for all, and Lightning would kill it if another one seemed to fail
        say(stopped, to=sys.stderr)
        return OutOfTimeError.exit_code
    except SharedError as error:
        if not is_first_process():
            return 0  # for the same reason
        if str(error):  # else another one has said it
            say(f"error: {error}", to=sys.stderr)
        return 1
    except (KaggleToolsError, OSError) as error:
        say(f"error: {error}", to=sys.stderr)
        return 1
    except Exception as error:
        if _lacks_memory(error):
            say(f"error: {NO_MEMORY} ({_last_line(error)})", to=sys.stderr)
            return 1
        if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, which is not loaded for it
            say(f"error: {NO_DEVICE_MEMORY} ({str(error).splitlines()[0]})", to=sys.stderr)
            return 1
        if not isinstance(error, RuntimeError) or OF_A_WORKER not in str(error):
            raise
        say(f"error: {str(error).strip().rstrip('.')}. The same command continues from here", to=sys.stderr)
        return 1
    except SystemExit as ended:
        if ended.code == INTERRUPTED and is_first_process():
            say("interrupted; the same command continues from here", to=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _require_utf8() -> None:
    """Check arguments and working folder: paths go into tables and records, which hold nothing but UTF-8.

    Raises:
        InputError: one of them is not UTF-8.
    """
    words = sys.argv[1:]
    for word in words if "--help" in words else [*words, str(Path.cwd())]:
        if not is_utf8(word):
            raise InputError(f"{word!a}: is not UTF-8, so that no table and no record can hold it; rename it")


def _lacks_memory(error: Exception) -> bool:
    """Whether main memory was asked for more than there is: by Python or NumPy, by torch, or by OpenCV."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in SIGNS_OF_NO_MEMORY)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
