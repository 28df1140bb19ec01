"""Configurations of trainings by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.config.values import IMAGENET
from kaggle_tools.errors import InputError

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
    # What an hour on two CPU cores is best spent on, from ImageNet's weights; --budget fits it to other times.
    "pretrained": TrainingConfig(
        ANY,
        model="smp:Unet/timm-tf_efficientnet_lite0",
        pretrained=IMAGENET,
        decoder_channels=(128, 64, 32, 16, 16),
        image_size=(512, 512),
        early_sizes=((352, 352, 3),),
        augmentation="hflip",
        epochs=7,
        batch_size=2,
        lr=1e-3,
        ema_decay=0.998,
    ),
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


def config_from(preset: str, competition: str, options: Mapping[str, Any], classes: int = 1) -> TrainingConfig:
    """A preset's configuration, with `options`, fields by name, in the place of its own.

    `classes` is how many masks a photo of the competition has.

    Raises:
        InputError: there is no such preset, or an option is not possible.
    """
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: not known; the presets are {', '.join(PRESETS)}")
    return replace(PRESETS[preset], competition=competition, classes=classes, **options)
