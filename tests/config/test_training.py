import dataclasses
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kaggle_tools.config.execution import EXECUTION_OPTIONS, Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.recorded import config_of_settings, setting_as_text, settings_of
from kaggle_tools.config.training import CONFIG_OPTIONS, TrainingConfig
from kaggle_tools.errors import InputError
from kaggle_tools.options import OptionField

SLUG = "roof-tiles"


@pytest.mark.parametrize("image_size", [None, (160, 240)])
def test_sizes_and_scales_are_read_from_the_lists_that_json_makes_of_them(image_size: tuple[int, int] | None) -> None:
    config = config_from("seed", SLUG, {"image_size": image_size, "tta_scales": (0.75, 1.0, 1.5)})
    settings = settings_of(config)
    assert settings["tta_scales"] == [0.75, 1.0, 1.5]
    assert settings["image_size"] == (list(image_size) if image_size else None)
    assert config_of_settings(json.loads(json.dumps(settings))) == config


def test_early_sizes_are_the_sizes_of_the_first_epochs() -> None:
    config = config_from("seed", SLUG, {"early_sizes": ((40, 60, 1), (80, 120, 2)), "epochs": 5})
    assert config.size_by_epoch == [(40, 60), (80, 120), (80, 120), (160, 240), (160, 240)]
    assert config.effort_by_epoch == [1 / 16, 1 / 4, 1 / 4, 1, 1]
    assert config.early_epochs == 3
    settings = settings_of(config)
    assert settings["early_sizes"] == [[40, 60, 1], [80, 120, 2]]
    assert config_of_settings(json.loads(json.dumps(settings))) == config


@pytest.mark.parametrize("image_size", [None, (16, 24)])
def test_without_early_sizes_all_epochs_are_alike(image_size: tuple[int, int] | None) -> None:
    config = config_from("seed", SLUG, {"image_size": image_size, "epochs": 3})
    assert config.size_by_epoch == [image_size] * 3
    assert config.effort_by_epoch == [1, 1, 1]
    assert config.early_epochs == 0


def test_of_photos_larger_than_the_crop_a_part_is_trained_on() -> None:
    config = config_from("seed", SLUG, {"crop": (64, 96), "early_sizes": ((40, 120, 2),), "image_size": (128, 192)})
    assert config.trained_size((1000, 1000)) == (64, 96)
    assert config.cropped((40, 120)) == (40, 96)
    assert config.effort_by_epoch == [0.625] * 2 + [1.0] * 8  # 40 * 96 of 64 * 96 pixels
    whole = replace(config, crop=None)
    assert (whole.trained_size((1000, 1000)), whole.cropped((40, 120))) == ((128, 192), (40, 120))
    assert replace(config, image_size=None, early_sizes=()).trained_size((50, 1000)) == (50, 96)


def test_recorded_settings_without_unshuffle_see_pixels_one_by_one() -> None:
    settings = settings_of(config_from("seed", SLUG, {}))
    del settings["unshuffle"]
    assert config_of_settings(settings).unshuffle == 1


def test_a_decoder_whose_channels_are_smp_s_own_is_said_to_have_the_default_ones() -> None:
    assert setting_as_text("decoder_channels", []) == "default"
    assert setting_as_text("decoder_channels", [64, 32]) == "64,32"


def test_recorded_settings_without_early_sizes_have_none() -> None:
    config = config_from("seed", SLUG, {})
    settings = settings_of(config)
    del settings["early_sizes"]
    assert config_of_settings(settings) == config


def test_recorded_settings_without_scales_have_the_scale_1() -> None:
    settings = settings_of(config_from("seed", SLUG, {}))
    del settings["tta_scales"]
    assert config_of_settings(settings).tta_scales == (1.0,)


def test_recorded_settings_of_another_version_are_refused_and_named() -> None:
    settings = settings_of(config_from("seed", SLUG, {}))
    with pytest.raises(InputError, match="does not know: moon_phase"):
        config_of_settings(settings | {"moon_phase": 0.5})
    with pytest.raises(InputError, match="--epochs 0"):
        config_of_settings(settings | {"epochs": 0})
    with pytest.raises(InputError, match="settings that are not possible"):
        config_of_settings(settings | {"epochs": "many"})
    with pytest.raises(InputError, match="settings that are not possible"):
        config_of_settings(settings | {"tta_scales": 1.0})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"epochs": 0}, "--epochs 0: must be above 0"),
        ({"batch_size": -1}, "--batch-size -1: must be above 0"),
        ({"lr": 0.0}, "--lr 0.0: must be above 0"),
        ({"width": 0}, "--width 0: must be from 1 to 1,024"),
        ({"depth": 0}, "--depth 0: must be from 1 to 10"),
        ({"folds": 1}, "--folds 1: must be at least 2, to train on and to validate on"),
        ({"image_size": (8, 240)}, "--image-size 8x240: each side must be from 16 to 8,192 pixels"),
        ({"width": 1025}, "--width 1025: must be from 1 to 1,024"),
        ({"depth": 11}, "--depth 11: must be from 1 to 10"),
        ({"unshuffle": 0}, "--unshuffle 0: must be from 1 to 8"),
        ({"decoder_channels": (64, 0)}, "--decoder-channels 64,0: must be from 1 to 1,024, at most 10 of them"),
        ({"decoder_channels": (8,) * 11}, "at most 10 of them"),
        ({"unshuffle": 9}, "--unshuffle 9: must be from 1 to 8"),
        ({"image_size": (16, 8193)}, "--image-size 16x8193: each side must be from 16 to 8,192 pixels"),
        ({"tta_scales": (1.0, 4.5)}, "--tta-scales 1,4.5: must be numbers above 0 and up to 4, at most 16 of them"),
        ({"tta_scales": (1.0,) * 17}, "at most 16 of them"),
        ({"accumulate": 0}, "--accumulate 0: must be above 0"),
        ({"patience": 0}, "--patience 0: must be above 0"),
        ({"clip_norm": -1.0}, "--clip-norm -1.0: must be above 0"),
        ({"warm_up": 1.0}, "--warm-up 1.0: must be at least 0 and below 1"),
        ({"ema_decay": 1.0}, "--ema-decay 1.0: must be at least 0 and below 1"),
        ({"seed": -1}, "--seed -1: must be from 0 to 4,294,967,295"),
        ({"border_weight": -1.0}, "--border-weight -1.0: must not be below 0"),
        ({"dice_weight": -1.0}, "--bce-weight, --dice-weight and --lovasz-weight: none below 0, not all 0"),
        ({"bce_weight": 0.0}, "--bce-weight, --dice-weight and --lovasz-weight: none below 0, not all 0"),
        ({"bce_weight": 0.0, "lovasz_weight": 1.0, "border_weight": 2.0}, "--border-weight: weighs the BCE"),
        ({"border_weight": 2.0, "border_width": 0}, "--border-weight: needs a --border-width above 0"),
        ({"optimizer": "adamm"}, "--optimizer adamm: must be one of adam, adamw, sgd"),
        ({"tta": "x"}, "--tta x: must be one of none, hflip, flips"),
        ({"tta_scales": ()}, "--tta-scales : must be numbers above 0"),
        ({"tta_scales": (1.0, 0.0)}, "--tta-scales 1,0: must be numbers above 0"),
        ({"tta_scales": (-0.5, 1.0)}, "--tta-scales -0.5,1: must be numbers above 0"),
        ({"early_sizes": ((16, 24, 2),), "image_size": None}, "--early-sizes 16x24:2: give --image-size HxW, the size"),
        ({"early_sizes": ((16, 24, 9), (32, 48, 1))}, "--early-sizes 16x24:9,32x48:1: 10 of --epochs 10 leave none"),
        ({"early_sizes": ((320, 480, 2),)}, "--early-sizes 320x480:2: none may be larger than --image-size 160x240"),
        ({"early_sizes": ((8, 24, 2),)}, "--early-sizes 8x24:2: each side must be from 16 to 8,192 pixels, at most 16"),
        ({"early_sizes": ((16, 24, 0),)}, "--early-sizes 16x24:0: .* each for at least one epoch"),
        ({"early_sizes": ((16, 24, 1),) * 17, "epochs": 20}, "--early-sizes .*: .* at most 16 sizes"),
        ({"pretrained": "imagenet"}, "--pretrained: there are no pretrained weights for `unet`"),
        ({"model": "smp:Unet/resnet34", "pretrained": "imagenet", "init": "runs/a"}, "--init and --pretrained"),
        ({"frozen_levels": 1, "init": "runs/a"}, "--frozen-levels: is for an encoder of an smp model"),
        ({"frozen_levels": 1, "model": "smp:Unet/resnet34"}, "--frozen-levels: is for an encoder of an smp model"),
        ({"frozen_levels": 6}, "--frozen-levels 6: must be from 0 to 5"),
        ({"crop": (8, 96)}, "--crop 8x96: each side must be from 16 to 8,192 pixels"),
    ],
)
def test_an_impossible_value_of_a_configuration_is_refused_with_the_name_of_its_option(
    option: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        config_from("seed", SLUG, option)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config_from("seed", SLUG, {}).epochs = 3


NUMBERS = [one for one in (*CONFIG_OPTIONS, *EXECUTION_OPTIONS) if "float" in str(one.type)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda one: one.name)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400], ids=["nan", "inf", "-inf", "large"])
def test_a_number_that_is_not_finite_is_refused_for_every_option(number: OptionField, value: float) -> None:
    given = {number.name: (1.0, value) if number.name == "tta_scales" else value}
    make = Execution if number in EXECUTION_OPTIONS else partial(TrainingConfig, SLUG)
    with pytest.raises(InputError, match=rf"^{number.flag} .*: must be a finite number$"):
        make(**given)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda one: one.name)
def test_a_number_that_no_record_could_hold_is_refused_for_every_option(number: OptionField) -> None:
    given = {number.name: (1.0, 1e13) if number.name == "tta_scales" else 1e13}
    make = Execution if number in EXECUTION_OPTIONS else partial(TrainingConfig, SLUG)
    with pytest.raises(InputError, match=rf"^{number.flag} .*: must not be above 1,000,000,000,000$"):
        make(**given)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**12])
def test_a_seed_is_one_that_numpy_takes(seed: int) -> None:
    with pytest.raises(InputError, match=f"^--seed {seed}: must be from 0 to 4,294,967,295$"):
        TrainingConfig(SLUG, seed=seed)
    assert TrainingConfig(SLUG, seed=2**32 - 1).seed == 2**32 - 1


@pytest.mark.parametrize(
    "setting",
    [
        {"width": 8.0},
        {"epochs": 1.5},
        {"epochs": True},
        {"lr": True},
        {"model": 5},
        {"init": 5},
        {"pretrained": 1},
        {"image_size": [24]},
        {"image_size": [24.0, 36.0]},
        {"tta_scales": ["1"]},
        {"lr": None},
    ],
    ids=str,
)
def test_a_setting_of_another_type_is_refused(setting: dict[str, Any]) -> None:
    settings = settings_of(config_from("seed", SLUG, {}))
    with pytest.raises(InputError, match=f"settings that are not possible: {next(iter(setting))} is "):
        config_of_settings(settings | setting)


def test_whole_numbers_are_taken_for_settings_that_are_numbers() -> None:
    settings = settings_of(config_from("seed", SLUG, {}))
    assert config_of_settings(settings | {"lr": 1, "tta_scales": [1, 2]}).tta_scales == (1, 2)


@pytest.mark.parametrize(
    ("recorded", "meant"), [(False, None), (True, "imagenet"), (None, None), ("imagenet", "imagenet")]
)
def test_pretrained_weights_as_earlier_versions_recorded_them_are_understood(
    recorded: object, meant: str | None
) -> None:
    settings = settings_of(config_from("seed", SLUG, {"model": "smp:Unet/resnet34"})) | {"pretrained": recorded}
    assert config_of_settings(settings).pretrained == meant


def test_pretrained_weights_of_a_file_are_recorded_with_the_path_from_the_root_on() -> None:
    (option,) = [one for one in CONFIG_OPTIONS if one.name == "pretrained"]
    assert option.option.parse
    assert option.option.parse("--pretrained", "imagenet") == "imagenet"
    assert option.option.parse("--pretrained", "weights.pth") == str(Path.cwd() / "weights.pth")
