"""`blend`: folders of saved probabilities to one folder of masks."""

from pathlib import Path
from typing import Annotated

import typer

from kaggle_tools.config.execution import DEFAULT_WORKERS, MOST_WORKERS, WORKERS_IN_WORDS
from kaggle_tools.errors import InputError
from kaggle_tools.options import parse_numbers
from kaggle_tools.system.output import say


def blend(
    preds: Annotated[
        list[Path], typer.Argument(metavar="PRED...", help="Folders that `infer` made with --save-probabilities.")
    ],
    out: Annotated[Path, typer.Option(metavar="PRED", help="Folder of the masks; an interrupted one is continued.")],
    weights: Annotated[
        str | None, typer.Option(metavar="2,1,…", help="Weight of each PRED in the mean.", show_default="all alike")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Foreground from this probability on.")] = 0.5,
    workers: Annotated[
        int,
        typer.Option(min=0, max=MOST_WORKERS, help="Processes that read probabilities.", show_default=WORKERS_IN_WORDS),
    ] = DEFAULT_WORKERS,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Keep the mean probabilities.")
    ] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Draw the outlines on the photos, to look at.")] = False,
) -> None:
    """Average the probabilities that several folders hold, and make masks of the mean."""
    counts = parse_numbers("--weights", weights) if weights is not None else (1.0,) * len(preds)
    if len(counts) != len(preds):
        raise InputError(f"--weights {weights}: {len(preds)} folders need {len(preds)} weights")
    if not 0 < threshold < 1:
        raise InputError(f"--threshold {threshold}: must be between 0 and 1")

    from kaggle_tools.inference.blend import blend_folders
    from kaggle_tools.results.pred_folder import Outputs

    outputs = Outputs(save_probabilities, overlays)
    masks = blend_folders(preds, counts, out, outputs, threshold=threshold, workers=workers)
    say(f"{out}: {masks:,} masks")
