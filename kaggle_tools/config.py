"""Every option of a training, each written once: type, default, help, and what it must be.

`TrainingConfig` decides the result, `Execution` only the speed and what is kept beside it. The command line of
`train`, `config.json`, the processes of `--parallel-folds` and the tables in the docs follow from both.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from kaggle_tools.errors import InputError
from kaggle_tools.options import (
    ABOVE_0,
    AT_LEAST_0,
    SHARE,
    Check,
    Option,
    between,
    check_options,
    options_of,
    parse_count,
    parse_numbers,
    parse_size,
    size_as_text,
)
from kaggle_tools.system.processes import CORES

Augmentation = Literal["none", "hflip", "mild", "seed"]
"""Random changes of the training photos; what each does is in `augment`."""
Tta = Literal["none", "hflip", "flips"]
"""Test-time augmentation, a mean over flips: none, left to right, or that and upside down."""
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "one-cycle", "cosine"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]

DATA, MODEL, STEPS, LOSS = "Data", "Model", "Optimisation", "Loss"
MACHINE, BESIDE = "Machine (does not change the result)", "Beside the training (does not change the result)"

UNET = "unet"
"""The network from scratch, among the models."""
FULL = "full"
"""In the place of an image size: the photos' own."""
AUTO = "auto"
"""In the place of a batch size: the largest that fits."""

DEFAULT_WORKERS = min(8, CORES)
"""More processes than that do not load photos any faster than a network takes them."""
WORKERS_IN_WORDS = "one a core, at most 8"
MOST_WORKERS = 1024
"""More would only fill the memory and the table of processes."""


def size_or_full(option: str, text: str) -> tuple[int, int] | None:
    """`HxW` as (height, width) in pixels; None for `full`.

    Raises:
        InputError: it is not of this form.
    """
    return None if text == FULL else parse_size(option, text)


def path_text(_option: str, text: str) -> str:
    """A path as `config.json` records it: from the root on, so that it means the same from every folder."""
    return str(Path(text).resolve())


# Nobody needs more, and the `model.json` of a stranger must not ask for all memory.
WIDEST, DEEPEST = 1024, 10
LONGEST_SIDE = 8192  # pixels
LARGEST_SCALE, MOST_SCALES = 4, 16
SCALES = Check(
    lambda scales: 0 < len(scales) <= MOST_SCALES and all(0 < scale <= LARGEST_SCALE for scale in scales),
    f"must be numbers above 0 and up to {LARGEST_SCALE}, at most {MOST_SCALES} of them",
)
SIDES = Check(
    lambda size: min(size) >= 16 and max(size) <= LONGEST_SIDE, f"each side must be from 16 to {LONGEST_SIDE:,} pixels"
)
DEVICES = Check(
    lambda text: re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)+", text) is not None,
    "must be auto, how many, or the numbers of GPUs with commas between them, as 0,1",
)
WORKERS = between(0, MOST_WORKERS)
TWO_FOLDS = Check(lambda folds: folds >= 2, "must be at least 2, to train on and to validate on")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result of a training.

    Raises:
        InputError: a value, or a pair of values, that is not possible.
    """

    competition: str
    """The slug of the competition."""
    model: Annotated[str, Option("`unet` or `smp:ARCHITECTURE/ENCODER`, such as smp:Unet/resnet34.", MODEL)] = UNET
    width: Annotated[int, Option("Channels of the U-Net's first block.", MODEL, check=between(1, WIDEST))] = 64
    depth: Annotated[int, Option("How often the U-Net halves the size.", MODEL, check=between(1, DEEPEST))] = 4
    pretrained: Annotated[bool, Option("Start from ImageNet weights (smp models only).", MODEL)] = False
    init: Annotated[
        str | None,
        Option("Start each fold from the same fold of another run.", MODEL, metavar="RUN", parse=path_text),
    ] = None
    extra: Annotated[
        str | None,
        Option("Also train on the masks in this folder, made by `infer`.", DATA, metavar="PRED", parse=path_text),
    ] = None
    """Pseudo-labels: they are added to the training photos of every fold, never to the held-out ones."""
    extra_confidence: Annotated[
        float, Option("Use only masks of --extra with at least this expected Dice.", DATA, check=SHARE)
    ] = 0.99
    image_size: Annotated[
        tuple[int, int] | None,
        Option(
            "Size of the network's input in pixels; `full`: the photo's own.",
            DATA,
            metavar="HxW",
            parse=size_or_full,
            write=size_as_text,
            none=FULL,
            check=SIDES,
        ),
    ] = None
    """(height, width) in pixels; None: the photos' own size."""
    augmentation: Annotated[Augmentation, Option("Random changes of the training photos.", DATA)] = "mild"
    epochs: Annotated[int, Option("Passes over the training photos.", STEPS, check=ABOVE_0)] = 30
    patience: Annotated[
        int | None,
        Option("Early stopping: stop after this many epochs without a better validation Dice.", STEPS, check=ABOVE_0),
    ] = None
    batch_size: Annotated[
        int,
        Option(
            "Photos at once, over all devices; auto: as many as fit.", STEPS, "N|auto", parse=parse_count, check=ABOVE_0
        ),
    ] = 4
    accumulate: Annotated[int, Option("Batches whose gradients make one gradient step.", STEPS, check=ABOVE_0)] = 1
    optimizer: Annotated[Optimizer, Option("The optimiser.", STEPS)] = "adamw"
    lr: Annotated[float, Option("Learning rate; with one-cycle and cosine its peak.", STEPS, check=ABOVE_0)] = 1e-3
    weight_decay: Annotated[float, Option("Weight decay of AdamW and SGD.", STEPS, check=AT_LEAST_0)] = 1e-4
    """Adam has none."""
    schedule: Annotated[Schedule, Option("The learning rate schedule after the warm-up.", STEPS)] = "one-cycle"
    """Constant, or down to zero; `one-cycle` moves the momentum as well."""
    warm_up: Annotated[
        float, Option("Share of the gradient steps in which the learning rate rises.", STEPS, check=SHARE)
    ] = 0.1
    clip_norm: Annotated[float | None, Option("Clip the norm of the gradient to this.", STEPS, check=ABOVE_0)] = None
    ema_decay: Annotated[
        float | None,
        Option("Keep a moving average of the weights (EMA) with this decay, such as 0.999.", STEPS, check=SHARE),
    ] = None
    """The average is what is validated and saved."""
    bce_weight: Annotated[float, Option("Weight of binary cross-entropy in the loss.", LOSS)] = 1.0
    border_weight: Annotated[
        float,
        Option("How much more the cross-entropy counts near the outline; 1: twice as much.", LOSS, check=AT_LEAST_0),
    ] = 0.0
    border_width: Annotated[
        int, Option("Distance in pixels that counts as near the outline, on either side.", LOSS, check=AT_LEAST_0)
    ] = 5
    """Pixels of the network's input."""
    dice_weight: Annotated[float, Option("Weight of soft Dice in the loss.", LOSS)] = 1.0
    lovasz_weight: Annotated[float, Option("Weight of the Lovasz hinge in the loss.", LOSS)] = 0.0
    precision: Annotated[Precision, Option("Arithmetic; auto: 16 bits where the GPU has them.", STEPS)] = "auto"
    """`auto`: bfloat16 where the GPU has it, float16 with loss scaling on other GPUs, float32 elsewhere."""
    tta: Annotated[Tta, Option("Flips over which out-of-fold probabilities are averaged.", STEPS)] = "hflip"
    """Test photos are averaged over the same flips where nothing else is asked for."""
    tta_scales: Annotated[
        tuple[float, ...],
        Option(
            "Factors of the image size over which probabilities are averaged.",
            STEPS,
            "0.75,1,…",
            parse=parse_numbers,
            check=SCALES,
        ),
    ] = (1.0,)
    folds: Annotated[int, Option("Folds into which the groups (cars) are split.", DATA, check=TWO_FOLDS)] = 5
    seed: Annotated[
        int, Option("Seed of folds, weights, order and augmentation.", STEPS, check=between(0, 2**32 - 1))
    ] = 0
    """As NumPy takes it."""

    def __post_init__(self) -> None:
        check_options(self)
        self._require_a_loss()
        self._require_one_start()

    def takes_sizes(self, sizes: set[tuple[int, int]]) -> bool:
        """Whether photos of these sizes, (height, width), can stand in one batch."""
        return self.image_size is not None or self.batch_size == 1 or len(sizes) == 1

    def _require_a_loss(self) -> None:
        weights = (self.bce_weight, self.dice_weight, self.lovasz_weight)
        if min(weights) < 0 or max(weights) <= 0:
            raise InputError("--bce-weight, --dice-weight and --lovasz-weight: none below 0, not all 0")
        if self.border_weight > 0 and self.bce_weight <= 0:
            raise InputError("--border-weight: weighs the BCE, so --bce-weight must be above 0")
        if self.border_weight > 0 and self.border_width <= 0:
            raise InputError("--border-weight: needs a --border-width above 0")

    def _require_one_start(self) -> None:
        if self.model == UNET and self.pretrained:
            raise InputError("--pretrained: there are no pretrained weights for `unet`; take an smp model instead")
        if self.init and self.pretrained:
            raise InputError("--init and --pretrained: the weights can start from only one of them")


@dataclass(frozen=True)
class Execution:
    """How a training is carried out: what decides its speed and what is kept beside it, but not its result.

    Raises:
        InputError: a value that is not possible.
    """

    devices: Annotated[str, Option("How many GPUs to use; `0,1` for these two.", MACHINE, check=DEVICES)] = "auto"
    """As Lightning takes it."""
    nodes: Annotated[int, Option("How many machines take part in each fold.", MACHINE, minimum=1)] = 1
    parallel_folds: Annotated[bool, Option("Train one fold on each GPU.", MACHINE, names="--parallel-folds")] = False
    workers: Annotated[
        int,
        Option(
            "Processes that load photos, for each device.", MACHINE, minimum=0, check=WORKERS, default=WORKERS_IN_WORDS
        ),
    ] = DEFAULT_WORKERS
    cache: Annotated[
        str | None, Option("Keep resized photos in this folder, to load them faster.", MACHINE, "DIR", parse=path_text)
    ] = None
    compiled: Annotated[bool, Option("Compile the network; meant for GPUs.", MACHINE, names="--compile")] = False
    recompute: Annotated[
        int, Option("Gradient checkpointing: of so many U-Net levels, the largest first.", MACHINE, minimum=0)
    ] = 0
    """Instead of keeping their features for the backward pass; the weights have the same bits."""
    max_hours: Annotated[
        float | None, Option("Begin no epoch that would end after so many hours; exit code 75.", MACHINE, minimum=0)
    ] = None
    pictures_every: Annotated[
        int, Option("Log outlines on held-out photos every N epochs; 0: never.", BESIDE, minimum=0)
    ] = 0
    wandb: Annotated[str | None, Option("Log to Weights & Biases as well.", BESIDE, metavar="PROJECT")] = None
    save_oof_probabilities: Annotated[
        bool, Option("Keep out-of-fold probabilities.", BESIDE, names="--save-oof-probabilities")
    ] = False
    """As 8-bit images."""
    report: Annotated[bool, Option("Write RUN/report.html at the end.", BESIDE, names="--report/--no-report")] = True

    def __post_init__(self) -> None:
        check_options(self)
        if self.recompute and self.compiled:
            raise InputError("--recompute and --compile: give one; a compiled network decides itself what to keep")


ANY = ""
"""In the place of a competition in a preset."""

PRESETS = {
    # What won: the whole photo, BCE + Dice, mild augmentation. For a large GPU; elsewhere give --image-size.
    "carvana": TrainingConfig(ANY),
    # The write-up that this project started from.
    "seed": TrainingConfig(
        ANY,
        image_size=(160, 240),
        augmentation="seed",
        epochs=10,
        batch_size=32,
        optimizer="adam",
        lr=1e-4,
        schedule="constant",
        warm_up=0.0,
        dice_weight=0.0,
        tta="none",
    ),
    # A few minutes for the drawn demo on two CPU cores.
    "demo": TrainingConfig(ANY, width=8, image_size=(160, 240), augmentation="hflip", epochs=14, batch_size=8, lr=5e-3),
    # Under an hour for one fold of 1,664 photos on two CPU cores: too short for more augmentation to pay off.
    "laptop": TrainingConfig(
        ANY,
        width=16,
        image_size=(256, 384),
        augmentation="hflip",
        epochs=6,
        batch_size=2,
        lr=1e-3,
        ema_decay=0.998,
    ),
}
"""The presets by name."""

DEFAULT_PRESET = "carvana"
"""It has the defaults of the fields."""

PATHS = ("init", "extra")
"""The settings that are paths of folders."""
CONFIG_OPTIONS = options_of(TrainingConfig, preset=DEFAULT_PRESET)
EXECUTION_OPTIONS = options_of(Execution)


def check_setting(name: str, value: Any) -> None:
    """Check a value wherever it was read as `TrainingConfig` checks its field of this name.

    Raises:
        InputError: it is not possible.
        TypeError: it is not of the field's type.
    """
    next(option for option in CONFIG_OPTIONS if option.name == name).check(value)


def config_from(preset: str, competition: str, options: Mapping[str, Any]) -> TrainingConfig:
    """A preset's configuration, with `options`, fields by name, in the place of its own.

    Raises:
        InputError: there is no such preset, or an option is not possible.
    """
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: not known; the presets are {', '.join(PRESETS)}")
    return replace(PRESETS[preset], competition=competition, **options)


def config_of_settings(settings: Mapping[str, Any]) -> TrainingConfig:
    """The configuration that a `config.json` holds as its `settings`.

    Paths that an older version recorded as they were typed are taken as if they were typed here.

    Raises:
        InputError: a setting is not known, or not possible.
    """
    known = {field.name for field in fields(TrainingConfig)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise InputError(f"settings that this version does not know: {', '.join(unknown)}")
    typed = {name: path for name in PATHS if isinstance(path := settings.get(name), str)}
    paths = {name: path_text(name, path) for name, path in typed.items()}
    try:
        return TrainingConfig(**tuples({**settings, **paths}))
    except TypeError as error:
        raise InputError(f"settings that are not possible: {error}") from error


def settings_of(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as JSON knows it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def tuples(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that were read from JSON, which knows only lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}
