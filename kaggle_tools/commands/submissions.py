"""`submissions`: all of them, cross-validation against leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import LeaderboardError, counted
from kaggle_tools.system.output import say, warn


def submissions(
    offline: Annotated[bool, typer.Option("--offline", help="Show what is noted, without asking Kaggle.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw cross-validation against leaderboard.", show_default="no"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page to look at.", show_default="no")
    ] = None,
    ledger: cli.LedgerOption = None,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Show all submissions, those made elsewhere too, with the scores that Kaggle lists now.

    Where Kaggle cannot be asked, what is noted is shown all the same.
    """
    from kaggle_tools.competitions.named import competition_named
    from kaggle_tools.kaggle_api import overview
    from kaggle_tools.kaggle_api.client import NoCredentialsError
    from kaggle_tools.kaggle_api.ledger import default_path, left_out, read
    from kaggle_tools.kaggle_api.submit_once import pick_up_scores

    path, spec = ledger or default_path(), competition_named(competition)
    entries = read(path, spec.slug)
    failure: LeaderboardError | None = None
    try:
        entries = entries if offline else pick_up_scores(path, entries, spec.slug)
    except NoCredentialsError as error:
        warn(f"{str(error).rstrip('.')}. Shown is what is noted here.")
    except LeaderboardError as error:
        failure = error
    cli.show(overview.table(entries).for_terminal())
    for warning in left_out(path):
        warn(warning)
    say(f"noted in {path}" if path.exists() else f"nothing is noted in {path} yet")
    if plot:
        say(f"{plot}: {counted(overview.plot(entries, plot), 'submission')}")
    if html:
        from kaggle_tools.report.writing import write_submissions

        write_submissions(html, spec, entries)
        say(f"page: {html}")
    if failure:
        raise failure
