import json
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from known_competitions import CARVANA
from little_memory import as_on_a_gpu, limit_memory

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.models import probe
from kaggle_tools.results import run_folder
from kaggle_tools.system import processes
from kaggle_tools.system.hardware import GIB
from kaggle_tools.training.plan import batch
from kaggle_tools.training.plan.batch import automatic_batch_size, batches_of, needed_bytes, planned
from kaggle_tools.training.task import SegmentationTask

HERE = Execution(devices="1", workers=0)
PHOTO = 16 * 24
"""Pixels."""


@pytest.fixture
def config(tiles: Competition) -> TrainingConfig:
    tiny = {"width": 4, "depth": 2, "image_size": (16, 24), "epochs": 3, "batch_size": 8, "lr": 1e-2}
    return config_from("demo", tiles.slug, tiny)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return as_on_a_gpu(monkeypatch)


@pytest.mark.parametrize(
    ("asked", "fit", "taken"),
    [
        ((8, 1), 8, (8, 1)),
        ((8, 1), 7, (4, 2)),
        ((8, 3), 3, (2, 12)),
        ((6, 1), 5, (3, 2)),
        ((7, 2), 6, (1, 14)),
        ((8, 1), 0, (8, 1)),  # refused, with advice, when it is trained
    ],
)
@pytest.mark.usefixtures("gpus")
def test_the_largest_part_of_the_batch_that_fits_is_taken_and_as_many_photos_make_a_step(
    asked: tuple[int, int],
    fit: int,
    taken: tuple[int, int],
    config: TrainingConfig,
    photos: list[Photo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    limit_memory(monkeypatch, fit * PHOTO)
    config = replace(config, batch_size=asked[0], accumulate=asked[1])
    assert planned(tmp_path, photos, config, HERE) == replace(config, batch_size=taken[0], accumulate=taken[1])
    said = capsys.readouterr().err
    assert ("do not fit into the GPU" in said) is (asked != taken)
    if asked != taken:
        assert said == (
            f"warning: {asked[0]} photos do not fit into the GPU's memory: --batch-size {taken[0]} "
            f"--accumulate {taken[1]} is taken. As many photos make a gradient step, and the "
            "gradient is the same but for what is pooled over "
            "the photos at once: normalisation statistics, the Dice and Lovasz losses; --recompute 3 takes half the "
            "memory, for the same weights\n"
        )


def test_the_share_of_each_of_several_devices_is_tried(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[str]
) -> None:
    """On the GPU that is this process's own, of those that were named."""
    tried = limit_memory(monkeypatch, 3 * PHOTO)
    monkeypatch.setattr(processes, "visible_gpus", lambda devices: "0123" if devices == "auto" else devices.split(","))
    monkeypatch.setenv("LOCAL_RANK", "1")
    found = planned(tmp_path, photos, config, Execution(devices="2,3"))
    assert (found.batch_size, found.accumulate, gpus) == (4, 2, ["3"])
    assert tried == [4, 2, 2]
    monkeypatch.delenv("LOCAL_RANK")
    found = planned(tmp_path, photos, config, Execution(devices="2,3", parallel_folds=True))
    assert (found.batch_size, found.accumulate, gpus) == (2, 4, ["3", "0"])
    odd = replace(config, batch_size=7)  # which two cannot share; refused when it is trained
    assert planned(tmp_path, photos, odd, Execution(devices="2,3")) == odd


@pytest.mark.usefixtures("gpus")
def test_photos_that_the_network_needs_at_once_are_not_taken_apart(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DeepLabV3Plus, whose smallest features would be a batch of one value in its normalisation."""
    tried = limit_memory(monkeypatch, 0)
    config = replace(config, model="smp:DeepLabV3Plus/tu-mobilenetv3_small_050", image_size=(32, 32), batch_size=4)
    assert planned(tmp_path, photos, config, HERE) == config
    assert tried == [4, 2]
    with pytest.raises(InputError, match="^--batch-size auto: out of memory with 2 photos of 32x32;"):
        automatic_batch_size(tmp_path, photos, config, HERE)
    assert tried == [4, 2, 2]


@pytest.mark.usefixtures("gpus")
def test_of_photos_of_several_sizes_the_largest_is_tried(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = replace(photos[3], size=(20, 60))
    limit_memory(monkeypatch, 20 * 60)
    config = replace(config, image_size=None, batch_size=2)
    assert planned(tmp_path, photos, config, HERE).batch_size == 2
    assert planned(tmp_path, [*photos, wide], config, HERE).batch_size == 1


@pytest.mark.parametrize(("options", "copies"), [({}, 1), ({"ema_decay": 0.9}, 2)])
def test_what_a_training_holds_beside_a_step_is_held_while_it_is_tried(
    options: dict[str, Any], copies: int, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients that are accumulated, averaged weights, those that two processes exchange, and the reserve."""
    held: list[int] = []
    empty_like, empty = torch.empty_like, torch.empty
    monkeypatch.setattr(batch, "RESERVE", 1_000_000)

    def counted(size: Any, **how: Any) -> torch.Tensor:
        held.append(size if size == batch.RESERVE else 0)
        return empty(size, **how)

    weights = 4 * sum(weight.numel() for weight in batch.untrained(config, HERE).parameters())
    for ranks in (1, 2):
        held.clear()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", counted)
            patch.setattr(torch, "empty_like", lambda one: (held.append(one.nbytes), empty_like(one))[1])
            batch.tried(batch.first_that_fits, [1], replace(config, **options), (16, 24), HERE, ranks)
        assert sum(held) == 1_000_000 + (copies + ranks - 1) * weights


@pytest.mark.usefixtures("gpus")
class TestARunThatWasBegun:
    """With two photos at once, as the GPU held no more, where eight were asked for."""

    @pytest.fixture
    def run(self, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        with monkeypatch.context() as patch:
            limit_memory(patch, 2 * PHOTO)
            used = planned(tmp_path, photos, config, HERE)
        run_folder.write_config(tmp_path, used, tmp_path, "train", batches_of(config))
        (tmp_path / "fold0").mkdir()
        (tmp_path / "fold0" / "model.json").touch()
        return tmp_path

    def test_goes_on_as_it_was_whatever_fits_now(
        self, run: Path, config: TrainingConfig, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried = limit_memory(monkeypatch, 99 * PHOTO)
        used = replace(config, batch_size=2, accumulate=4)
        assert planned(run, photos, config, HERE) == used
        assert planned(run, photos, used, HERE) == used
        assert tried == []

    @pytest.mark.parametrize(
        "other",
        [
            {"batch_size": 4, "accumulate": 2},
            {"batch_size": 1, "accumulate": 8},
            {"batch_size": 8, "accumulate": 2},
            {"lr": 0.5},
        ],
        ids=str,
    )
    def test_refuses_all_other_settings(
        self, run: Path, config: TrainingConfig, photos: list[Photo], other: dict[str, Any]
    ) -> None:
        found = planned(run, photos, replace(config, **other), HERE)
        with pytest.raises(InputError, match="begun with other settings"):
            run_folder.write_config(run, found, run, "train")

    def test_names_what_is_damaged_in_its_record(self, run: Path, config: TrainingConfig, photos: list[Photo]) -> None:
        path = run / "config.json"
        path.write_text(path.read_text().replace('"batch_size": 2', '"batch_size": "two"'))
        with pytest.raises(InputError, match="settings that are not possible|--batch-size two"):
            planned(run, photos, config, HERE)

    def test_is_planned_anew_where_nothing_was_trained_with_other_settings(
        self, run: Path, config: TrainingConfig, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (run / "fold0" / "model.json").unlink()
        tried = limit_memory(monkeypatch, 4 * PHOTO)
        found = planned(run, photos, replace(config, lr=0.5), HERE)
        assert (found.batch_size, found.accumulate) == (4, 2)
        assert tried == [8, 4, 4]


def train_once(run: Path, photos: list[Photo], config: TrainingConfig, monkeypatch: Any, fit: int) -> TrainingConfig:
    """What the command does before it trains, on a GPU that holds so many photos."""
    with monkeypatch.context() as patch:
        limit_memory(patch, fit * PHOTO)
        used = planned(run, photos, config, HERE)
    asked = batches_of(config)
    run_folder.write_config(run, used, run, "train", asked if asked != batches_of(used) else None)
    return used


@pytest.mark.usefixtures("gpus")
class TestARunInWhichNothingWasTrained:
    def test_is_planned_anew_where_nothing_fitted_before(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where another program had the GPU."""
        assert train_once(tmp_path, photos, config, monkeypatch, 0) == config
        assert batches_of(train_once(tmp_path, photos, config, monkeypatch, 2)) == {"batch_size": 2, "accumulate": 4}
        assert train_once(tmp_path, photos, config, monkeypatch, 8) == config

    def test_is_planned_on_a_gpu_where_it_was_begun_on_a_processor(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_folder.write_config(tmp_path, config, tmp_path, "train")
        assert batches_of(train_once(tmp_path, photos, config, monkeypatch, 2)) == {"batch_size": 2, "accumulate": 4}

    def test_of_processes_that_are_started_together_is_planned_by_the_first_that_comes(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        used = train_once(tmp_path, photos, config, monkeypatch, 2)
        monkeypatch.setattr(batch, "is_started_by_others", lambda: True)
        assert train_once(tmp_path, photos, config, monkeypatch, 8) == used


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("where", ["the weights", "what is held beside"])
def test_a_gpu_that_has_no_room_for_the_weights_is_left_to_the_training_to_explain(
    where: str, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    if where == "the weights":
        monkeypatch.setattr(SegmentationTask, "to", full)
    else:
        monkeypatch.setattr(torch, "empty_like", full)
    assert planned(tmp_path, photos, config, HERE) == config


@pytest.mark.usefixtures("gpus")
def test_a_batch_of_more_photos_than_there_are_is_tried_with_those_that_there_are(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 13 in five folds, 11 are trained on. Accumulated in parts, they make the same gradient step."""
    config = replace(config, batch_size=64)
    assert planned(tmp_path, photos, config, HERE) == config
    tried = limit_memory(monkeypatch, 11 * PHOTO)
    assert planned(tmp_path, photos, config, HERE) == config
    assert tried == [11, 11]
    with monkeypatch.context() as patch:
        limit_memory(patch, 10 * PHOTO)
        assert batches_of(planned(tmp_path, photos, config, HERE)) == {"batch_size": 1, "accumulate": 11}


def test_settings_that_one_asked_for_oneself_are_not_taken_for_those_that_memory_led_to(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path
) -> None:
    run_folder.write_config(tmp_path, replace(config, batch_size=2, accumulate=4), tmp_path, "train")
    (tmp_path / "fold0").mkdir()
    (tmp_path / "fold0" / "model.json").touch()
    assert planned(tmp_path, photos, config, HERE) == config
    assert "asked" not in json.loads((tmp_path / "config.json").read_text())


class TestAutomaticBatchSize:
    @pytest.mark.parametrize(("fit", "found"), [(1, 1), (3, 2), (7, 4), (99, 8)])
    def test_is_the_largest_power_of_two_that_fits_and_not_more_than_there_are_photos(
        self,
        fit: int,
        found: int,
        config: TrainingConfig,
        photos: list[Photo],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        gpus: list[str],
        capsys: Any,
    ) -> None:
        limit_memory(monkeypatch, fit * PHOTO)
        assert automatic_batch_size(tmp_path, photos, config, HERE) == found
        photos_fit = "photo fits" if found == 1 else "photos fit"
        assert capsys.readouterr().out == f"batch size: {found} {photos_fit}\n"

    @pytest.mark.usefixtures("gpus")
    def test_of_a_run_is_the_one_that_it_was_begun_with(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path
    ) -> None:
        run_folder.write_config(tmp_path, replace(config, batch_size=5), tmp_path, "train")
        assert automatic_batch_size(tmp_path, photos, config, HERE) == 5

    def test_of_a_run_that_memory_led_is_the_one_that_was_asked_for(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path
    ) -> None:
        """So that what memory led to is known again."""
        asked = {"batch_size": 8, "accumulate": 1}
        run_folder.write_config(tmp_path, replace(config, batch_size=2, accumulate=4), tmp_path, "train", asked)
        assert automatic_batch_size(tmp_path, photos, config, HERE) == 8

    @pytest.mark.usefixtures("gpus")
    def test_that_not_one_photo_fits_is_said_of_one_photo(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limit_memory(monkeypatch, 10)
        with pytest.raises(InputError) as raised:
            automatic_batch_size(tmp_path, photos, config, HERE)
        assert str(raised.value) == (
            "--batch-size auto: out of memory with 1 photo of 16x24; give a smaller --image-size or --crop; "
            "--recompute 3 takes half the memory, for the same weights"
        )

    def test_is_searched_on_one_gpu_alone(
        self, config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refused = pytest.raises(InputError, match="--batch-size auto: needs one GPU")
        with refused:  # on a processor
            automatic_batch_size(tmp_path, photos, config, HERE)
        as_on_a_gpu(monkeypatch)
        with refused:
            automatic_batch_size(tmp_path, photos, config, Execution(devices="2"))


def test_a_trial_that_is_killed_is_said_and_ends_nothing(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def killed(*_: object) -> None:
        raise BrokenProcessPool

    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(batch, "on_a_gpu", killed)
    assert planned(tmp_path, photos, config, HERE) == config
    assert "was ended by a signal: it is not known whether the batch fits" in capsys.readouterr().err


def test_on_a_processor_nothing_is_tried(
    config: TrainingConfig, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "on_a_gpu", lambda *_: pytest.fail("tried"))
    monkeypatch.setattr(probe, "smallest_batch", lambda *_: pytest.fail("tried"))
    assert planned(tmp_path, photos, config, HERE) == config


class TestLittleMainMemory:
    """The default preset with whole photos in float32, on tensors without contents."""

    config = config_from("carvana", CARVANA.slug, {"precision": "32-true"})
    photos = (Photo("a", Path(), (1280, 1918), None),)

    def test_what_a_step_holds_is_what_each_level_keeps_of_each_photo(self) -> None:
        """In features of 64 channels at 1280x1920, to which it is padded; each level has half as many as the one above.

        Two for each of four layers, two where the skip joins; below the first level half a one that was pooled, and
        whence its values came, in 8 bytes each; the lowest has no way up. And the photo in colours, and the weights,
        their gradients and two averages.
        """
        features, weights = 4 * 64 * 1280 * 1920, 4 * 31_037_633
        levels = 10 + (10.5 + 1) * (1 / 2 + 1 / 4 + 1 / 8) + (4 + 0.5 + 1) / 16
        for photos in (1, 4):
            config = replace(self.config, batch_size=photos)
            expected = photos * features * (levels + 3 / 64) + 4 * weights
            assert needed_bytes(config, (1280, 1918), HERE) == pytest.approx(expected, rel=1e-4)
            assert needed_bytes(config, (1280, 1918), replace(HERE, recompute=5)) < expected / 2

    @pytest.mark.parametrize(("gib", "warned"), [(24, True), (64, False)])
    def test_a_machine_whose_system_would_end_the_training_is_warned(
        self, gib: int, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        monkeypatch.setattr(batch, "memory_bytes", lambda: gib * GIB)
        batch.warn_of_little_memory(self.photos, self.config, HERE)
        said = capsys.readouterr().err
        assert ("GiB by computation, and this machine has 24 GiB of memory: the system may end it" in said) is warned
        monkeypatch.setattr(batch, "best_device", lambda: torch.device("cuda"))
        batch.warn_of_little_memory(self.photos, self.config, HERE)
        assert capsys.readouterr().err == ""
