"""`compare` and `report`: runs beside each other, in the terminal and on a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.system.output import say, warn

if TYPE_CHECKING:
    from kaggle_tools.competitions.competition import Competition

TURNED = 6
"""So many runs at most stand beside each other; more of them beneath each other."""


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `train` made.")],
    competition: cli.RecordedCompetitionOption = None,
) -> None:
    """Show runs side by side, on the same held-out photos; `report` makes a page of it."""
    from kaggle_tools.results import comparison

    runs = finished_runs(runs)
    compared = comparison.compare(runs, recorded_competition(competition, runs, to_score=False))
    few = len(runs) <= TURNED  # of many, the columns of settings would leave no room for the others
    table = comparison.table(compared, with_settings=few)
    cli.show(table.turned_for_terminal() if few else table.for_terminal())
    say(compared.in_words())


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Folders that `train` made; the best of several is shown in depth."),
    ] = None,
    pred: Annotated[
        Path | None, typer.Option(metavar="PRED", help="Masks that `infer` made, shown as well.", show_default="none")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page.",
            show_default="PRED/report.html, RUN/report.html, or of several comparison.html in the first",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the photos are.", show_default="where they were before"),
    ] = None,
    competition: cli.RecordedCompetitionOption = None,
) -> None:
    """Write an HTML page: scores with their intervals, the worst photos, and a comparison with other runs."""
    from kaggle_tools.report.writing import write_report

    runs = finished_runs(runs or [])
    spec = recorded_competition(competition, runs, pred)
    say(f"page: {write_report(out, spec, runs, pred, data)}")


def finished_runs(runs: list[Path]) -> list[Path]:
    """Of several runs those that have a finished fold; the others are named. All, where none has."""
    from kaggle_tools.results import run_folder

    unfinished = [run for run in runs if (run / run_folder.CONFIG_FILE).exists() and not run_folder.finished_folds(run)]
    if len(unfinished) == len(runs):
        return runs  # which is refused, and says why
    if unfinished:
        warn(f"left out, as no fold of theirs is finished: {', '.join(map(str, unfinished))}")
    return [run for run in runs if run not in unfinished]


def recorded_competition(
    given: str | None, runs: list[Path], pred: Path | None = None, *, to_score: bool = True
) -> "Competition":
    """The competition that the runs, and the masks if there are any, record; `to_score`: see `agreed_competition`."""
    from kaggle_tools.competitions.named import agreed_competition
    from kaggle_tools.results import pred_folder, run_folder

    recorded = {run: run_folder.read_settings(run).competition for run in runs}
    if pred:
        recorded[pred] = pred_folder.read_record(pred).competition
    return agreed_competition(given, recorded, to_score=to_score)
