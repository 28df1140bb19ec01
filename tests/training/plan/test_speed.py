from dataclasses import replace
from typing import Any

import pytest
import torch

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.training.plan import speed
from kaggle_tools.training.plan.speed import measured_speed, photos_to_time

HERE = Execution(devices="1", workers=0)
LONG = 600.0
"""Seconds that no measurement takes."""
SIZES = [(32, 32), (48, 48), (64, 64), (96, 96), (128, 128)]


@pytest.fixture
def config(tiles: Competition) -> TrainingConfig:
    return config_from("demo", tiles.slug, {"width": 4, "depth": 2, "batch_size": 2, "epochs": 7})


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[TrainingConfig]:
    """In the place of short trainings: a photo takes 10 ms and a microsecond a pixel, and half of that to validate."""
    asked: list[TrainingConfig] = []

    def times(_: Any, __: Any, config: TrainingConfig, *___: Any) -> speed._Times:
        assert config.image_size
        asked.append(config)
        seconds = 0.01 + config.image_size[0] * config.image_size[1] / 1e6
        return speed._Times(seconds, seconds / 2, 0.125)

    monkeypatch.setattr(speed, "_timed", times)
    return asked


def test_other_sizes_follow_from_two_that_are_measured(
    config: TrainingConfig, photos: list[Photo], tiles: Competition, timed: list[TrainingConfig]
) -> None:
    found = measured_speed(photos, tiles, config, HERE, SIZES, LONG)
    assert [of_size.image_size for of_size in timed] == [(32, 32), (48, 48), (96, 96), (128, 128)]
    assert {(of_size.epochs, of_size.early_sizes) for of_size in timed} == {(1, ())}
    assert found.training.at((1000, 1000)) == pytest.approx(1.01)
    assert found.validation.at((500, 1000)) == pytest.approx(0.255)
    assert found.masking.at((10, 10)) == found.masking.at((1000, 10)) == pytest.approx(0.125)
    assert found.largest == (128, 128)


def test_when_the_time_is_up_larger_sizes_follow_from_the_pixels_of_those_that_were_tried(
    config: TrainingConfig, photos: list[Photo], tiles: Competition, timed: list[TrainingConfig]
) -> None:
    """One is, in any case; a larger one may be in need of more memory than there is, which then is not known."""
    found = measured_speed(photos, tiles, config, HERE, SIZES, seconds=0.0)
    assert [of_size.image_size for of_size in timed] == [(32, 32)]
    assert found.training.at((64, 64)) == pytest.approx(4 * (0.01 + 32 * 32 / 1e6))
    assert found.largest == (128, 128)


def test_the_time_of_a_training_goes_by_what_is_cropped_of_the_photos(
    config: TrainingConfig, photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo takes a microsecond a pixel of what is trained on, and half of that of the whole photo to validate."""

    def times(_: Any, __: Any, config: TrainingConfig, *___: Any) -> speed._Times:
        assert config.image_size
        (height, width), (rows, columns) = config.image_size, config.trained_size((1, 1))
        return speed._Times(rows * columns / 1e6, height * width / 2e6, 0.125)

    monkeypatch.setattr(speed, "_timed", times)
    found = measured_speed(photos, tiles, replace(config, crop=(96, 64)), HERE, SIZES, LONG)
    assert found.training.at((96, 64)) == pytest.approx(0.006144)
    assert found.validation.at((200, 100)) == pytest.approx(0.01)


def test_no_larger_size_is_measured_than_what_takes_a_second(
    config: TrainingConfig, photos: list[Photo], tiles: Competition, timed: list[TrainingConfig]
) -> None:
    found = measured_speed(photos, tiles, config, HERE, [(256, 256), (800, 800), (2000, 2000)], LONG)
    assert [of_size.image_size for of_size in timed] == [(256, 256), (800, 800)]
    assert found.training.at((2000, 2000)) == pytest.approx(4.01)
    assert found.largest == (2000, 2000)


def test_a_size_that_does_not_fit_into_the_memory_bounds_the_others(
    config: TrainingConfig, photos: list[Photo], tiles: Competition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times(_: Any, __: Any, of_size: TrainingConfig, *___: Any) -> speed._Times:
        if of_size.image_size == (128, 128):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return speed._Times(0.1, 0.1, 0.1)

    monkeypatch.setattr(speed, "_timed", times)
    assert measured_speed(photos, tiles, config, HERE, SIZES, LONG).largest == (96, 96)
    with pytest.raises(InputError, match="^--budget: out of memory with photos of 128x128$"):
        measured_speed(photos, tiles, config, HERE, SIZES[-1:], LONG)


@pytest.mark.parametrize(
    ("sizes", "seconds", "line"),
    [
        ([(10, 10)], [2.0], (0, 0.02)),
        ([(10, 10), (10, 20)], [1.0, 1.5], (0.5, 0.005)),
        ([(10, 10), (10, 20)], [1.0, 4.0], (0, 0.02)),  # as if a smaller photo took less than nothing
        ([(10, 10), (10, 20)], [4.0, 2.0], (0, 0.01)),
        ([(10, 10), (10, 10)], [2.0, 4.0], (0, 0.04)),
    ],
)
def test_a_line_goes_through_the_last_two_sizes(
    sizes: list[Size], seconds: list[float], line: tuple[float, float]
) -> None:
    assert speed._line(sizes, seconds)[:2] == pytest.approx(line)


def test_up_to_the_largest_size_what_was_measured_counts() -> None:
    """A line through the last two would give 0.5 at the first one."""
    found = speed._line([(10, 10), (10, 20), (10, 40)], [1.0, 1.5, 3.5])
    assert [found.at((10, width)) for width in (10, 15, 20, 30, 40, 60)] == pytest.approx(
        [1, 1.25, 1.5, 2.5, 3.5, 5.25]
    )


def test_a_short_training_is_timed_and_leaves_nothing(
    config: TrainingConfig, photos: list[Photo], tiles: Competition, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured_speed(photos, tiles, config, HERE, [(32, 32), (64, 64)], LONG)
    for line in (found.training, found.validation, found.masking):
        assert 0 < line.at((64, 64)) < 5
    assert capsys.readouterr().out == ""


class TestPhotosToTime:
    """How many are not timed, are timed, and are validated: in whole batches, and of a million pixels at least."""

    @pytest.mark.parametrize(
        ("options", "photos"),
        [
            ({"image_size": (512, 512)}, (6, 16, 4)),
            ({"image_size": (100, 100)}, (6, 100, 100)),
            ({"image_size": (512, 512), "batch_size": 16}, (48, 128, 32)),
            ({"image_size": (100, 100), "batch_size": 3, "accumulate": 4}, (36, 108, 100)),
            ({"image_size": (500, 500), "crop": (100, 50)}, (6, 200, 4)),
        ],
    )
    def test_they_follow_from_size_and_batch(
        self, config: TrainingConfig, options: dict[str, Any], photos: tuple[int, int, int]
    ) -> None:
        assert photos_to_time(replace(config, **options)) == photos


def test_the_time_of_a_photo_is_that_of_the_batches_behind_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 17.0, 18.0, 20.5])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    laps = speed._Laps()
    for photos in (2, 2, 2, 1):
        laps.note(photos)
    assert laps.seconds_a_photo(3) == pytest.approx(3.5 / 3)
    assert speed._Laps.seconds_a_photo(laps, 1) == pytest.approx(10.5 / 5)


@pytest.mark.parametrize(("workers", "cores", "seconds"), [(0, 8, 8.0), (2, 8, 4.0), (2, 1, 8.0)])
def test_no_photo_takes_less_time_than_the_workers_need_to_load_it(
    config: TrainingConfig,
    photos: list[Photo],
    tiles: Competition,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    cores: int,
    seconds: float,
) -> None:
    """Eight seconds in one process."""
    monkeypatch.setattr(speed, "seconds_to_load", lambda *_: 8.0)
    monkeypatch.setattr(speed, "CORES", cores)
    config = replace(config, image_size=(32, 32), early_sizes=(), epochs=1)
    times = speed._timed(photos, tiles, config, replace(HERE, workers=workers), LONG)
    assert times[:3] == (seconds, seconds, seconds)
    assert times.epoch > 0


@pytest.mark.parametrize(("limit", "trained"), [(LONG, 496), (0.0, 22)])
def test_gradient_steps_that_take_too_long_are_cut_short(
    config: TrainingConfig,
    photos: list[Photo],
    tiles: Competition,
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    trained: int,
) -> None:
    """A million pixels at 32x64 are 489 photos, with three batches of two before; eight timed ones are the least."""
    watches: list[speed._Stopwatch] = []
    kind = speed._Stopwatch
    monkeypatch.setattr(speed, "_Stopwatch", lambda *given: (watches.append(kind(*given)), watches[-1])[1])
    config = replace(config, image_size=(32, 64), early_sizes=(), epochs=1)
    speed._timed(photos, tiles, config, HERE, limit)
    assert (watches[0].training.photos, watches[0].validation.photos) == (trained, 489)


@pytest.mark.parametrize(("seconds", "tried"), [(9.0, 1), (11.0, 2), (16.0, 3)])
def test_no_size_is_tried_that_would_take_more_than_the_time(
    config: TrainingConfig,
    photos: list[Photo],
    tiles: Competition,
    timed: list[TrainingConfig],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    tried: int,
) -> None:
    """Each takes five seconds."""
    monkeypatch.setattr(speed.time, "monotonic", lambda: 5.0 * len(timed))
    measured_speed(photos, tiles, config, HERE, SIZES, seconds)
    assert len(timed) == tried
