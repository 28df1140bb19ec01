"""What the commands share: the option that names the competition, and how failures end.

Imports nothing heavy, so that `--help` answers at once.
"""

import sys
from typing import Annotated, NoReturn

import typer

from kaggle_tools.competition import CARVANA, COMPETITIONS, Competition
from kaggle_tools.errors import InputError, KaggleToolsError

CompetitionOption = Annotated[
    str, typer.Option("--competition", metavar="SLUG", help="Which competition, by the last part of its address.")
]
"""For commands that stand at the beginning and so must be told the competition."""

RecordedCompetitionOption = Annotated[
    str | None,
    typer.Option(
        "--competition",
        metavar="SLUG",
        help="Which competition, by the last part of its address.",
        show_default="what the folder records",
    ),
]
"""For commands whose input folder records its competition."""

DEFAULT_SLUG = CARVANA.slug


def new_app(help_text: str) -> typer.Typer:
    """A Typer application with the settings that all commands have in common."""
    return typer.Typer(help=help_text, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def competition_named(slug: str) -> Competition:
    """The competition with this slug.

    Raises:
        InputError: there is none; the known ones are named.
    """
    if slug not in COMPETITIONS:
        raise InputError(f"--competition {slug}: not known; the known ones are {', '.join(COMPETITIONS)}")
    return COMPETITIONS[slug]


def run(app: typer.Typer) -> NoReturn:
    """Run the command line. What the user can mend ends in one message and exit code 1, not in a traceback."""
    try:
        app()
    except (KaggleToolsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)
