"""Train the folds of a model: photos and masks in, weights and a score on held-out photos out.

What happens to a photo: files -> folds by group -> decoded, resized, augmented -> logits -> loss; and where
its fold is held out: probabilities at its own size -> mask -> score.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaggle_tools import cli
from kaggle_tools.config.execution import EXECUTION_OPTIONS, Execution
from kaggle_tools.config.presets import PRESETS, config_from
from kaggle_tools.config.recorded import config_of_settings
from kaggle_tools.config.training import CONFIG_OPTIONS, DEFAULT_PRESET, TrainingConfig
from kaggle_tools.config.values import AUTO
from kaggle_tools.errors import InputError, OutOfTimeError, counted
from kaggle_tools.options import applied, parse_duration, takes
from kaggle_tools.system.files import locked
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.processes import command_to_paste, is_first_process
from kaggle_tools.system.progress import duration

if TYPE_CHECKING:
    from kaggle_tools.competitions.competition import Competition
    from kaggle_tools.data.fingerprint import Fingerprint
    from kaggle_tools.data.listing import Photo


PLAN_SECONDS = 600.0
"""How long to wait for another process that tries which batch fits."""


@takes(CONFIG_OPTIONS, EXECUTION_OPTIONS)
def train(
    data: Annotated[Path, typer.Option(help="Folder with the competition's data, as Kaggle delivers it.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; an interrupted one is continued.")],
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
    preset: Annotated[
        str | None,
        typer.Option(help=f"Sets the defaults of other options: {', '.join(PRESETS)}.", show_default=DEFAULT_PRESET),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of a preset: the config.json of a run, to repeat it.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="45m|2h|…",
            help="Choose the sizes and the epochs such that this command takes so long.",
            show_default="those of the preset",
        ),
    ] = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(metavar="K", help="Train only this fold, from 0; may be repeated.", show_default="all folds"),
    ] = None,
    **options: Any,
) -> None:
    """Train the folds of a model and score each on the groups (cars) that it never saw."""
    started = time.monotonic()
    execution = applied(Execution(), EXECUTION_OPTIONS, options)
    deadline = None if execution.max_hours is None else started + execution.max_hours * 3600
    seconds = None if budget is None else parse_duration("--budget", budget)
    if budget is not None and config is not None:
        raise InputError("--budget and --config: give one of them; the file says which sizes and epochs")
    from kaggle_tools.competitions import named

    spec = named.competition_named(competition)
    automatic_batch = options["batch_size"] == AUTO
    if automatic_batch:
        del options["batch_size"]
    settings = applied(initial_config(spec, preset, config), CONFIG_OPTIONS, options)
    chosen = chosen_folds(fold, settings)
    if seconds is not None and settings.extra:
        raise InputError("--budget and --extra: give one of them; the time of further photos is not planned")

    from kaggle_tools.data.listing import folders_of, training_photos
    from kaggle_tools.data.loading.pixel_cache import PixelCache
    from kaggle_tools.results import fold_table, run_folder

    if run_folder.is_begun(out):
        named.require_same(out, spec)  # before masks are compared, which follow from it
    photos = training_photos(spec, data)  # before torch is loaded, which takes seconds
    run_folder.require_own_folder(out, run_folder.CONFIG_FILE, {data, *folders_of(photos)})
    if not (out / run_folder.FOLDS_FILE).exists():
        fold_table.require_enough_groups(spec, photos, settings.folds)  # before they are looked at, which takes longer
    if execution.cache and is_first_process():
        PixelCache(Path(execution.cache)).prepare(photos, settings.size_by_epoch, settings.fit)
    new_files = look_at_new(out, photos, spec) if is_first_process() else None

    from kaggle_tools.inference.tta import warn_of_untrained_flips
    from kaggle_tools.training.plan.batch import automatic_batch_size, batches_of, planned
    from kaggle_tools.training.plan.budget import Budget, settings_within

    if is_first_process():
        warn_of_untrained_flips(settings.tta, [settings.augmentation])
    if automatic_batch:
        settings = replace(settings, batch_size=automatic_batch_size(out, photos, settings, execution))

    with locked(out, run_folder.WRITES, PLAN_SECONDS):
        if seconds is not None:
            given = frozenset(name for name, value in options.items() if value is not None)
            time_for_it = Budget(seconds, started, given)
            counts = fold_table.held_out_counts(out, spec, photos, settings)
            held_out = [counts[number] for number in chosen]
            settings = settings_within(time_for_it, out, spec, photos, settings, execution, held_out)
        if not settings.takes_sizes({photo.size for photo in photos}):
            raise InputError(f"{data}: photos of different sizes do not fit into one batch; give --image-size HxW")
        asked = batches_of(settings)
        settings = planned(out, photos, settings, execution)
        memory_led = asked if asked != batches_of(settings) else None
        run_folder.write_config(out, settings, data, cli.this_command(), memory_led, seconds)
        named.record(out, spec, anew=not run_folder.is_begun(out))
        fold_by_stem = fold_table.folds_of(out, spec, photos, settings)
    if new_files is not None:
        fold_table.record_files(out, new_files)

    from kaggle_tools.training import cross_validation

    work = cross_validation.CrossValidation(
        out, spec, data, photos, fold_by_stem, settings, is_timed=seconds is not None
    )
    out_of_time: OutOfTimeError | None = None
    try:
        with page_meanwhile(out, spec, chosen, execution):
            cross_validation.train(work, chosen, execution, deadline)
    except OutOfTimeError as error:
        out_of_time = error
    finally:
        print_summary(out, spec)
    if execution.report:
        write_run_page(out, spec, data)
    if out_of_time:
        raise out_of_time
    if seconds is not None and is_first_process():
        say(f"took {duration(time.monotonic() - started)}, where --budget is {duration(seconds)}")


def look_at_new(run: Path, photos: "list[Photo]", spec: "Competition") -> "Fingerprint | None":
    """Look at all photos and masks that the run has not recorded as they are, and print what a person should know.

    Returns:
        What is to be recorded; None where that was done, and so nothing looked at.

    Raises:
        InputError: files that cannot be read, masks that are all blank or all full, or the run was begun with others.
    """
    from kaggle_tools.data.checks.decoded_masks import doubt_of_numbering
    from kaggle_tools.data.checks.true_masks import inspect_masks
    from kaggle_tools.data.fingerprint import fingerprint_of
    from kaggle_tools.results.fold_table import are_unchanged

    files = fingerprint_of(photos)
    if are_unchanged(run, files):
        return None
    report = inspect_masks(photos)
    say(f"true masks cover {report.coverage:.1%} of their photos on average")
    for warning in report.warnings(spec.blank_usual):
        warn(warning)
    sizes = {photo.size for photo in photos}
    if spec.photo_size and spec.photo_size not in sizes and spec.photo_size[::-1] in sizes:
        warn(f"photos of {spec.title} are {spec.photo_size[1]} pixels high: exchange the sides in photo_size")
    if spec.masks_are_run_lengths and (doubt := doubt_of_numbering(photos, spec)):
        warn(doubt)
    return files


def initial_config(spec: "Competition", preset: str | None, config: Path | None) -> TrainingConfig:
    """The configuration of the preset, or of --config.

    Raises:
        InputError: both are given, there is no such preset, or the file is missing, damaged or about something else.
    """
    if config is None:
        return config_from(DEFAULT_PRESET if preset is None else preset, spec.slug, {}, spec.masks_per_photo)
    if preset is not None:
        raise InputError("--preset and --config: give one of them")
    return config_in_file(config, spec)


def config_in_file(path: Path, spec: "Competition") -> TrainingConfig:
    """The configuration in the `config.json` of a run.

    Raises:
        InputError: it is missing or damaged, or about another competition.
    """
    from kaggle_tools.results.run_folder import read_config_file

    recorded = read_config_file(path)
    if recorded.competition != spec.slug:
        raise InputError(f"{path}: not about --competition {spec.slug}")
    try:
        return config_of_settings(dict(recorded.settings))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def chosen_folds(given: list[int] | None, settings: TrainingConfig) -> list[int]:
    """The folds to train, in ascending order.

    Raises:
        InputError: there is no such fold.
    """
    chosen = sorted(set(given)) if given else list(range(settings.folds))
    unknown = [number for number in chosen if not 0 <= number < settings.folds]
    if unknown:
        raise InputError(f"--fold {unknown[0]}: of {settings.folds} folds, the last is {settings.folds - 1}")
    return chosen


def print_summary(run: Path, spec: "Competition") -> None:
    """Write what the folds that are done have reached, and print it."""
    from kaggle_tools.results import run_folder
    from kaggle_tools.results.after_care import AfterCare, chosen
    from kaggle_tools.results.summary import write_summary

    if not is_first_process() or not run_folder.finished_folds(run):
        return
    summary = write_summary(run, spec)
    name, interval = summary.score_name, summary.score.interval
    folds = ", ".join(f"{fold}: {score:.5f}" for fold, score in summary.score_by_fold.items())
    likely = f", 95 % interval {interval[0]:.5f} to {interval[1]:.5f}" if interval else ""
    photos = counted(summary.photos, "held-out photo")
    groups = f" of {counted(summary.groups, spec.group_name)}" if spec.has_groups else ""
    say(f"{run}: {photos}{groups} at their own size")
    say(f"{name} {summary.score.score:.5f} (fold {folds}){likely}")
    if summary.score_by_class:
        say("by class: " + ", ".join(f"{of_class} {score:.5f}" for of_class, score in summary.score_by_class.items()))
    say(f"best threshold {summary.threshold:.4g}, with {name} {summary.score_at_threshold:.5f}")
    care = chosen(summary.trials)
    if summary.is_no_better_than_blank and care == AfterCare():
        blank = f"blank masks alone would have {name} {summary.score_of_blank:.5f}"
        warn(f"{blank}, these at their best {summary.score_at_threshold:.5f}: nothing of use is learnt yet")
    sure = "" if care != AfterCare() else ", as nothing else is sure to be better"
    say(f"for new masks: {care}{sure}")


def page_meanwhile(
    run: Path, spec: "Competition", folds: list[int], execution: Execution
) -> AbstractContextManager[None]:
    """Have a page written that says how far these folds are, as long as they are trained."""
    if not execution.report or not is_first_process():
        return nullcontext()
    from kaggle_tools.report.live import page_while_training

    return page_while_training(run, spec.slug, folds)


def write_run_page(run: Path, spec: "Competition", data: Path) -> None:
    """Write the page of the folds that are done, or of how far they are."""
    from kaggle_tools.results import run_folder

    if not is_first_process() or not (run_folder.finished_folds(run) or run_folder.begun_folds(run)):
        return
    from kaggle_tools.report.writing import write_report

    again = command_to_paste("report", str(run), "--data", str(data))
    cli.finish_with_page(lambda: write_report(None, spec, [run], data=data), again)
