from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoding import counted_decoding

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.listing import Photo
from kaggle_tools.training.plan import loading_time
from kaggle_tools.training.plan.loading_time import seconds_to_load, seconds_with_loading, together

HERE = Execution(devices="1", workers=2)


@pytest.fixture
def config(tiles: Competition) -> TrainingConfig:
    """At 16x24, of photos of 20x30."""
    return config_from("demo", tiles.slug, {"width": 4, "depth": 2, "image_size": (16, 24)})


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight cores and a GPU."""
    monkeypatch.setattr(loading_time, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(loading_time, "CORES", 8)


@pytest.mark.usefixtures("gpu")
class TestOnAGpu:
    @pytest.mark.parametrize(
        ("step", "load", "workers", "trainings", "seconds"),
        [
            (0.5, 0.8, 4, 1, 0.5),  # four workers load a photo in 0.2 seconds
            (0.1, 0.8, 4, 1, 0.2),
            (0.1, 0.8, 16, 1, 0.1),  # eight of them at once
            (0.1, 0.8, 4, 4, 0.4),  # on two cores for each GPU
            (0.1, 0.8, 4, 16, 0.8),
            (0.1, 0.8, 0, 1, 0.9),  # one after the other
        ],
    )
    def test_a_gpu_computes_while_workers_load(
        self, step: float, load: float, workers: int, trainings: int, seconds: float
    ) -> None:
        assert together(step, load, workers, trainings) == pytest.approx(seconds)

    def test_trainings_at_once_and_their_gpus_share_the_cores(
        self, photos: list[Photo], config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading_time, "seconds_to_load", lambda *_: 0.8)
        execution = Execution(devices="2", workers=8)
        assert seconds_with_loading(0.01, photos, config, execution) == pytest.approx(0.8 / 4)
        assert seconds_with_loading(0.01, photos, config, execution, at_once=2) == pytest.approx(0.8 / 2)


def test_on_a_processor_loading_and_steps_take_the_same_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading_time, "CORES", 4)
    assert together(0.5, 0.8, 2, 1) == pytest.approx(0.7)
    assert together(0.5, 0.8, 0, 1) == pytest.approx(1.3)  # one after the other


class TestAdvice:
    """Loading takes as long as the step, with two cores."""

    @pytest.fixture(autouse=True)
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loading_time, "CORES", 2)
        monkeypatch.setattr(loading_time, "seconds_to_load", lambda *_: 0.2)

    def test_a_cache_is_advised_where_loading_holds_the_training_up(
        self, photos: list[Photo], config: TrainingConfig, capsys: Any
    ) -> None:
        assert seconds_with_loading(0.1, photos, config, HERE) == pytest.approx(0.2)
        assert capsys.readouterr().out == (
            "loading photos makes the training 2.0 times as long: --cache DIR keeps them resized, 0.0 GB in a "
            "folder of its own\n"
        )

    @pytest.mark.parametrize(
        ("step", "size", "cache"),
        [
            (1.0, (16, 24), None),  # 1.1 times as long
            (0.1, None, None),
            (0.1, (20, 30), None),  # as large as the photos
            (0.1, (16, 60), None),  # larger, though less high
            (0.1, (16, 24), "a folder"),
        ],
    )
    def test_else_it_is_not(
        self, photos: list[Photo], tiles: Competition, step: float, size: Any, cache: str | None, capsys: Any
    ) -> None:
        config = config_from("demo", tiles.slug, {"image_size": size})
        seconds_with_loading(step, photos, config, Execution(devices="1", cache=cache))
        assert capsys.readouterr().out == ""


class TestSecondsToLoad:
    def test_cached_photos_are_timed_as_they_come_from_the_cache(
        self, photos: list[Photo], config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of 13 photos four, three times each."""
        decoded = counted_decoding(monkeypatch)
        assert seconds_to_load(photos, config, HERE) > 0
        assert len(decoded) == 12
        assert seconds_to_load(photos, config, Execution(devices="1", cache=str(tmp_path / "cache"))) > 0
        assert len(decoded) == 16

    def test_a_photo_that_cannot_be_read_ends_no_estimate(
        self, photos: list[Photo], config: TrainingConfig, tmp_path: Path
    ) -> None:
        (tmp_path / "0.jpg").write_bytes(b"\xff\xd8 cut off")
        assert seconds_to_load([replace(photos[0], path=tmp_path / "0.jpg"), *photos[1:]], config, HERE) == 0
