from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kaggle_tools.competition import Competition
from kaggle_tools.config import Execution, config_from
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.models.segmenter import Architecture, Segmenter
from kaggle_tools.results.fold_table import Split
from kaggle_tools.training import fold
from kaggle_tools.training.plan import trial
from kaggle_tools.training.plan.trial import estimated_hours, find_batch_size, trial_steps
from kaggle_tools.training.task import SegmentationTask


class Limited:
    """A training step that runs out of memory above so many pixels."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.seen: list[tuple[int, Size]] = []

    def __call__(self, batch_size: int, size: Size) -> None:
        self.seen.append((batch_size, size))
        if batch_size * size[0] * size[1] > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


def test_a_smaller_batch_is_tried_before_a_smaller_photo() -> None:
    assert trial.what_fits(Limited(3 * 64 * 96), 8, (64, 96)) == (2, (64, 96))
    assert trial.what_fits(Limited(64 * 96), 8, (64, 96)) == (1, (64, 96))


def test_smaller_photos_have_sides_that_every_network_takes() -> None:
    assert trial.what_fits(Limited(200 * 300), 2, (320, 480)) == (1, (160, 256))
    assert trial.what_fits(Limited(300 * 400), 1, (320, 480)) == (1, (256, 384))


def test_where_no_batch_fits_none_is_found() -> None:
    assert trial.what_fits(Limited(10), 4, (64, 96)) is None


class Timed:
    """A training step that takes a microsecond a pixel, and a tenth of a second besides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.seen: list[tuple[int, Size]] = []
        monkeypatch.setattr(trial.time, "perf_counter", lambda: self.now)

    def __call__(self, batch_size: int, size: Size) -> None:
        self.seen.append((batch_size, size))
        self.now += 0.1 + batch_size * size[0] * size[1] / 1e6


def test_the_seconds_per_photo_follow_from_the_first_trial_step_that_takes_long_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0.133, 0.231 and 0.624 seconds: half of that for each photo of 512x512, and 7.5 times the pixels."""
    step = Timed(monkeypatch)
    assert trial.seconds_per_photo(step, (1280, 1536)) == pytest.approx(0.624288 / 2 * 7.5)
    assert list(dict.fromkeys(step.seen)) == [(2, (128, 128)), (2, (256, 256)), (2, (512, 512))]


def test_a_trial_step_on_small_photos_has_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Timed(monkeypatch)
    assert trial.seconds_per_photo(step, (32, 200)) == pytest.approx((0.1 + 2 * 32 * 200 / 1e6) / 2)
    assert step.seen[-1] == (2, (32, 200))


def test_the_seconds_per_photo_follow_from_the_last_trial_step_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    step, limit = Timed(monkeypatch), Limited(2 * 128 * 128)

    def limited(batch_size: int, size: Size) -> None:
        limit(batch_size, size)
        step(batch_size, size)

    assert trial.seconds_per_photo(limited, (256, 256)) == pytest.approx((0.1 + 2 * 128 * 128 / 1e6) / 2 * 4)


def test_a_step_on_photos_that_are_too_small_for_the_network_does_not_end_the_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with Swin at its own size, of which the smaller ones are refused in words of its own."""
    step = Timed(monkeypatch)

    def one_size(batch_size: int, size: Size) -> None:
        assert size == (224, 224), "Input height (128) doesn't match model (224)."
        step(batch_size, size)

    assert trial.seconds_per_photo(one_size, (224, 224)) == pytest.approx((0.1 + 2 * 224 * 224 / 1e6) / 2)


def test_where_no_step_succeeds_there_is_no_estimate(photos: list[Photo], tiles: Competition) -> None:
    def never(*_: object) -> None:
        raise ValueError("no such size")

    assert trial.seconds_per_photo(never, (256, 256)) is None
    config = config_from("demo", tiles.slug, TINY | {"model": "smp:Unet/tu-swin_tiny_patch4_window7_224"})
    assert estimated_hours(photos, config, 1, Execution(devices="1")) is None


def test_sizes_that_the_network_refuses_are_left_out_where_one_that_fits_is_looked_for() -> None:
    def step(batch_size: int, size: Size) -> None:
        if batch_size == 1:
            raise ValueError("Expected more than 1 value per channel when training")
        raise torch.OutOfMemoryError if batch_size > 2 else AssertionError(f"{size}")

    assert trial.what_fits(step, 8, (64, 96)) is None


TINY: dict[str, Any] = {"width": 4, "depth": 2, "image_size": (16, 24), "epochs": 3, "batch_size": 2, "lr": 1e-2}


class TestPasses:
    """What a training brings: 13 photos, of which 8 are trained on."""

    sizes = frozenset({(20, 30), (40, 50)})

    def passes(self, photos: int = 8, devices: str = "1", **options: Any) -> list[tuple[int, Size, bool, str]]:
        config = config_from("demo", "roof-tiles", TINY | options)
        return [tuple(one) for one in trial._passes(config, self.sizes, photos, Execution(devices=devices))]

    def test_the_batch_is_tried_in_training_and_single_photos_in_evaluation_at_each_scale(self) -> None:
        assert self.passes(batch_size=4, tta_scales=(0.5, 2.0)) == [
            (4, (16, 24), True, "--batch-size 4"),
            (1, (16, 24), False, "--image-size"),
            (1, (8, 12), False, "--tta-scales 0.5"),
            (1, (32, 48), False, "--tta-scales 2"),
        ]

    def test_the_batch_is_what_the_photos_and_the_devices_leave_of_it(self) -> None:
        assert self.passes(batch_size=16)[0] == (8, (16, 24), True, "8 photos to train on")
        assert self.passes(batch_size=4, devices="2")[0] == (2, (16, 24), True, "--batch-size 4")
        assert self.passes(batch_size=16, devices="2", photos=3)[0] == (2, (16, 24), True, "3 photos to train on")
        assert self.passes(batch_size=4, devices="4")[0] == (1, (16, 24), True, "--batch-size 4")

    def test_gpus_that_share_the_statistics_of_a_batch_count_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert self.passes(batch_size=4, devices="4")[0] == (4, (16, 24), True, "--batch-size 4")

    def test_photos_of_their_own_sizes_are_each_tried(self) -> None:
        tried = self.passes(image_size=None, batch_size=1)
        assert {one[:3] for one in tried} == {(1, size, training) for size in self.sizes for training in (True, False)}


HERE = Execution(devices="1", workers=0)


class OutOfMemory(nn.Module):
    """Holds so many pixels and no more, as a GPU would."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, kernel_size=1)
        self.pixels = pixels

    def forward(self, images_B3HW: Tensor) -> Tensor:
        if images_B3HW[:, 0].numel() > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore advice.")
        return self.head(images_B3HW)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three photos of the size for training."""
    net = Segmenter(OutOfMemory(3 * 16 * 24), (0.5,) * 3, (1.0,) * 3, multiple=1)
    for module in (fold, trial):
        monkeypatch.setattr(module, "initial_model", lambda *_, **__: (Architecture(), net))


@pytest.mark.usefixtures("little_memory")
class TestMemory:
    def test_out_of_memory_names_the_batch_size_that_would_fit(
        self, photos: list[Photo], tiles: Competition, tmp_path: Path
    ) -> None:
        config = config_from("demo", tiles.slug, TINY | {"batch_size": 4})
        with pytest.raises(InputError) as raised:
            fold.train_fold(tmp_path, 1, tiles, Split(photos[:9], photos[9:]), config, HERE)
        said = str(raised.value)
        assert said.startswith("out of memory with 4 photos of 16x24 (CUDA out of memory. Tried to allocate 2 GiB.).")
        assert (
            "--batch-size 2 --image-size 16x24 would fit; --accumulate 2 keeps 4 photos in each gradient step" in said
        )

    def test_the_largest_batch_size_that_fits_is_found(self, photos: list[Photo], tiles: Competition) -> None:
        config = config_from("demo", tiles.slug, TINY)
        assert find_batch_size(Split(photos[:9], photos[9:]), config, HERE) == 2

    def test_the_search_begins_with_as_many_photos_as_the_network_needs(
        self, photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trial.probe, "smallest_batch", lambda *_: 2)
        tried = []
        forward = OutOfMemory.forward
        monkeypatch.setattr(
            OutOfMemory, "forward", lambda net, images: (tried.append(len(images)), forward(net, images))[1]
        )
        config = config_from("demo", tiles.slug, TINY)
        assert find_batch_size(Split(photos[:9], photos[9:]), config, HERE) == 2
        assert min(tried) == 2

    def test_a_size_of_which_not_one_photo_fits_is_refused_with_one_that_would(
        self, photos: list[Photo], tiles: Competition
    ) -> None:
        config = config_from("demo", tiles.slug, TINY | {"image_size": (64, 96)})
        with pytest.raises(InputError, match="out of memory .*\n--batch-size 1 --image-size 32x32 would fit"):
            find_batch_size(Split(photos[:9], photos[9:]), config, HERE)


def test_trial_steps_leave_the_network_as_it_was(task: SegmentationTask) -> None:
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with trial_steps(task, torch.device("cpu")) as step:
        step(2, (8, 8))
        assert any(not torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    assert all(parameter.grad is None for parameter in task.parameters())


def test_the_estimated_hours_grow_with_epochs_and_folds(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 photos, of which two folds of three are trained on, at half a second each."""
    monkeypatch.setattr(trial, "seconds_per_photo", lambda *_: 0.5)
    config = config_from("demo", tiles.slug, TINY | {"folds": 3, "epochs": 30})
    hours = 0.5 * 13 * (2 / 3) * 30 / 3600
    assert estimated_hours(photos, config, 1, Execution(devices="1")) == pytest.approx(hours)
    assert estimated_hours(photos, config, 5, Execution(devices="1")) == pytest.approx(5 * hours)
    once = replace(config, epochs=1)
    assert estimated_hours(photos, once, 1, Execution(devices="1")) == pytest.approx(hours / 30)
    two = Execution(devices="2")
    assert estimated_hours(photos, config, 1, two) == pytest.approx(hours / 2)


@pytest.mark.parametrize(("image_size", "timed"), [((16, 24), (16, 24)), (None, (20, 30))])
def test_the_estimated_hours_are_those_at_the_size_of_the_training(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch, image_size: Size | None, timed: Size
) -> None:
    """Which is that of the photos, 20x30, where none is given."""
    sizes: list[Size] = []
    monkeypatch.setattr(trial, "seconds_per_photo", lambda _, size: sizes.append(size) or 0.5)
    config = config_from("demo", tiles.slug, TINY | {"image_size": image_size})
    estimated_hours(photos, config, 1, Execution(devices="1"))
    assert sizes == [timed]


def test_the_estimated_hours_of_a_real_step_are_few(photos: list[Photo], tiles: Competition) -> None:
    config = config_from("demo", tiles.slug, TINY)
    assert 0 < estimated_hours(photos, config, 1, Execution(devices="1")) < 1
