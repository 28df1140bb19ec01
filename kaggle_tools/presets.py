"""What decides the result of a training, and the presets: in one place, each by name."""

from dataclasses import dataclass
from typing import Any, Literal

from kaggle_tools.errors import InputError

Augmentation = Literal["none", "hflip", "mild", "seed"]
"""Random changes of the training photos; what each does is in `augment`."""
Tta = Literal["none", "hflip", "flips"]
"""Test-time augmentation, a mean over flips: none, left to right, or that and upside down."""
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "one-cycle"]
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
    image_size: tuple[int, int] | None = None
    """(height, width) in pixels at which the network sees photos; None: their own size."""
    augmentation: Augmentation = "mild"
    epochs: int = 30
    """Passes over the training photos."""
    batch_size: int = 4
    """Photos for each step and device."""
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    """Learning rate; with `one-cycle` its peak."""
    weight_decay: float = 1e-4
    """Of AdamW; Adam has none."""
    schedule: Schedule = "one-cycle"
    """How the learning rate moves: not at all, or up for a tenth of the steps and then down to zero."""
    bce_weight: float = 1.0
    """Weight of the binary cross-entropy in the loss."""
    dice_weight: float = 1.0
    """Weight of the soft Dice in the loss."""
    precision: Precision = "auto"
    """`auto`: bfloat16 where the GPU has it, float16 with scaling on other GPUs, float32 elsewhere."""
    tta: Tta = "hflip"
    """How the out-of-fold photos are predicted."""
    folds: int = 5
    """Into how many parts the groups are split."""
    seed: int = 0
    """Of folds, initial weights, order and augmentation."""

    def __post_init__(self) -> None:
        positive = {name: getattr(self, name) for name in ("width", "depth", "epochs", "batch_size", "lr")}
        for name, value in positive.items():
            _require(value > 0, f"{_option(name)} {value}: must be above 0")
        _require(self.seed >= 0 and self.weight_decay >= 0, "--seed and --weight-decay must not be below 0")
        weights = (self.bce_weight, self.dice_weight)
        _require(min(weights) >= 0 and max(weights) > 0, "--bce-weight and --dice-weight: neither below 0, not both 0")
        no_weights = self.model == "unet" and self.pretrained
        _require(not no_weights, "--pretrained: there are no pretrained weights for `unet`; take an smp model instead")
        _require(self.folds >= 2, f"--folds {self.folds}: must be at least 2, to train on and to validate on")
        _require(self.image_size is None or min(self.image_size) >= 16, "--image-size: each side must be at least 16")


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
        "epochs": 5,
        "batch_size": 4,
        "lr": 2e-3,
    },
}
"""Options that differ from the defaults above, by the name of the preset."""

DEFAULT_PRESET = "carvana"


def config_from(preset: str, competition: str, options: dict[str, Any]) -> TrainingConfig:
    """A preset's configuration, with `options`, fields by name, in the place of its own.

    Raises:
        InputError: there is no such preset, or an option cannot be.
    """
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: not known; the presets are {', '.join(PRESETS)}")
    return TrainingConfig(competition, **PRESETS[preset] | options)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
