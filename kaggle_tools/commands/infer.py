"""Mask photos with trained networks: runs and photos in, one PNG for each photo out.

The way of a photo: decoded, resized -> logits of every network in every flip and scale -> probabilities,
flipped back, brought to the photo's own size and averaged -> threshold -> mask file.
"""

import shlex
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaggle_tools import cli
from kaggle_tools.config import DEFAULT_WORKERS, WORKERS_IN_WORDS, Tta
from kaggle_tools.errors import InputError, require
from kaggle_tools.options import parse_count, parse_numbers, parse_probability
from kaggle_tools.system.processes import is_first_process

if TYPE_CHECKING:
    from kaggle_tools.competition import Competition
    from kaggle_tools.data.listing import Photo
    from kaggle_tools.inference.ensemble import Ensemble, Member
    from kaggle_tools.results.summary import HeldOut

MODELS, MACHINE, BESIDE = "Networks", "Machine", "Beside the masks"
NAMED = 10
"""So many photos that cannot be read are named."""


def infer(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that train.py made; they are averaged.")
    ],
    out: Annotated[Path, typer.Option(metavar="PRED", help="Folder of the masks; an interrupted one is continued.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with the competition's data: its test photos.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of --data: any folder of photos.")] = None,
    threshold: Annotated[
        str,
        typer.Option(metavar="auto|P", help="Foreground from this probability on; auto: the run's out-of-fold best."),
    ] = "auto",
    competition: cli.RecordedCompetitionOption = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(
            metavar="K",
            help="Use only this fold of the runs; may be repeated.",
            show_default="all folds",
            rich_help_panel=MODELS,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="2,1,…",
            help="How much each RUN counts; its folds share that.",
            show_default="each network alike",
            rich_help_panel=MODELS,
        ),
    ] = None,
    tta: Annotated[
        Tta | None,
        typer.Option(
            help="Flips over which probabilities are averaged.",
            show_default="as in the run's out-of-fold",
            rich_help_panel=MODELS,
        ),
    ] = None,
    tta_scales: Annotated[
        str | None,
        typer.Option(
            metavar="0.75,1,…",
            help="Factors of the image size over which they are averaged.",
            show_default="as in the run's out-of-fold",
            rich_help_panel=MODELS,
        ),
    ] = None,
    batch_size: Annotated[
        str,
        typer.Option(
            metavar="N|auto", help="Photos at once; auto: as many as pay on this device.", rich_help_panel=MACHINE
        ),
    ] = "auto",
    devices: Annotated[
        str, typer.Option(help="How many GPUs share the photos; `0,1` for these two.", rich_help_panel=MACHINE)
    ] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="How many machines share the photos.", rich_help_panel=MACHINE)] = 1,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes that load photos, for each device.",
            show_default=WORKERS_IN_WORDS,
            rich_help_panel=MACHINE,
        ),
    ] = DEFAULT_WORKERS,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the networks; meant for GPUs.", rich_help_panel=MACHINE)
    ] = False,
    max_hours: Annotated[
        float | None,
        typer.Option(min=0, help="Stop after so many hours, exit code 75, to go on later.", rich_help_panel=MACHINE),
    ] = None,
    save_probabilities: Annotated[
        bool,
        typer.Option("--save-probabilities", help="Keep the probabilities, for `blend`.", rich_help_panel=BESIDE),
    ] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Draw the outlines on the photos, to look at.", rich_help_panel=BESIDE)
    ] = False,
    page: Annotated[
        bool, typer.Option("--report/--no-report", help="Write PRED/report.html at the end.", rich_help_panel=BESIDE)
    ] = True,
) -> None:
    """Mask photos with trained networks, at the photos' own size."""
    deadline = time.monotonic() + max_hours * 3600 if max_hours is not None else float("inf")
    source = data or images
    if source is None or (data and images):
        raise InputError("give either --data DIR or --images DIR: where the photos are")
    scales = parse_numbers("--tta-scales", tta_scales) if tta_scales else None
    run_weights = parse_numbers("--weights", weights) if weights else None
    require(
        run_weights is None or len(run_weights) == len(runs),
        f"--weights {weights}: {len(runs)} runs need {len(runs)} weights",
    )

    from kaggle_tools.data.listing import photos_in, photos_to_mask
    from kaggle_tools.inference import write_masks
    from kaggle_tools.inference.ensemble import Ensemble, load_members
    from kaggle_tools.results import pred_folder
    from kaggle_tools.system import memory, processes

    members = load_members(runs, fold, run_weights)
    spec = cli.agreed_competition(competition, {member.folder: member.card.competition for member in members})
    photos, unreadable = photos_to_mask(spec, source) if data else photos_in(source)
    flips, factors = choose_tta(tta, scales, members)
    cut = choose_threshold(threshold, runs, fold, run_weights, spec, data)

    memory.keep_freed_memory()
    device = processes.launch(devices, nodes).device
    ensemble = Ensemble(members, device, tta=flips, scales=factors, threshold=cut)
    if compiled:
        ensemble.compile()
    settings: dict[str, Any] = {
        "competition": spec.slug,
        "photos": str(source.resolve()),
        "models": [describe(member) for member in members],
        "tta": flips,
        "tta_scales": list(factors),
        "threshold": cut,
        "batch_size": choose_batch_size(batch_size, out, ensemble, photos),
    }
    known = {}
    if is_first_process():
        own_tta = all((member.card.tta, member.card.tta_scales) == (flips, factors) for member in members)
        known = what_to_expect(runs, fold, run_weights, spec, data, cut if own_tta else None)
    with pred_folder.begun(out, settings, processes.rank_and_ranks()[0], known):
        unreadable += write_masks.mask_photos(
            out,
            ensemble,
            photos,
            pred_folder.outputs(save_probabilities, overlays),
            batch_size=settings["batch_size"],
            workers=workers,
            deadline=deadline,
        )
        if is_first_process():
            masked = pred_folder.finish(out, settings, photos, known)
            if page and masked:
                from kaggle_tools.report.writing import write_report

                again = shlex.join(["python", "-m", "kaggle_tools", "report", "--pred", str(out)])
                cli.write_page(lambda: write_report(None, spec, [], out), again)
            report(out, masked, unreadable)


def choose_tta(
    tta: Tta | None, scales: tuple[float, ...] | None, members: "list[Member]"
) -> tuple[Tta, tuple[float, ...]]:
    """The flips and scales that are given, or those with which the networks' out-of-fold photos were predicted.

    Raises:
        InputError: the networks' own differ, and none are given.
    """
    own = [(member.card.tta, member.card.tta_scales) for member in members]
    given = tta is not None and scales is not None
    require(given or len(set(own)) == 1, "the runs were scored with different TTA; give --tta and --tta-scales")
    chosen = tta or own[0][0], scales or own[0][1]
    if chosen != own[0] and is_first_process():
        print("note: the score of the run, and its threshold, are of another TTA")
    return chosen


def choose_batch_size(given: str, pred: Path, ensemble: "Ensemble", photos: "list[Photo]") -> int:
    """How many photos go through the networks at once: what is given, what PRED was begun with, or what fits.

    Raises:
        InputError: not a number; or not even one photo fits.
    """
    from kaggle_tools.inference.predict import batch_size_that_fits
    from kaggle_tools.results import pred_folder
    from kaggle_tools.system import processes

    if given != "auto":
        return parse_count("--batch-size", given)
    recorded = pred_folder.recorded_batch_size(pred)
    fits = processes.gathered(recorded or batch_size_that_fits(ensemble, photos))
    return min(fits)


def choose_threshold(
    given: str,
    runs: list[Path],
    folds: list[int] | None,
    weights: tuple[float, ...] | None,
    spec: "Competition",
    data: Path | None,
) -> float:
    """The threshold that is given, or the best on the out-of-fold photos where these can tell it.

    Raises:
        InputError: it is neither `auto` nor a probability; or the out-of-fold photos are damaged or gone.
    """
    from kaggle_tools.results import run_folder
    from kaggle_tools.results.summary import best_threshold

    if given != "auto":
        return parse_probability("--threshold", given)
    held_out = held_out_photos(tuple(runs), tuple(folds or ()), weights, spec, data)
    if held_out:
        return best_threshold(held_out.histograms, spec)[0]
    if is_first_process():
        print(f"threshold: {run_folder.DEFAULT_THRESHOLD}, as the best is not known: {why_unknown(runs)}")
    return run_folder.DEFAULT_THRESHOLD


@lru_cache(maxsize=1)  # asked for the threshold, then for the score at it: a mix has thousands of maps to read
def held_out_photos(
    runs: tuple[Path, ...],
    folds: tuple[int, ...],
    weights: tuple[float, ...] | None,
    spec: "Competition",
    data: Path | None,
) -> "HeldOut | None":
    """The photos that the networks never saw, with what tells their score at each threshold; None where nothing does.

    A mix of runs is mixed on its out-of-fold photos as well, if their probabilities were saved; their true
    masks are then looked for where the first run was trained, or else in `data`.

    Raises:
        InputError: their files are damaged or gone.
    """
    from kaggle_tools.data.listing import training_photos
    from kaggle_tools.inference.out_of_fold import has_probabilities, held_out_by_mix
    from kaggle_tools.results import run_folder
    from kaggle_tools.results.summary import held_out_by

    if len(runs) == 1:
        finished = [fold for fold in run_folder.finished_folds(runs[0]) if not folds or fold in folds]
        return held_out_by(runs[0], finished) if finished else None
    if not all(has_probabilities(run, folds) for run in runs):
        return None
    trained_on = Path(run_folder.read_config(runs[0])["data"])
    photos = training_photos(spec, trained_on if trained_on.is_dir() else data or trained_on)
    models_per_run = [len(folds or run_folder.trained_folds(run)) for run in runs]
    return held_out_by_mix(runs, weights or models_per_run, photos, folds)


def why_unknown(runs: list[Path]) -> str:
    """Why the out-of-fold photos tell neither threshold nor score."""
    if len(runs) > 1:
        return "not all runs of the mix were trained with --save-oof-probabilities"
    return f"there are no out-of-fold photos in {runs[0]}"


def what_to_expect(
    runs: list[Path],
    folds: list[int] | None,
    weights: tuple[float, ...] | None,
    spec: "Competition",
    data: Path | None,
    threshold: float | None,
) -> dict[str, Any]:
    """What PRED/run.json tells `submit.py`: the runs' cross-validation, and the score to expect or why it is not known.

    The threshold is None where the photos are masked with another TTA than the out-of-fold photos were.
    """
    from kaggle_tools.results.summary import cross_validation, expected_score

    try:
        validated = cross_validation(runs, spec)
        held_out = held_out_photos(tuple(runs), tuple(folds or ()), weights, spec, data)
    except InputError as error:  # with a threshold given, the masks do not depend on these
        return {"cross_validation": [], "estimate": {"unavailable": str(error)}}
    estimate: dict[str, Any] = {"unavailable": "the out-of-fold photos were masked with another TTA"}
    if held_out is None:
        estimate = {"unavailable": why_unknown(runs)}
    elif threshold:
        estimate = expected_score(held_out, spec, threshold)
    return {"cross_validation": validated, "estimate": estimate}


def report(pred: Path, masks: int, failures: list[str]) -> None:
    """Say how many masks there are.

    Raises:
        InputError: photos could not be read; they are named.
    """
    print(f"{pred}: {masks:,} masks")
    if failures:
        named = sorted(failures)[:NAMED] + ([f"and {len(failures) - NAMED:,} more"] if len(failures) > NAMED else [])
        found = f"{len(failures):,} photos could not be masked; mend them, and the same command goes on"
        raise InputError("\n  ".join([f"{found}:", *named]))


def describe(member: "Member") -> dict[str, Any]:
    """What PRED/run.json says of a model: enough to know whether another one is the same."""
    from kaggle_tools.models.weights import WEIGHTS_FILE
    from kaggle_tools.system.files import sha256

    return {
        "run": member.folder.resolve().parent.name,
        "fold": member.card.fold,
        "model": member.card.architecture.name,
        "image_size": member.card.image_size,
        "weight": member.weight,
        "sha256": sha256(member.folder / WEIGHTS_FILE),
    }
