"""Mask photos with trained networks: runs and photos in, one PNG for each photo out.

What happens to a photo: decoded, resized -> logits of every network in every flip and scale -> probabilities,
flipped back, brought to the photo's own size and averaged -> threshold -> mask file.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.config.execution import DEFAULT_WORKERS, MOST_WORKERS, WORKERS_IN_WORDS
from kaggle_tools.config.training import Tta
from kaggle_tools.errors import InputError, counted, in_lines
from kaggle_tools.options import finite, parse_count, parse_numbers, parse_probability
from kaggle_tools.precision import Precision
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.processes import command_to_paste, is_first_process

if TYPE_CHECKING:
    from kaggle_tools.competitions.competition import Competition
    from kaggle_tools.results.after_care import AfterCare

MODELS, MACHINE, BESIDE = "Networks", "Machine", "Beside the masks"
NAMED = 10
"""So many photos that cannot be read are named."""


def infer(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `train` made; they are averaged.")],
    out: Annotated[Path, typer.Option(metavar="PRED", help="Folder of the masks; an interrupted one is continued.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with the competition's data: its test photos.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of --data: any folder of photos.")] = None,
    threshold: Annotated[
        str,
        typer.Option(metavar="auto|P", help="Foreground from this probability on; auto: what pays on held-out photos."),
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
            help="Weight of each RUN, divided among its folds.",
            show_default="all networks alike",
            rich_help_panel=MODELS,
        ),
    ] = None,
    tta: Annotated[
        Tta | None,
        typer.Option(
            help="Flips over which probabilities are averaged.",
            show_default="as for the run's held-out photos",
            rich_help_panel=MODELS,
        ),
    ] = None,
    tta_scales: Annotated[
        str | None,
        typer.Option(
            metavar="0.75,1,…",
            help="Factors of the image size over which probabilities are averaged.",
            show_default="as for the run's held-out photos",
            rich_help_panel=MODELS,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="Arithmetic; auto: 16 bits where they are faster.", rich_help_panel=MODELS),
    ] = "auto",
    batch_size: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Photos at once; auto: as many as fit on a GPU, one on a CPU.",
            rich_help_panel=MACHINE,
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
            max=MOST_WORKERS,
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
        typer.Option(
            min=0,
            callback=finite,
            help="Stop after so many hours with exit code 75; the same command continues.",
            rich_help_panel=MACHINE,
        ),
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
    source = folder_of_photos(data, images)
    given_threshold = None if threshold == "auto" else parse_probability("--threshold", threshold)
    given_batch_size = None if batch_size == "auto" else parse_count("--batch-size", batch_size)
    given_scales = parse_numbers("--tta-scales", tta_scales) if tta_scales is not None else None
    run_weights = parse_numbers("--weights", weights) if weights is not None else None
    if run_weights and len(run_weights) != len(runs):
        as_many = f"{counted(len(runs), 'run needs', 'runs need')} {counted(len(runs), 'weight')}"
        raise InputError(f"--weights {weights}: {as_many}")

    from kaggle_tools.competitions import named
    from kaggle_tools.data.listing import photos_in, photos_to_mask, targets_of
    from kaggle_tools.inference import write_masks
    from kaggle_tools.inference.ensemble import Ensemble, choose_tta, load_members, require_classes
    from kaggle_tools.inference.evidence import Evidence, Selection
    from kaggle_tools.inference.predict import require_sizes
    from kaggle_tools.inference.tta import warn_of_untrained_flips
    from kaggle_tools.results import pred_folder
    from kaggle_tools.results.after_care import AfterCare
    from kaggle_tools.system import hardware, memory, processes

    selection = Selection(tuple(runs), tuple(fold) if fold else None, run_weights)
    members = load_members(selection.runs, selection.folds, selection.weights)
    spec = named.agreed_competition(competition, {member.folder.parent: member.card.competition for member in members})
    require_classes(members, spec)
    photos, unreadable = photos_to_mask(spec, source) if data else photos_in(source, spec)
    if images and is_first_process():
        warn_of_subfolders(images)
    flips, scales = choose_tta(tta, given_scales, members)
    if is_first_process():
        if not fold:
            warn_of_unfinished_folds(runs)
        warn_of_untrained_flips(flips, augmentations_of(runs))
    evidence = Evidence(selection, spec, data)
    care = AfterCare(given_threshold) if given_threshold else evidence.after_care() or plain_care(evidence.why_unknown)

    memory.keep_freed_memory()
    hardware.require_working_gpu()
    if is_first_process():
        processes.warn_of_idle_gpus(devices, nodes)
    device = processes.launch(devices, nodes).device
    arithmetic = write_masks.precision_for(out, device, precision)
    ensemble = Ensemble(
        members,
        device,
        tta=flips,
        scales=scales,
        threshold=care.threshold,
        class_thresholds=care.class_thresholds,
        precision=arithmetic,
    )
    require_sizes(ensemble, photos)
    if compiled:
        ensemble.compile()
    at_once = given_batch_size or write_masks.batch_size_for(out, ensemble, photos)
    record = evidence.record(ensemble, care, source, photos, at_once)
    outputs = pred_folder.Outputs(save_probabilities, overlays)
    if (care.is_more_than_a_threshold or care.by_class) and is_first_process():
        say(f"after-care, learnt from held-out photos: {care}")
    with pred_folder.begun(out, record, processes.rank_and_ranks()[0]):
        if is_first_process():
            named.record(out, spec)
        unreadable += write_masks.mask_photos(
            out, spec, ensemble, photos, outputs, care=care, batch_size=at_once, workers=workers, deadline=deadline
        )
        if is_first_process():
            masked = pred_folder.finish(out, record, targets_of(photos))
            if page and masked:
                write_masks_page(out, spec, source)
            warn_of_odd_masks(out, spec)
            print_result(out, masked, unreadable)


def warn_of_unfinished_folds(runs: Sequence[Path]) -> None:
    """Say which folds of these runs are left out, as their training is not over."""
    from kaggle_tools.results import run_folder

    for run in dict.fromkeys(runs):
        trained = run_folder.trained_folds(run)
        if unfinished := [str(fold) for fold in run_folder.begun_folds(run) if fold not in trained]:
            folds = "fold {} is" if len(unfinished) == 1 else "folds {} are"
            warn(f"{run}: {folds.format(', '.join(unfinished))} not trained to the end, and left out")


def folder_of_photos(data: Path | None, images: Path | None) -> Path:
    """The folder that is given by one of the two options.

    Raises:
        InputError: not exactly one of them is given.
    """
    if data and not images:
        return data
    if images and not data:
        return images
    raise InputError("give either --data DIR or --images DIR: where the photos are")


def warn_of_subfolders(images: Path) -> None:
    """Say that photos in subfolders are left out, if there are any."""
    from kaggle_tools.data.checks.names import photos_below

    if below := photos_below(images):
        warn(f"{images}: subfolders are not searched; photos in {below} are left out")


def plain_care(why_unknown: str) -> "AfterCare":
    """The threshold 0.5 where nothing better is known; says why that is so."""
    from kaggle_tools.results.after_care import AfterCare

    plain = AfterCare()
    if is_first_process():
        say(f"threshold: {plain.threshold}, as the best is not known: {why_unknown}")
    return plain


def write_masks_page(pred: Path, spec: "Competition", photos: Path | None) -> None:
    """Write the page of the masks; `photos` is the folder that was named, if one was."""
    from kaggle_tools.report.writing import write_report

    again = command_to_paste("report", "--pred", str(pred), *(["--data", str(photos)] if photos else []))
    cli.finish_with_page(lambda: write_report(None, spec, [], pred, photos), again)


def warn_of_odd_masks(pred: Path, spec: "Competition") -> None:
    """Say so where there are more or fewer blank masks than usual, or full ones."""
    from kaggle_tools.data.checks.predicted_masks import doubts
    from kaggle_tools.results.pred_folder import read_photos

    areas = [photo.area for photo in read_photos(pred)]
    for doubt in doubts(len(areas), areas.count(0), areas.count(1), spec):
        warn(doubt)


def augmentations_of(runs: Iterable[Path]) -> set[str]:
    """The augmentations with which these runs were trained, as far as that is known."""
    from kaggle_tools.results import run_folder

    found = set()
    for run in runs:
        with suppress(InputError):  # a run may have come without its `config.json`
            found.add(str(run_folder.read_config(run).settings.get("augmentation")))
    return found


def print_result(pred: Path, masks: int, failures: list[str]) -> None:
    """Say how many masks there are.

    Raises:
        InputError: photos could not be read; they are named.
    """
    say(f"{pred}: {counted(masks, 'mask')}")
    if failures:
        found = f"{counted(len(failures), 'photo')} could not be masked; repair them, and the same command continues"
        raise InputError(in_lines(found, sorted(failures), NAMED))
