import dataclasses
import json
from typing import get_args, get_type_hints

import pytest

from kaggle_tools.config.presets import PRESETS, config_from
from kaggle_tools.config.recorded import config_of_settings, settings_of
from kaggle_tools.config.training import DEFAULT_PRESET, TrainingConfig
from kaggle_tools.errors import InputError

SLUG = "roof-tiles"


def test_preset_seed_has_the_settings_of_the_write_up() -> None:
    config = config_from("seed", SLUG, {})
    assert config.competition == SLUG
    assert (config.model, config.width, config.depth, config.pretrained) == ("unet", 64, 4, None)
    assert (config.image_size, config.epochs, config.batch_size) == ((160, 240), 10, 32)
    assert (config.optimizer, config.lr, config.schedule) == ("adam", 1e-4, "constant")
    assert (config.bce_weight, config.dice_weight) == (1.0, 0.0)
    assert (config.augmentation, config.tta, config.tta_scales) == ("seed", "none", (1.0,))


def test_the_default_preset_has_the_winners_augmentation_and_loss_on_the_whole_photo() -> None:
    config = config_from(DEFAULT_PRESET, SLUG, {})
    assert config == TrainingConfig(SLUG)
    assert (config.augmentation, config.bce_weight, config.dice_weight) == ("mild", 1.0, 1.0)
    assert (config.tta, config.tta_scales) == ("hflip", (1.0,))
    assert config.image_size is None


def test_an_option_replaces_the_value_of_the_preset() -> None:
    config = config_from("seed", SLUG, {"epochs": 3, "image_size": None, "seed": 5})
    assert (config.epochs, config.image_size, config.seed) == (3, None, 5)
    assert config == dataclasses.replace(config_from("seed", SLUG, {}), epochs=3, image_size=None, seed=5)


def test_a_preset_is_not_changed_by_the_options_of_one_run() -> None:
    before = config_from("seed", SLUG, {})
    config_from("seed", SLUG, {"epochs": 3})
    assert config_from("seed", SLUG, {}) == before


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_valid_configuration(preset: str) -> None:
    config = config_from(preset, SLUG, {})
    hints = get_type_hints(TrainingConfig)
    for name, value in dataclasses.asdict(config).items():
        allowed = get_args(hints[name])
        if allowed and all(isinstance(choice, str) for choice in allowed):
            assert value in allowed, name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_the_same_after_writing_and_reading(preset: str) -> None:
    config = config_from(preset, SLUG, {})
    assert config_of_settings(json.loads(json.dumps(settings_of(config)))) == config


def test_an_unknown_preset_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(InputError, match=f"--preset sed: not known; the presets are {', '.join(PRESETS)}"):
        config_from("sed", SLUG, {})
