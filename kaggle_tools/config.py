"""What decides the result of a training, and the presets: in one place, each by name."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kaggle_tools.errors import InputError, require

Augmentation = Literal["none", "hflip", "mild", "seed"]
"""Random changes of the training photos; what each does is in `augment`."""
Tta = Literal["none", "hflip", "flips"]
"""Test-time augmentation, a mean over flips: none, left to right, or that and upside down."""
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "one-cycle", "cosine"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result of a training; what only decides its speed is not here.

    Raises:
        InputError: a value, or a pair of values, that cannot be.
    """

    competition: str
    """The slug of the competition."""
    model: str = "unet"
    """`unet`, or `smp:ARCHITECTURE/ENCODER`."""
    width: int = 64
    """Channels of the U-Net's first block."""
    depth: int = 4
    """How often the U-Net halves the size."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights (smp models only)."""
    init: str | None = None
    """Folder of a run from whose folds, each from the same one, the weights start."""
    extra: str | None = None
    """Folder of predicted masks that are trained on as well, in every fold."""
    extra_confidence: float = 0.99
    """Of `extra`, only masks with at least this expected Dice."""
    image_size: tuple[int, int] | None = None
    """(height, width) in pixels at which the network sees photos; None: their own size."""
    augmentation: Augmentation = "mild"
    epochs: int = 30
    """Passes over the training photos."""
    patience: int | None = None
    """Stop after this many epochs without a better validation Dice; None: never."""
    batch_size: int = 4
    """Photos that go through the network at once, on all devices together."""
    accumulate: int = 1
    """Batches whose gradients are added up for one step."""
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    """Learning rate; with `one-cycle` and `cosine` its peak."""
    weight_decay: float = 1e-4
    """Of AdamW and SGD; Adam has none."""
    schedule: Schedule = "one-cycle"
    """The learning rate after the warm-up: constant, or down to zero; `one-cycle` moves the momentum as well."""
    warm_up: float = 0.1
    """Share of the steps in which the learning rate rises to its peak."""
    clip_norm: float | None = None
    """The gradient is shortened to this norm; None: never."""
    ema_decay: float | None = None
    """Validate and keep a moving average of the weights that forgets this little each step; None: the weights."""
    bce_weight: float = 1.0
    """Weight of the binary cross-entropy in the loss."""
    border_weight: float = 0.0
    """How much more a pixel near the outline counts in the binary cross-entropy; 1: twice as much."""
    border_width: int = 5
    """How far, in pixels of the network's input, the outline reaches to either side."""
    dice_weight: float = 1.0
    """Weight of the soft Dice in the loss."""
    lovasz_weight: float = 0.0
    """Weight of the Lovasz hinge, a bound on the IoU, in the loss."""
    precision: Precision = "auto"
    """`auto`: bfloat16 where the GPU has it, float16 with scaling on other GPUs, float32 elsewhere."""
    tta: Tta = "hflip"
    """The flips over which out-of-fold photos are averaged, and test photos where nothing else is asked for."""
    tta_scales: tuple[float, ...] = (1.0,)
    """The factors of `image_size` over which they are averaged."""
    folds: int = 5
    """Into how many parts the groups are split."""
    seed: int = 0
    """Of folds, initial weights, order and augmentation."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "epochs", "patience", "batch_size", "accumulate", "lr", "clip_norm"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{_option(name)} {value}: must be above 0")
        for name in ("seed", "weight_decay", "border_weight", "border_width"):
            require(getattr(self, name) >= 0, f"{_option(name)} {getattr(self, name)}: must not be below 0")
        for name in ("warm_up", "ema_decay", "extra_confidence"):
            value = getattr(self, name)
            require(value is None or 0 <= value < 1, f"{_option(name)} {value}: must be at least 0 and below 1")
        for name, hint in get_type_hints(TrainingConfig).items():
            choices = get_args(hint)
            if get_origin(hint) is Literal:
                value = getattr(self, name)
                require(value in choices, f"{_option(name)} {value}: must be one of {', '.join(choices)}")
        possible = bool(self.tta_scales) and all(0 < scale < math.inf for scale in self.tta_scales)
        require(possible, f"--tta-scales {self.tta_scales}: must be numbers above 0")
        require(self.folds >= 2, f"--folds {self.folds}: must be at least 2, to train on and to validate on")
        require(self.image_size is None or min(self.image_size) >= 16, "--image-size: each side must be at least 16")
        self._require_a_loss()
        self._require_one_start()

    def takes_sizes(self, sizes: set[tuple[int, int]]) -> bool:
        """Whether photos of these sizes, (height, width), can stand in one batch."""
        return self.image_size is not None or self.batch_size == 1 or len(sizes) == 1

    def _require_a_loss(self) -> None:
        weights = (self.bce_weight, self.dice_weight, self.lovasz_weight)
        options = "--bce-weight, --dice-weight and --lovasz-weight"
        require(min(weights) >= 0 and max(weights) > 0, f"{options}: none below 0, not all 0")
        bordered = self.border_weight > 0
        require(not bordered or self.bce_weight > 0, "--border-weight: weighs the BCE, so --bce-weight must be above 0")
        require(not bordered or self.border_width > 0, "--border-weight: needs a --border-width above 0")

    def _require_one_start(self) -> None:
        require(
            not (self.model == "unet" and self.pretrained),
            "--pretrained: there are no pretrained weights for `unet`; take an smp model instead",
        )
        require(not (self.init and self.pretrained), "--init and --pretrained: the weights can start from one only")


PRESETS: dict[str, dict[str, Any]] = {
    # What won: the whole photo, BCE + Dice, mild augmentation. For a large GPU; elsewhere give --image-size.
    "carvana": {},
    # The write-up that this project started from.
    "seed": {
        "image_size": (160, 240),
        "augmentation": "seed",
        "epochs": 10,
        "batch_size": 32,
        "optimizer": "adam",
        "lr": 1e-4,
        "schedule": "constant",
        "warm_up": 0.0,
        "dice_weight": 0.0,
        "tta": "none",
    },
    # A few minutes for the drawn demo on two CPU cores.
    "demo": {
        "width": 8,
        "image_size": (160, 240),
        "augmentation": "hflip",
        "epochs": 14,
        "batch_size": 8,
        "lr": 5e-3,
    },
    # Under an hour for one fold of 1,664 photos on two CPU cores: too short for more augmentation to pay.
    "laptop": {
        "width": 16,
        "image_size": (256, 384),
        "augmentation": "hflip",
        "epochs": 6,
        "batch_size": 2,
        "lr": 1e-3,
        "ema_decay": 0.998,
    },
}
"""Options that differ from the defaults above, by the name of the preset."""

DEFAULT_PRESET = "carvana"


def config_from(preset: str, competition: str, options: dict[str, Any]) -> TrainingConfig:
    """A preset's configuration, with `options`, fields by name, in the place of its own.

    Raises:
        InputError: there is no such preset, or an option cannot be.
    """
    require(preset in PRESETS, f"--preset {preset}: not known; the presets are {', '.join(PRESETS)}")
    return TrainingConfig(competition, **PRESETS[preset] | options)


def config_of_settings(settings: dict[str, Any]) -> TrainingConfig:
    """The configuration that a `config.json` holds as its `settings`.

    Raises:
        InputError: a setting is not known, or cannot be.
    """
    known = {field.name for field in fields(TrainingConfig)}
    strange = sorted(settings.keys() - known)
    require(not strange, f"settings that this version does not know: {', '.join(strange)}")
    try:
        return TrainingConfig(**tuples(settings))
    except TypeError as error:
        raise InputError(f"settings that cannot be: {error}") from error


def settings_of(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as JSON knows it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that were read from JSON, which knows only lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
