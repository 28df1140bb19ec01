from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from little_memory import SAID, limit_memory
from torch import Tensor

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.results.fold_table import Split
from kaggle_tools.training.fold import train_fold
from kaggle_tools.training.plan.shortage import OutOfMemoryAfterEpochsError, resumed_after_out_of_memory, what_fits
from kaggle_tools.training.task import SegmentationTask

TINY: dict[str, Any] = {"width": 4, "depth": 2, "image_size": (16, 24), "epochs": 3, "batch_size": 2, "lr": 1e-2}
HERE = Execution(devices="1", workers=0)


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
    assert what_fits(Limited(3 * 64 * 96), 8, (64, 96)) == (2, (64, 96))
    assert what_fits(Limited(64 * 96), 8, (64, 96)) == (1, (64, 96))


def test_smaller_photos_have_sides_that_every_network_takes() -> None:
    assert what_fits(Limited(200 * 300), 2, (320, 480)) == (1, (160, 256))
    assert what_fits(Limited(300 * 400), 1, (320, 480)) == (1, (256, 384))


def test_where_no_batch_fits_none_is_found() -> None:
    assert what_fits(Limited(10), 4, (64, 96)) is None


def test_sizes_that_the_network_refuses_are_left_out_where_one_that_fits_is_looked_for() -> None:
    def step(batch_size: int, size: Size) -> None:
        if batch_size == 1:
            raise ValueError("Expected more than 1 value per channel when training")
        raise torch.OutOfMemoryError if batch_size > 2 else AssertionError(f"{size}")

    assert what_fits(step, 8, (64, 96)) is None


def test_a_batch_that_would_fit_divides_the_one_that_does_not() -> None:
    """So that accumulated batches hold as many photos: of nine, three and not four."""
    assert what_fits(Limited(5 * 64 * 96), 9, (64, 96)) == (3, (64, 96))


def test_a_batch_fits_where_a_second_step_does_for_which_the_optimiser_holds_memory_too() -> None:
    seen: list[int] = []

    def step(batch_size: int, size: Size) -> None:
        seen.append(batch_size)
        if batch_size > 1 and seen.count(batch_size) == 2:
            raise torch.OutOfMemoryError

    assert what_fits(step, 4, (64, 96)) == (1, (64, 96))


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "; --recompute 3 takes half the memory, for the same weights"),
        ({"recompute": 1}, ""),
    ],
)
def test_out_of_memory_names_the_batch_size_that_would_fit(
    options: dict[str, int], advice: str, photos: list[Photo], tiles: Competition, tmp_path: Path, monkeypatch: Any
) -> None:
    limit_memory(monkeypatch, 3 * 16 * 24)
    config = config_from("demo", tiles.slug, TINY | {"batch_size": 4})
    with pytest.raises(InputError) as raised:
        train_fold(
            tmp_path, 1, tiles, Split(photos[:9], photos[9:]), config, Execution(devices="1", workers=0, **options)
        )
    assert str(raised.value) == (
        f"out of memory with 4 photos of 16x24 ({SAID}).\n--batch-size 2 --image-size 16x24 would fit; "
        f"--accumulate 2 keeps 4 photos in each gradient step{advice}."
    )


def test_out_of_memory_with_parts_of_photos_names_the_part_that_would_fit(
    photos: list[Photo], tiles: Competition, tmp_path: Path, monkeypatch: Any
) -> None:
    limit_memory(monkeypatch, 32 * 32)
    options = {"batch_size": 1, "image_size": (128, 128), "crop": (64, 64)}
    config = config_from("demo", tiles.slug, TINY | options)
    with pytest.raises(InputError, match="out of memory with 1 photo of 64x64 .*\n--batch-size 1 --crop 32x32 would"):
        train_fold(tmp_path, 1, tiles, Split(photos[:9], photos[9:]), config, HERE)


def test_another_network_than_the_u_net_is_not_advised_to_compute_levels_twice(
    photos: list[Photo], tiles: Competition, tmp_path: Path, monkeypatch: Any
) -> None:
    limit_memory(monkeypatch, 10)
    options = {"model": "smp:Unet/tu-mobilenetv3_small_050", "image_size": (32, 32)}
    config = config_from("demo", tiles.slug, TINY | options)
    with pytest.raises(InputError) as raised:
        train_fold(tmp_path, 1, tiles, Split(photos[:9], photos[9:]), config, HERE)
    assert str(raised.value).endswith("\nno smaller size fits either; take a smaller model or --width.")


def test_a_gpu_that_has_no_room_for_the_weights_is_explained(
    photos: list[Photo], tiles: Competition, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(SegmentationTask, "to", full)
    with pytest.raises(InputError) as raised:
        train_fold(tmp_path, 1, tiles, Split(photos[:9], photos[9:]), config_from("demo", tiles.slug, TINY), HERE)
    assert str(raised.value) == (
        "out of memory with 2 photos of 16x24 (CUDA out of memory. Tried to allocate 2.00 MiB.).\n"
        "not even the weights fit. Does another program use the GPU?"
    )


class TestLostMemory:
    """It does not suffice, once or from then on, in epochs of a training that began well."""

    @pytest.fixture
    def fails(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        def fails(*epochs: int) -> None:
            left, step = list(epochs), SegmentationTask.training_step

            def training_step(task: SegmentationTask, *batch: Any) -> Tensor:
                if left and task.current_epoch == left[0]:
                    left.pop(0)
                    raise RuntimeError(SAID)
                return step(task, *batch)

            monkeypatch.setattr(SegmentationTask, "training_step", training_step)

        return fails

    @pytest.fixture
    def train(self, photos: list[Photo], tiles: Competition, tmp_path: Path) -> Any:
        """Trains into a run of this name, and gives the bytes of its weights, learning curve and scores."""

        def train(name: str, execution: Execution = HERE, **options: Any) -> list[bytes]:
            config = config_from("demo", tiles.slug, TINY | options)
            split = Split(photos[:9], photos[9:])
            fold = partial(train_fold, tmp_path / name, 1, tiles, split, config, execution)
            resumed_after_out_of_memory(fold, execution)
            folder = tmp_path / name / "fold1"
            return [(folder / file).read_bytes() for file in ("model.safetensors", "metrics.csv", "oof.csv")]

        return train

    def test_a_training_goes_on_from_its_last_whole_epoch_and_ends_with_the_same_bytes(
        self, train: Any, fails: Any, capsys: Any
    ) -> None:
        """With averaged weights, and lost twice."""
        whole = train("whole", ema_decay=0.9)
        capsys.readouterr()
        fails(1, 2)
        assert train("lost", ema_decay=0.9) == whole
        said = capsys.readouterr()
        assert f"warning: out of memory in epoch 2 ({SAID}). Does another program use the GPU? The same" in said.err
        assert said.err.count("It goes on from there now.") == 2
        assert [line.partition("  ")[0] for line in said.out.splitlines() if line.startswith("epoch")] == [
            "epoch 1/3",
            "epoch 2/3",
            "epoch 3/3",
        ]

    def test_where_no_epoch_is_won_by_it_the_command_ends_and_the_same_one_continues(
        self, train: Any, fails: Any
    ) -> None:
        whole = train("whole")
        fails(1, 1)
        with pytest.raises(OutOfMemoryAfterEpochsError) as raised:
            train("lost")
        assert str(raised.value) == (
            f"out of memory in epoch 2 ({SAID}). Does another program use the GPU? The same command continues from "
            "the last whole epoch; --recompute 3 takes half the memory, for the same weights."
        )
        assert train("lost", Execution(devices="1", workers=0, recompute=3)) == whole

    def test_several_processes_do_not_begin_anew_but_end_together(self) -> None:
        calls = []

        def lost() -> None:
            calls.append(1)
            raise OutOfMemoryAfterEpochsError("out of memory in epoch 2", 1)

        with pytest.raises(OutOfMemoryAfterEpochsError):
            resumed_after_out_of_memory(lost, Execution(devices="2"))
        assert len(calls) == 1
