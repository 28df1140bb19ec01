"""Train the folds of a model: photos and masks in, weights and an honest score out.

The way of a photo: files -> folds by group -> decoded, resized, augmented -> logits -> loss; and where
its fold is held out: probabilities at its own size -> mask -> score.
"""

import shlex
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaggle_tools import cli
from kaggle_tools.config import (
    DEFAULT_PRESET,
    PRESETS,
    Augmentation,
    Optimizer,
    Precision,
    Schedule,
    TrainingConfig,
    Tta,
    config_from,
    config_of_settings,
)
from kaggle_tools.errors import InputError, OutOfTimeError, require
from kaggle_tools.system.files import locked
from kaggle_tools.system.processes import is_first_process

if TYPE_CHECKING:
    from kaggle_tools.competition import Competition
    from kaggle_tools.data.listing import Photo

DATA, MODEL, LOSS, STEPS = "What is learned from", "Model", "Loss", "Optimisation"
MACHINE, BESIDE = "Machine (does not change the result)", "Beside the training (does not change the result)"


def by_preset(field: str, help_text: str, panel: str, metavar: str | None = None) -> Any:
    """An option whose default the preset sets; shown is that of the default preset."""
    default = getattr(config_from(DEFAULT_PRESET, cli.DEFAULT_SLUG, {}), field)
    shown = "full" if field == "image_size" else "off" if default is None or default is False else default
    shown = ",".join(f"{number:g}" for number in default) if field == "tta_scales" else shown
    return typer.Option(
        help=help_text, metavar=metavar, rich_help_panel=panel, show_default=f"{shown} in preset {DEFAULT_PRESET}"
    )


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder with the competition's data, as Kaggle delivers it.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; an interrupted one is continued.")],
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
    preset: Annotated[
        str | None,
        typer.Option(
            help=f"Where other options have their defaults from: {', '.join(PRESETS)}.", show_default=DEFAULT_PRESET
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of a preset: the config.json of a run, to repeat it.")
    ] = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(metavar="K", help="Train only this fold, from 0; may be repeated.", show_default="all folds"),
    ] = None,
    folds: Annotated[int | None, by_preset("folds", "Parts into which the groups (cars) are split.", DATA)] = None,
    image_size: Annotated[
        str | None, by_preset("image_size", "Pixels that the network sees; `full`: all.", DATA, "HxW")
    ] = None,
    augmentation: Annotated[
        Augmentation | None, by_preset("augmentation", "Random changes of the training photos.", DATA)
    ] = None,
    extra: Annotated[
        Path | None, by_preset("extra", "Train on the masks that infer.py made in this folder as well.", DATA, "PRED")
    ] = None,
    extra_confidence: Annotated[
        float | None, by_preset("extra_confidence", "Of --extra, only masks with at least this expected Dice.", DATA)
    ] = None,
    model: Annotated[
        str | None, by_preset("model", "`unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34.", MODEL)
    ] = None,
    width: Annotated[int | None, by_preset("width", "Channels of the U-Net's first block.", MODEL)] = None,
    depth: Annotated[int | None, by_preset("depth", "How often the U-Net halves the size.", MODEL)] = None,
    pretrained: Annotated[
        bool | None, by_preset("pretrained", "Start from ImageNet weights (smp models only).", MODEL)
    ] = None,
    init: Annotated[
        Path | None, by_preset("init", "Start each fold from the same fold of another run.", MODEL, "RUN")
    ] = None,
    bce_weight: Annotated[
        float | None, by_preset("bce_weight", "Weight of binary cross-entropy in the loss.", LOSS)
    ] = None,
    border_weight: Annotated[
        float | None, by_preset("border_weight", "How much more it counts near the outline; 1: twice as much.", LOSS)
    ] = None,
    border_width: Annotated[
        int | None, by_preset("border_width", "Pixels to either side that are near the outline.", LOSS)
    ] = None,
    dice_weight: Annotated[float | None, by_preset("dice_weight", "Weight of soft Dice in the loss.", LOSS)] = None,
    lovasz_weight: Annotated[
        float | None, by_preset("lovasz_weight", "Weight of the Lovasz hinge in the loss.", LOSS)
    ] = None,
    epochs: Annotated[int | None, by_preset("epochs", "Passes over the training photos.", STEPS)] = None,
    patience: Annotated[
        int | None, by_preset("patience", "Stop after this many epochs without a better Dice.", STEPS)
    ] = None,
    batch_size: Annotated[
        str | None,
        by_preset("batch_size", "Photos at once, on all devices together; auto: as many as fit.", STEPS, "N|auto"),
    ] = None,
    accumulate: Annotated[int | None, by_preset("accumulate", "Batches whose gradients make one step.", STEPS)] = None,
    optimizer: Annotated[Optimizer | None, by_preset("optimizer", "What moves the weights.", STEPS)] = None,
    lr: Annotated[float | None, by_preset("lr", "Learning rate; with one-cycle and cosine its peak.", STEPS)] = None,
    weight_decay: Annotated[float | None, by_preset("weight_decay", "Weight decay of AdamW and SGD.", STEPS)] = None,
    schedule: Annotated[Schedule | None, by_preset("schedule", "The learning rate after the warm-up.", STEPS)] = None,
    warm_up: Annotated[
        float | None, by_preset("warm_up", "Share of the steps in which the learning rate rises.", STEPS)
    ] = None,
    clip_norm: Annotated[float | None, by_preset("clip_norm", "Shorten the gradient to this norm.", STEPS)] = None,
    ema_decay: Annotated[
        float | None, by_preset("ema_decay", "Keep a moving average of the weights, such as 0.999.", STEPS)
    ] = None,
    seed: Annotated[int | None, by_preset("seed", "Seed of folds, weights, order and augmentation.", STEPS)] = None,
    precision: Annotated[
        Precision | None, by_preset("precision", "Arithmetic; auto: 16 bits where the GPU has them.", STEPS)
    ] = None,
    tta: Annotated[Tta | None, by_preset("tta", "Flips over which out-of-fold photos are averaged.", STEPS)] = None,
    tta_scales: Annotated[
        str | None,
        by_preset("tta_scales", "Factors of the image size over which they are averaged.", STEPS, "0.75,1,…"),
    ] = None,
    devices: Annotated[
        str, typer.Option(help="How many GPUs to use; `0,1` for these two.", rich_help_panel=MACHINE)
    ] = "auto",
    nodes: Annotated[
        int, typer.Option(min=1, help="How many machines take part in each fold.", rich_help_panel=MACHINE)
    ] = 1,
    parallel_folds: Annotated[
        bool, typer.Option("--parallel-folds", help="Train one fold on each GPU.", rich_help_panel=MACHINE)
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that load photos, for each device.", rich_help_panel=MACHINE)
    ] = cli.DEFAULT_WORKERS,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network; meant for GPUs.", rich_help_panel=MACHINE)
    ] = False,
    max_hours: Annotated[
        float | None,
        typer.Option(min=0, help="Begin no epoch that would end later; exit code 75.", rich_help_panel=MACHINE),
    ] = None,
    pictures_every: Annotated[
        int, typer.Option(min=0, help="Log outlines on held-out photos every N epochs.", rich_help_panel=BESIDE)
    ] = 0,
    wandb: Annotated[
        str | None,
        typer.Option(metavar="PROJECT", help="Log to Weights & Biases as well.", rich_help_panel=BESIDE),
    ] = None,
    save_oof_probabilities: Annotated[
        bool,
        typer.Option("--save-oof-probabilities", help="Keep out-of-fold probabilities.", rich_help_panel=BESIDE),
    ] = False,
    page: Annotated[
        bool, typer.Option("--report/--no-report", help="Write RUN/report.html at the end.", rich_help_panel=BESIDE)
    ] = True,
) -> None:
    """Train the folds of a model and score each on the groups (cars) that it never saw."""
    deadline = time.monotonic() + max_hours * 3600 if max_hours is not None else None
    spec = cli.competition_named(competition)
    settings = config_of(context, spec)
    chosen = sorted(set(fold)) if fold else list(range(settings.folds))
    strange = [number for number in chosen if not 0 <= number < settings.folds]
    require(
        not strange, f"--fold {strange and strange[0]}: of {settings.folds} folds, the last is {settings.folds - 1}"
    )

    from kaggle_tools.data import listing
    from kaggle_tools.results import run_folder

    photos = listing.training_photos(spec, data)
    if batch_size == "auto":
        settings = replace(settings, batch_size=batch_size_of(out, photos, settings, devices, workers))
    alike = settings.takes_sizes({photo.size for photo in photos})
    require(alike, f"{data}: photos of different sizes do not fit into one batch; give --image-size HxW")
    with locked(out, run_folder.WRITES):
        run_folder.write_config(out, settings, data, shlex.join(sys.argv))
        fold_by_stem = run_folder.folds_of(out, spec, photos, settings)

    from kaggle_tools.training import cross_validation
    from kaggle_tools.training.callbacks import TimeLimit
    from kaggle_tools.training.fold import Execution

    execution = Execution(
        devices=devices,
        nodes=nodes,
        workers=workers,
        compiled=compiled,
        time_limit=TimeLimit(deadline) if deadline is not None else None,
        pictures_every=pictures_every,
        wandb=wandb,
        save_oof_probabilities=save_oof_probabilities,
    )
    out_of_time: OutOfTimeError | None = None
    try:
        if parallel_folds:
            command = [sys.executable, __file__, "--data", str(data), *repeated_options(context)]
            cross_validation.train_in_parallel(out, chosen, spec, command, deadline)
        else:
            cross_validation.train_one_by_one(out, chosen, spec, photos, fold_by_stem, settings, execution)
    except OutOfTimeError as error:
        out_of_time = error
    finally:
        print_summary(out, spec)
    if page:
        write_page(out, spec, data)
    if out_of_time:
        raise out_of_time


def batch_size_of(run: Path, photos: "list[Photo]", config: TrainingConfig, devices: str, workers: int) -> int:
    """The batch size that the run was begun with, or else the largest that the GPU holds."""
    from kaggle_tools.results import run_folder
    from kaggle_tools.training import cross_validation
    from kaggle_tools.training.fold import Execution

    if (run / run_folder.CONFIG_FILE).exists():
        return int(run_folder.read_config(run)["settings"]["batch_size"])
    return cross_validation.batch_size_that_fits(photos, config, Execution(devices=devices, workers=workers))


def config_of(context: typer.Context, spec: "Competition") -> TrainingConfig:
    """The configuration of the preset, or of --config, with the options that were given.

    Raises:
        InputError: an option cannot be.
    """
    options = context.params
    decisive = {field.name for field in fields(TrainingConfig)} - {"competition"}
    given = {name: value for name, value in options.items() if name in decisive and value is not None}
    for name in ("init", "extra"):
        if name in given:
            given[name] = str(given[name])
    if "image_size" in given:
        text = given["image_size"]
        given["image_size"] = None if text == "full" else cli.parse_size("--image-size", text)
    if "tta_scales" in given:
        given["tta_scales"] = cli.parse_numbers("--tta-scales", given["tta_scales"])
    if given.get("batch_size") == "auto":
        del given["batch_size"]
    elif "batch_size" in given:
        given["batch_size"] = cli.parse_count("--batch-size", given["batch_size"])
    if options["config"] is None:
        return config_from(options["preset"] or DEFAULT_PRESET, spec.slug, given)
    require(options["preset"] is None, "--preset and --config: give one of them")
    return replace(config_in_file(Path(options["config"]), spec), **given)


def config_in_file(path: Path, spec: "Competition") -> TrainingConfig:
    """The configuration in the `config.json` of a run.

    Raises:
        InputError: it is missing or damaged, or about another competition.
    """
    from kaggle_tools.results.run_folder import read_config_file

    recorded = read_config_file(path)["settings"]
    require(recorded.get("competition") == spec.slug, f"{path}: not about --competition {spec.slug}")
    try:
        return config_of_settings(recorded)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def repeated_options(context: typer.Context) -> list[str]:
    """The options given that do not change the result, as they are to be given to the processes of the folds."""
    options = context.params
    repeated = ["--no-report", "--workers", str(options["workers"]), "--pictures-every", str(options["pictures_every"])]
    repeated += ["--compile"] if options["compiled"] else []
    repeated += ["--save-oof-probabilities"] if options["save_oof_probabilities"] else []
    repeated += ["--wandb", options["wandb"]] if options["wandb"] else []
    return repeated


def print_summary(run: Path, spec: "Competition") -> None:
    """Write what the folds that are done have reached, and print it."""
    from kaggle_tools.results import run_folder
    from kaggle_tools.results.summary import write_summary

    if not is_first_process() or not run_folder.finished_folds(run):
        return
    summary = write_summary(run, spec)
    name = summary["score_name"]
    folds = ", ".join(f"{fold}: {score:.5f}" for fold, score in summary["score_by_fold"].items())
    interval = summary["score_interval"]
    likely = f", between {interval[0]:.5f} and {interval[1]:.5f} for other groups like these" if interval else ""
    print(f"{run}: {summary['photos']:,} held-out photos of {summary['groups']:,} groups at their own size")
    print(f"{name} {summary['score_mean']:.5f} (fold {folds}){likely}")
    print(f"best threshold {summary['threshold']:.4g}, with {name} {summary['score_at_threshold']:.5f}")


def write_page(run: Path, spec: "Competition", data: Path) -> None:
    """Write the page of the folds that are done."""
    from kaggle_tools.results import run_folder

    if not is_first_process() or not run_folder.finished_folds(run):
        return
    from kaggle_tools.report.writing import write_report

    again = shlex.join(["python", "-m", "kaggle_tools", "report", str(run), "--data", str(data)])
    cli.write_page(lambda: write_report(None, spec, [run], data=data), again)
