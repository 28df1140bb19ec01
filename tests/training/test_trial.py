import pytest
import torch

from kaggle_tools.data.datasets import Size
from kaggle_tools.training import trial


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


def test_where_nothing_fits_nothing_is_found() -> None:
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


def test_the_time_of_a_photo_is_told_from_a_step_that_takes_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.133, 0.231 and 0.624 seconds: half of that for each photo of 512x512, and 7.5 times the pixels."""
    step = Timed(monkeypatch)
    assert trial.seconds_per_photo(step, (1280, 1536)) == pytest.approx(0.624288 / 2 * 7.5)
    assert list(dict.fromkeys(step.seen)) == [(2, (128, 128)), (2, (256, 256)), (2, (512, 512))]


def test_a_small_photo_is_timed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Timed(monkeypatch)
    assert trial.seconds_per_photo(step, (32, 200)) == pytest.approx((0.1 + 2 * 32 * 200 / 1e6) / 2)
    assert step.seen[-1] == (2, (32, 200))


def test_where_the_memory_ends_the_last_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    step, limit = Timed(monkeypatch), Limited(2 * 128 * 128)

    def limited(batch_size: int, size: Size) -> None:
        limit(batch_size, size)
        step(batch_size, size)

    assert trial.seconds_per_photo(limited, (256, 256)) == pytest.approx((0.1 + 2 * 128 * 128 / 1e6) / 2 * 4)
