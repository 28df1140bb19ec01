import json
from pathlib import Path
from typing import Any

import pytest

from kaggle_tools.commands import train
from kaggle_tools.competition import CARVANA
from kaggle_tools.config import CONFIG_OPTIONS, TrainingConfig, config_from, settings_of
from kaggle_tools.errors import InputError
from kaggle_tools.options import applied


def config_of(preset: str | None = None, config: Path | None = None, **options: Any) -> TrainingConfig:
    """What a command line with these options asks for."""
    return applied(train.initial_config(CARVANA, preset, config), CONFIG_OPTIONS, options)


def test_options_of_train_replace_the_values_of_the_preset() -> None:
    options = {"image_size": "32x48", "batch_size": "6", "init": "runs/a", "lr": 0.5}
    assert config_of(preset="seed", **options) == config_from(
        "seed",
        CARVANA.slug,
        {"image_size": (32, 48), "batch_size": 6, "init": str(Path.cwd() / "runs" / "a"), "lr": 0.5},
    )


def test_paths_are_recorded_from_the_root_on() -> None:
    config = config_of(preset="seed", init="runs/a/../b", extra="preds/a")
    assert (config.init, config.extra) == (str(Path.cwd() / "runs" / "b"), str(Path.cwd() / "preds" / "a"))


def test_image_size_full_replaces_the_size_of_the_preset() -> None:
    assert config_of(preset="seed").image_size == (160, 240)
    assert config_of(preset="seed", image_size="full").image_size is None


@pytest.mark.parametrize("text", ["0", "-2", "four", "1.5"])
def test_an_impossible_batch_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--batch-size {text}: must be a whole number above 0, or auto"):
        config_of(batch_size=text)


def test_the_option_tta_scales_takes_numbers_between_commas() -> None:
    config = config_of(preset="seed", tta_scales="0.75,1,1.25")
    assert config == config_from("seed", CARVANA.slug, {"tta_scales": (0.75, 1.0, 1.25)})
    assert config_of(preset="seed").tta_scales == (1.0,)


@pytest.mark.parametrize("text", ["0", "1,", "half"])
def test_impossible_tta_scales_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--tta-scales {text}: must be numbers above 0 with commas between them"):
        config_of(tta_scales=text)


class TestConfigFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        settings = settings_of(config_from("seed", CARVANA.slug, {"width": 12}))
        (tmp_path / "config.json").write_text(json.dumps({"settings": settings}))
        return tmp_path / "config.json"

    def test_a_config_file_repeats_the_settings_of_its_run(self, path: Path) -> None:
        assert config_of(config=path) == config_from("seed", CARVANA.slug, {"width": 12})

    def test_options_replace_the_settings_of_a_config_file(self, path: Path) -> None:
        config = config_of(config=path, epochs=3)
        assert config == config_from("seed", CARVANA.slug, {"width": 12, "epochs": 3})

    def test_a_config_file_repeats_the_scales_of_its_run(self, path: Path) -> None:
        settings = settings_of(config_from("seed", CARVANA.slug, {"tta_scales": (0.5, 1.0)}))
        path.write_text(json.dumps({"settings": settings}))
        assert config_of(config=path).tta_scales == (0.5, 1.0)

    def test_paths_that_a_config_file_holds_as_they_were_typed_are_those_of_the_folder_at_hand(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = settings_of(config_from("seed", CARVANA.slug, {"init": "runs/a"}))
        path.write_text(json.dumps({"settings": settings}))
        monkeypatch.chdir(tmp_path)
        assert config_of(config=path).init == str(tmp_path / "runs" / "a")

    def test_a_preset_beside_a_config_file_is_refused(self, path: Path) -> None:
        with pytest.raises(InputError, match="--preset and --config: give one of them"):
            config_of(config=path, preset="carvana")

    @pytest.mark.parametrize("text", ["{}", '{"settings": 3}'])
    def test_a_damaged_config_file_is_refused(self, path: Path, text: str) -> None:
        path.write_text(text)
        with pytest.raises(InputError, match="config.json: damaged"):
            config_of(config=path)

    def test_a_config_file_of_another_competition_is_refused(self, path: Path) -> None:
        path.write_text(json.dumps({"settings": {"competition": "roof-tiles"}}))
        with pytest.raises(InputError, match=f"config.json: not about --competition {CARVANA.slug}"):
            config_of(config=path)
