import json
from typing import Any

import pytest

from kaggle_tools.results.records.run import RunConfig, Settings, Timing
from kaggle_tools.system.json_values import MalformedError

CONFIG = {
    "settings": {"model": "unet", "image_size": [24, 36]},
    "data": "data",
    "command": "train.py --data data",
    "commit": None,
    "versions": {"python": "3.11.7", "timm": None},
    "machine": "Linux",
}
SETTINGS = {
    "competition": "roof-tiles",
    "model": "unet",
    "width": 24,
    "image_size": [24, 36],
    "folds": 5,
    "epochs": 2,
    "tta": "hflip",
    "lr": 0.1,
}


class TestRunConfig:
    def test_a_run_config_is_written_as_it_was_read_with_its_keys_in_order(self) -> None:
        assert json.dumps(RunConfig.from_json(CONFIG).to_json()) == json.dumps(CONFIG)

    def test_all_but_the_settings_may_be_missing_in_config_json(self) -> None:
        config = RunConfig.from_json({"settings": {}})
        assert (config.data, config.command, config.commit, config.versions) == ("", "", None, {})
        assert (config.competition, config.batch_size) == (None, None)

    def test_the_competition_and_the_batch_size_of_a_run_config_are_those_of_its_settings(self) -> None:
        config = RunConfig({"competition": "roof-tiles", "batch_size": 3})
        assert (config.competition, config.batch_size) == ("roof-tiles", 3)
        assert RunConfig({"batch_size": "3"}).batch_size is None

    @pytest.mark.parametrize(
        "wrong", [{"data": 5}, {"commit": 5}, {"versions": ["torch"]}, {"versions": {"torch": 2.1}}, {"settings": []}]
    )
    def test_a_run_config_with_a_value_of_another_type_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(MalformedError):
            RunConfig.from_json({**CONFIG, **wrong})

    def test_when_a_run_was_begun_is_written_as_it_was_read_and_may_be_missing(self) -> None:
        recorded = {**CONFIG, "begun": "2026-11-28T09:48:31+00:00"}
        assert RunConfig.from_json(recorded).to_json() == recorded
        assert RunConfig.from_json(CONFIG).begun == ""


class TestSettings:
    def test_settings_are_read_with_their_types(self) -> None:
        settings = Settings.from_json(SETTINGS)
        assert (settings.image_size, settings.folds, settings.epochs) == ((24, 36), 5, 2)
        assert Settings.from_json({**SETTINGS, "image_size": None}).image_size is None

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [("width", "x"), ("folds", "5"), ("epochs", []), ("tta", None), ("image_size", [24]), ("image_size", 24)],
    )
    def test_settings_with_a_value_of_another_type_are_refused(self, name: str, wrong: object) -> None:
        with pytest.raises(MalformedError):
            Settings.from_json({**SETTINGS, name: wrong})

    @pytest.mark.parametrize(
        ("model", "name"), [("unet", "unet, width 24"), ("smp:Unet/resnet34", "smp:Unet/resnet34")]
    )
    def test_a_model_is_called_by_its_kind_and_a_unet_by_its_width(self, model: str, name: str) -> None:
        assert Settings.from_json({**SETTINGS, "model": model}).model_name == name

    @pytest.mark.parametrize(("unshuffle", "name"), [(1, "unet, width 24"), (2, "unet, width 24, unshuffle 2")])
    def test_a_unet_of_squares_of_pixels_has_another_name(self, unshuffle: int, name: str) -> None:
        assert Settings.from_json({**SETTINGS, "unshuffle": unshuffle}).model_name == name


def test_a_timing_is_written_as_it_was_read_with_its_keys_in_order() -> None:
    recorded = {"training_seconds": 0.6, "epochs": 3, "devices": 1, "precision": "32-true", "hardware": "2 cores"}
    assert json.dumps(Timing.from_json(recorded).to_json()) == json.dumps(recorded)


@pytest.mark.parametrize("wrong", [{"training_seconds": "x"}, {"epochs": None}, {"hardware": 2}])
def test_a_timing_with_a_value_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    good = {"training_seconds": 0.6, "epochs": 3, "devices": 1, "precision": "32-true", "hardware": "2 cores"}
    with pytest.raises(MalformedError):
        Timing.from_json({**good, **wrong})
