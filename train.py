"""Train the folds of a model: photos and masks in, weights and an honest score out.

The way of a photo: files -> folds by group -> decoded, resized, augmented -> logits -> loss; and where
its fold is held out: probabilities at its own size -> mask -> score.
"""

import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from kaggle_tools import cli
from kaggle_tools.competition import Competition
from kaggle_tools.presets import (
    DEFAULT_PRESET,
    PRESETS,
    Augmentation,
    Optimizer,
    Precision,
    Schedule,
    TrainingConfig,
    Tta,
    config_from,
)

app = cli.new_app()


def by_preset(field: str, help_text: str, metavar: str | None = None) -> Any:
    """An option whose default the preset sets; shown is that of the default preset."""
    default = getattr(config_from(DEFAULT_PRESET, cli.DEFAULT_SLUG, {}), field)
    shown = "full" if default is None else "off" if default is False else default
    return typer.Option(help=help_text, metavar=metavar, show_default=f"{shown} in preset {DEFAULT_PRESET}")


@app.command(no_args_is_help=True)
def train(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder with the competition's data, as Kaggle delivers it.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; an interrupted one is continued.")],
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
    preset: Annotated[
        str, typer.Option(help=f"Where other options have their defaults from: {', '.join(PRESETS)}.")
    ] = DEFAULT_PRESET,
    model: Annotated[
        str | None, by_preset("model", "`unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34.")
    ] = None,
    width: Annotated[int | None, by_preset("width", "Channels of the U-Net's first block.")] = None,
    depth: Annotated[int | None, by_preset("depth", "How often the U-Net halves the size.")] = None,
    pretrained: Annotated[
        bool | None, by_preset("pretrained", "Start from ImageNet weights (smp models only).")
    ] = None,
    folds: Annotated[int | None, by_preset("folds", "Parts into which the groups (cars) are split.")] = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(metavar="K", help="Train only this fold, from 0; may be repeated.", show_default="all folds"),
    ] = None,
    image_size: Annotated[
        str | None, by_preset("image_size", "Pixels that the network sees; `full`: all.", metavar="HxW")
    ] = None,
    augmentation: Annotated[
        Augmentation | None, by_preset("augmentation", "Random changes of the training photos.")
    ] = None,
    epochs: Annotated[int | None, by_preset("epochs", "Passes over the training photos.")] = None,
    batch_size: Annotated[int | None, by_preset("batch_size", "Photos for each step and device.")] = None,
    optimizer: Annotated[Optimizer | None, by_preset("optimizer", "What moves the weights.")] = None,
    lr: Annotated[float | None, by_preset("lr", "Learning rate; with one-cycle its peak.")] = None,
    weight_decay: Annotated[float | None, by_preset("weight_decay", "Weight decay of AdamW.")] = None,
    schedule: Annotated[Schedule | None, by_preset("schedule", "How the learning rate moves.")] = None,
    bce_weight: Annotated[float | None, by_preset("bce_weight", "Weight of binary cross-entropy in the loss.")] = None,
    dice_weight: Annotated[float | None, by_preset("dice_weight", "Weight of soft Dice in the loss.")] = None,
    precision: Annotated[
        Precision | None, by_preset("precision", "Arithmetic; auto: 16 bits where the GPU has them.")
    ] = None,
    tta: Annotated[Tta | None, by_preset("tta", "Flips over which out-of-fold photos are averaged.")] = None,
    seed: Annotated[int | None, by_preset("seed", "Seed of folds, weights, order and augmentation.")] = None,
    devices: Annotated[str, typer.Option(help="How many GPUs to use; `0,1` for these two.")] = "auto",
    nodes: Annotated[int, typer.Option(help="How many machines take part.")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that load photos, for each device.")
    ] = cli.DEFAULT_WORKERS,
) -> None:
    """Train the folds of a model and score each on the groups (cars) that it never saw."""
    spec = cli.competition_named(competition)
    config = config_of(context.params, spec)
    chosen = sorted(set(fold)) if fold else list(range(config.folds))
    cli.require(chosen[0] >= 0 and chosen[-1] < config.folds, f"--fold: must be 0 to {config.folds - 1}")

    from kaggle_tools import images, run_folder
    from kaggle_tools.training import Hardware, is_first_process, train_fold

    photos = images.training_photos(spec, data)
    alike = config.image_size or config.batch_size == 1 or len({photo.size for photo in photos}) == 1
    cli.require(bool(alike), f"{data}: photos of different sizes do not fit into one batch; give --image-size HxW")
    run_folder.write_config(out, config, data, shlex.join(sys.argv))
    fold_by_stem = run_folder.folds_of(out, spec, photos, config)
    for number in chosen:
        if run_folder.is_finished(out, number):
            print(f"fold {number}: finished before")
            continue
        training, held_out = run_folder.split(photos, fold_by_stem, number)
        print(f"fold {number}: {len(training):,} photos to train on, {len(held_out):,} held out")
        train_fold(out, number, spec, (training, held_out), config, Hardware(devices, nodes, workers))
    if is_first_process():
        print_summary(out, run_folder.write_summary(out, spec))


def config_of(options: dict[str, Any], spec: Competition) -> TrainingConfig:
    """The preset's configuration with the options that were given.

    Raises:
        InputError: an option cannot be.
    """
    decisive = {field.name for field in fields(TrainingConfig)} - {"competition"}
    given = {name: value for name, value in options.items() if name in decisive and value is not None}
    if "image_size" in given:
        text = given["image_size"]
        given["image_size"] = None if text == "full" else cli.parse_size("--image-size", text)
    return config_from(options["preset"], spec.slug, given)


def print_summary(run: Path, summary: dict[str, Any]) -> None:
    """Print what the folds that are done have reached."""
    folds = ", ".join(f"{fold}: {score:.5f}" for fold, score in summary["score_by_fold"].items())
    print(f"{run}: {summary['photos']:,} held-out photos at their own size")
    print(f"{summary['score_name']} {summary['score_mean']:.5f} (fold {folds})")
    print(
        f"best threshold {summary['threshold']:.4g}, with {summary['score_name']} {summary['score_at_threshold']:.5f}"
    )


if __name__ == "__main__":
    cli.run(app)
