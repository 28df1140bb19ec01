"""`blend`: folders of saved probabilities to one folder of masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.config.execution import DEFAULT_WORKERS, MOST_WORKERS, WORKERS_IN_WORDS
from kaggle_tools.errors import InputError, counted
from kaggle_tools.options import parse_numbers
from kaggle_tools.system.output import say

if TYPE_CHECKING:
    from kaggle_tools.competitions.competition import Competition
    from kaggle_tools.results.records.masks import Record


def blend(
    preds: Annotated[
        list[Path], typer.Argument(metavar="PRED...", help="Folders that `infer` made with --save-probabilities.")
    ],
    out: Annotated[Path, typer.Option(metavar="PRED", help="Folder of the masks; an interrupted one is continued.")],
    weights: Annotated[
        str | None, typer.Option(metavar="2,1,…", help="Weight of each PRED in the mean.", show_default="all alike")
    ] = None,
    search: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="Choose the weights on the held-out photos of these runs, one for each PRED; repeated."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the true masks for --search are, if not as in training.")
    ] = None,
    competition: cli.RecordedCompetitionOption = None,
    threshold: Annotated[float, typer.Option(help="Foreground from this probability on.")] = 0.5,
    workers: Annotated[
        int,
        typer.Option(min=0, max=MOST_WORKERS, help="Processes that read probabilities.", show_default=WORKERS_IN_WORDS),
    ] = DEFAULT_WORKERS,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Keep the mean probabilities.")
    ] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Draw the outlines on the photos, to look at.")] = False,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Write PRED/report.html at the end.")] = True,
) -> None:
    """Average the probabilities that several folders hold, and make masks of the mean."""
    counts = parse_numbers("--weights", weights) if weights is not None else (1.0,) * len(preds)
    if len(counts) != len(preds):
        raise InputError(f"--weights {weights}: {len(preds)} folders need {len(preds)} weights")
    if search and weights is not None:
        raise InputError("--weights and --search: give one of them")
    if search and len(search) != len(preds):
        raise InputError(f"--search: {len(preds)} folders need {len(preds)} runs, in the same order")
    if not 0 < threshold < 1:
        raise InputError(f"--threshold {threshold}: must be between 0 and 1")

    from kaggle_tools.commands.infer import warn_of_odd_masks, write_masks_page
    from kaggle_tools.inference.blend import blend_folders
    from kaggle_tools.results.pred_folder import Outputs, read_record

    if search:
        counts = searched(preds, search, data, competition)
    outputs = Outputs(save_probabilities, overlays)
    records = [read_record(pred) for pred in preds]
    spec = agreed(preds, records, competition)
    for pred, record in zip(preds, records, strict=True):
        if record.threshold not in (None, threshold):
            say(f"note: the mix is cut at --threshold {threshold:g}, and {pred} was at {record.threshold:.4g}")
        if record.classes:
            own = ", ".join(f"{name}: {one.threshold:.4g}" for name, one in record.classes.items())
            say(f"note: the mix is cut at --threshold {threshold:g}, and {pred} by class at {own}")
    masks = blend_folders(preds, counts, out, spec, outputs, threshold=threshold, workers=workers)
    warn_of_odd_masks(out, spec)
    if page and masks:
        write_masks_page(out, spec, None)
    say(f"{out}: {counted(masks, 'mask')}")


def agreed(preds: Sequence[Path], records: "Sequence[Record]", given: str | None) -> "Competition":
    """The competition of several folders of masks.

    Raises:
        InputError: they are of different ones.
    """
    from kaggle_tools.competitions.named import agreed_competition

    return agreed_competition(given, {pred: record.competition for pred, record in zip(preds, records, strict=True)})


def searched(preds: list[Path], runs: list[Path], data: Path | None, competition: str | None) -> tuple[float, ...]:
    """The weights that are best on the photos that the runs held out, if it can be told that they are; else equal ones.

    Raises:
        InputError: a folder was not made by its run alone, or no probabilities or true masks are there.
    """
    from kaggle_tools.inference.evidence import Evidence, Selection
    from kaggle_tools.inference.weight_search import searched_weights, stems_in_common
    from kaggle_tools.results.pred_folder import read_record

    records = [read_record(pred) for pred in preds]
    for pred, record, run in zip(preds, records, runs, strict=True):
        if record.runs != [run.resolve().name]:
            raise InputError(f"{pred}: made by {', '.join(record.runs)}, not by {run} alone")
    spec = agreed(preds, records, competition)
    photos = Evidence(Selection(tuple(runs)), spec, data).true_photos(stems_in_common(runs))
    if isinstance(photos, str):
        raise InputError(f"--search: {photos}; give --data")
    weights, gain = searched_weights(runs, photos, spec)
    found = f"weights {', '.join(map(str, weights))} gain {gain} on {len(photos):,} held-out photos"
    if gain.is_above_0:
        say(found)
        return tuple(map(float, weights))
    say(f"equal weights, as no others are sure to be better: {found}")
    return (1.0,) * len(preds)
