from dataclasses import replace
from typing import Any

import pytest
import torch
from known_competitions import CARVANA

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.models import unet
from kaggle_tools.models.unet import recomputed
from kaggle_tools.training.plan import hours
from kaggle_tools.training.plan.hours import announce, busiest, estimated_hours, seconds_per_photo
from kaggle_tools.training.task import SegmentationTask

TINY: dict[str, Any] = {"width": 4, "depth": 2, "image_size": (16, 24), "epochs": 3, "batch_size": 2, "lr": 1e-2}


class Timed:
    """A training step that takes a microsecond a pixel, and a tenth of a second besides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.seen: list[tuple[int, Size]] = []
        monkeypatch.setattr(hours.time, "perf_counter", lambda: self.now)

    def __call__(self, batch_size: int, size: Size) -> None:
        self.seen.append((batch_size, size))
        self.now += 0.1 + batch_size * size[0] * size[1] / 1e6


def test_the_seconds_per_photo_follow_from_the_first_trial_step_that_takes_long_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0.133, 0.231 and 0.624 seconds: half of that for each photo of 512x512, and 7.5 times the pixels."""
    step = Timed(monkeypatch)
    assert seconds_per_photo(step, (1280, 1536)) == pytest.approx(0.624288 / 2 * 7.5)
    assert list(dict.fromkeys(step.seen)) == [(2, (128, 128)), (2, (256, 256)), (2, (512, 512))]


def test_a_trial_step_on_small_photos_has_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Timed(monkeypatch)
    assert seconds_per_photo(step, (32, 200)) == pytest.approx((0.1 + 2 * 32 * 200 / 1e6) / 2)
    assert step.seen[-1] == (2, (32, 200))


def test_the_seconds_per_photo_follow_from_the_last_trial_step_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Timed(monkeypatch)

    def limited(batch_size: int, size: Size) -> None:
        if size != (128, 128):
            raise torch.OutOfMemoryError
        step(batch_size, size)

    assert seconds_per_photo(limited, (256, 256)) == pytest.approx((0.1 + 2 * 128 * 128 / 1e6) / 2 * 4)


def test_a_step_on_photos_that_are_too_small_for_the_network_does_not_end_the_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with Swin at its own size, of which the smaller ones are refused in words of its own."""
    step = Timed(monkeypatch)

    def one_size(batch_size: int, size: Size) -> None:
        assert size == (224, 224), "Input height (128) doesn't match model (224)."
        step(batch_size, size)

    assert seconds_per_photo(one_size, (224, 224)) == pytest.approx((0.1 + 2 * 224 * 224 / 1e6) / 2)


def test_where_no_step_succeeds_there_is_no_estimate(photos: list[Photo], tiles: Competition) -> None:
    def never(*_: object) -> None:
        raise ValueError("no such size")

    assert seconds_per_photo(never, (256, 256)) is None
    config = config_from("demo", tiles.slug, TINY | {"model": "smp:Unet/tu-swin_tiny_patch4_window7_224"})
    assert estimated_hours(photos, config, 1, Execution(devices="1")) is None


def test_the_estimated_hours_grow_with_the_epochs_and_fall_with_the_devices(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second for each of 13 photos in two folds of three, and a third of that for those held out."""
    monkeypatch.setattr(hours, "seconds_per_photo", lambda *_: 0.5)
    monkeypatch.setattr(hours, "seconds_with_loading", lambda step, *_: step)
    config = config_from("demo", tiles.slug, TINY | {"folds": 3})
    of_30_epochs = 0.5 * 13 * (2 / 3 + 1 / 9) * 30 / 3600
    assert estimated_hours(photos, config, 30, Execution(devices="1")) == pytest.approx(of_30_epochs)
    assert estimated_hours(photos, config, 150, Execution(devices="1")) == pytest.approx(5 * of_30_epochs)
    assert estimated_hours(photos, config, 30, Execution(devices="2")) == pytest.approx(of_30_epochs / 2)


def test_the_estimated_hours_count_the_loading_of_photos_that_trainings_at_once_share_the_cores_for(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "seconds_per_photo", lambda *_: 0.5)
    monkeypatch.setattr(hours, "seconds_with_loading", lambda step, *given: step * given[-1])
    config = config_from("demo", tiles.slug, TINY | {"folds": 3})
    alone = estimated_hours(photos, config, 30, Execution(devices="1"))
    assert alone == pytest.approx(0.5 * 13 * (2 / 3 + 1 / 9) * 30 / 3600)
    assert estimated_hours(photos, config, 30, Execution(devices="1"), at_once=3) == pytest.approx(3 * alone)


@pytest.mark.parametrize(("image_size", "timed"), [((16, 24), (16, 24)), (None, (20, 30))])
def test_the_estimated_hours_are_those_at_the_size_of_the_training(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch, image_size: Size | None, timed: Size
) -> None:
    """Which is that of the photos, 20x30, where none is given."""
    sizes: list[Size] = []
    monkeypatch.setattr(hours, "seconds_per_photo", lambda _, size: sizes.append(size) or 0.5)
    config = config_from("demo", tiles.slug, TINY | {"image_size": image_size})
    estimated_hours(photos, config, 3, Execution(devices="1"))
    assert sizes == [timed]


def test_the_step_that_is_timed_computes_twice_what_the_training_does(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(unet, "recomputed", lambda *given: (calls.append(given), recomputed(*given))[1])
    config = config_from("demo", tiles.slug, TINY)
    estimated_hours(photos, config, 3, Execution(devices="1"))
    assert not calls
    estimated_hours(photos, config, 3, Execution(devices="1", recompute=1))
    assert calls


def test_where_not_even_the_weights_fit_there_is_no_estimate(
    photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDNN_STATUS_ALLOC_FAILED")

    monkeypatch.setattr(SegmentationTask, "to", full)
    assert estimated_hours(photos, config_from("demo", tiles.slug, TINY), 3, Execution(devices="1")) is None


def test_the_estimated_hours_of_a_real_step_are_few(photos: list[Photo], tiles: Competition) -> None:
    config = config_from("demo", tiles.slug, TINY)
    assert 0 < estimated_hours(photos, config, 3, Execution(devices="1")) < 1


def test_the_busiest_gpu_has_the_folds_that_find_it_free_first() -> None:
    """Five folds on two GPUs: the third starts where the first ended, after one epoch, and the fifth there as well."""
    assert busiest([30, 30, 30, 30, 30], 2) == 90
    assert busiest([1, 30, 30, 30, 30], 2) == 61
    assert busiest([4, 4], 3) == 4


CONFIG = config_from("carvana", CARVANA.slug, {})


@pytest.mark.parametrize(
    ("about", "limit", "said"),
    [
        (0.01, None, ""),
        (0.01, 11.0, ""),
        (3.9, None, "about 3.9 h for 2 of 5 folds on this machine, estimated from a trial step\n"),
        (3.9, 4.0, "about 3.9 h for 2 of 5 folds on this machine, estimated from a trial step\n"),
        (50.4, 60.0, "about 50.4 h for 2 of 5 folds on this machine, estimated from a trial step\n"),
    ],
)
def test_hours_that_suffice_are_said_before_the_training_starts(
    about: float, limit: float | None, said: str, capsys: Any
) -> None:
    announce(about, 2, CONFIG, limit)
    assert capsys.readouterr() == (said, "")


@pytest.mark.parametrize(("about", "limit", "times"), [(11.5, 11.0, 2), (12.1, 4.0, 4), (50.0, 25.0, 2), (5.0, 2.5, 2)])
def test_a_limit_that_the_training_will_not_keep_is_said_with_how_often_the_command_is_to_be_repeated(
    about: float, limit: float, times: int, capsys: Any
) -> None:
    announce(about, 2, CONFIG, limit, epochs=30)
    said = f"more than --max-hours allows: the same command continues, about {times} times in all"
    assert capsys.readouterr() == ("", f"warning: about {about:.1f} h for 2 of 5 folds on this machine, {said}\n")


def test_a_limit_that_not_one_epoch_keeps_is_said(capsys: Any) -> None:
    """Sixty epochs of six minutes."""
    announce(6.0, 2, CONFIG, 0.05, epochs=60)
    said = "warning: about 6 min for each epoch, of which --max-hours allows none: give more\n"
    assert capsys.readouterr() == ("", said)


def test_a_limit_of_no_time_is_no_reason_to_fail(capsys: Any) -> None:
    announce(5.0, 2, CONFIG, 0.0)
    assert "about 5.0 h" in capsys.readouterr().out


def test_hours_that_are_not_known_are_not_said(capsys: Any) -> None:
    announce(None, 2, CONFIG, 1.0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("gpu", "width", "advice"),
    [
        (False, 64, "--preset laptop --fold 0"),
        (False, 16, "a smaller --image-size, or a single --fold"),
        (True, 64, "a smaller --image-size, or a single --fold"),
    ],
)
def test_a_training_of_more_than_a_day_is_announced_with_what_to_do_on_this_device(
    gpu: bool, width: int, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    announce(50.4, 2, replace(CONFIG, width=width))
    said = f"warning: about 2.1 days for 2 of 5 folds on this machine; try {advice}\n"
    assert capsys.readouterr().err == said
