import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaggle_tools.commands import train
from kaggle_tools.competition import CARVANA
from kaggle_tools.config import config_from, settings_of
from kaggle_tools.errors import InputError


def given(**options: Any) -> Any:
    """The context of a command line on which these options were given."""
    names = [name for name in inspect.signature(train.train).parameters if name not in ("context", "fold")]
    return SimpleNamespace(params=dict.fromkeys(names) | options)


def test_options_take_the_place_of_the_presets() -> None:
    options = {"image_size": "32x48", "batch_size": "6", "init": Path("runs/a"), "lr": 0.5}
    assert train.config_of(given(preset="seed", **options), CARVANA) == config_from(
        "seed", CARVANA.slug, {"image_size": (32, 48), "batch_size": 6, "init": "runs/a", "lr": 0.5}
    )


def test_full_size_and_automatic_batches_have_words_of_their_own() -> None:
    config = train.config_of(given(preset="seed", image_size="full", batch_size="auto"), CARVANA)
    assert (config.image_size, config.batch_size) == (None, 32)


@pytest.mark.parametrize("text", ["0", "-2", "four", "1.5"])
def test_a_batch_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--batch-size {text}: must be a whole number above 0, or auto"):
        train.config_of(given(batch_size=text), CARVANA)


def test_scales_are_numbers_with_commas_between_them() -> None:
    config = train.config_of(given(preset="seed", tta_scales="0.75,1,1.25"), CARVANA)
    assert config == config_from("seed", CARVANA.slug, {"tta_scales": (0.75, 1.0, 1.25)})
    assert train.config_of(given(preset="seed"), CARVANA).tta_scales == (1.0,)


@pytest.mark.parametrize("text", ["0", "1,", "half"])
def test_scales_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--tta-scales {text}: must be numbers above 0 with commas between them"):
        train.config_of(given(tta_scales=text), CARVANA)


class TestConfigFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        settings = settings_of(config_from("seed", CARVANA.slug, {"width": 12}))
        (tmp_path / "config.json").write_text(json.dumps({"settings": settings}))
        return tmp_path / "config.json"

    def test_a_run_is_repeated(self, path: Path) -> None:
        assert train.config_of(given(config=path), CARVANA) == config_from("seed", CARVANA.slug, {"width": 12})

    def test_options_take_the_place_of_its_settings(self, path: Path) -> None:
        config = train.config_of(given(config=path, epochs=3), CARVANA)
        assert config == config_from("seed", CARVANA.slug, {"width": 12, "epochs": 3})

    def test_the_scales_of_a_run_are_repeated(self, path: Path) -> None:
        settings = settings_of(config_from("seed", CARVANA.slug, {"tta_scales": (0.5, 1.0)}))
        path.write_text(json.dumps({"settings": settings}))
        assert train.config_of(given(config=path), CARVANA).tta_scales == (0.5, 1.0)

    def test_a_preset_beside_it_is_refused(self, path: Path) -> None:
        with pytest.raises(InputError, match="--preset and --config: give one of them"):
            train.config_of(given(config=path, preset="carvana"), CARVANA)

    @pytest.mark.parametrize("text", ["{}", '{"settings": 3}'])
    def test_a_damaged_one_is_refused(self, path: Path, text: str) -> None:
        path.write_text(text)
        with pytest.raises(InputError, match="config.json: damaged"):
            train.config_of(given(config=path), CARVANA)

    def test_one_of_another_competition_is_refused(self, path: Path) -> None:
        path.write_text(json.dumps({"settings": {"competition": "roof-tiles"}}))
        with pytest.raises(InputError, match=f"config.json: not about --competition {CARVANA.slug}"):
            train.config_of(given(config=path), CARVANA)


def test_what_does_not_change_the_result_reaches_the_processes_of_the_folds() -> None:
    context = given(workers=3, pictures_every=5, compiled=True, save_oof_probabilities=True, wandb="cars")
    assert train.repeated_options(context) == [
        *(
            "--no-report",
            "--workers",
            "3",
            "--pictures-every",
            "5",
            "--compile",
            "--save-oof-probabilities",
            "--wandb",
            "cars",
        )
    ]
