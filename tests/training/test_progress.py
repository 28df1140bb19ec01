import base64
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from unfinished_runs import progress

from kaggle_tools.errors import OutOfTimeError
from kaggle_tools.results.records.progress import Progress, read_progress, write_progress
from kaggle_tools.training import progress as module_of_progress
from kaggle_tools.training.callbacks import TimeLimit
from kaggle_tools.training.progress import ProgressRecord, picture

STEMS = [f"{car}_01" for car in "abcdefghij"]


def trainer(epochs: int = 10, world_size: int = 1, *, first: bool = True) -> Any:
    return SimpleNamespace(is_global_zero=first, max_epochs=epochs, world_size=world_size)


def module(epoch: int) -> Any:
    return SimpleNamespace(current_epoch=epoch)


class Clock:
    """Set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module_of_progress.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module_of_progress.time, "time", lambda: 5000.0 + self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def record(tmp_path: Path, clock: Clock) -> ProgressRecord:
    """Of a fold of ten epochs, after each of which 100 seconds are left, and 300 with the fold after it."""
    lines: Any = SimpleNamespace(folds_left=2, fold_left=100.0, run_left=300.0)
    return ProgressRecord(tmp_path, STEMS, lines)


def known(record: ProgressRecord) -> Progress:
    found = read_progress(record.fold_folder)
    assert found is not None
    return found


def validate(record: ProgressRecord, photos: int, batch: int, world_size: int = 1) -> None:
    """Photos with a mask on the left half, of which the first quarter is found."""
    record.on_validation_epoch_start(trainer(10, world_size), module(0))
    for at in range(0, photos, batch):
        many = min(batch, photos - at)
        truth, predicted = torch.zeros(many, 1, 8, 16), torch.zeros(many, 1, 8, 16)
        truth[..., :8], predicted[..., :4] = 255, 1
        of_batch = (torch.full((many, 3, 8, 16), 90, dtype=torch.uint8), truth.to(torch.uint8))
        record.on_validation_batch_end(trainer(10, world_size), module(0), predicted > 0, of_batch, at // batch)


def test_a_training_that_has_begun_says_so_before_its_first_epoch_is_over(record: ProgressRecord) -> None:
    record.on_train_start(trainer(), module(0))
    assert known(record) == Progress(0, 10, 6000.0, None, 2, None)


def test_after_an_epoch_the_time_left_is_that_of_the_line_of_the_epoch(record: ProgressRecord, clock: Clock) -> None:
    record.on_train_start(trainer(), module(0))
    clock.now += 2
    record.on_train_epoch_end(trainer(), module(0))
    assert known(record) == Progress(1, 10, 6002.0, 100.0, 2, 300.0)


def test_short_epochs_are_recorded_twice_a_minute(record: ProgressRecord, clock: Clock) -> None:
    record.on_train_start(trainer(), module(0))
    recorded = []
    for epoch in range(10):
        clock.now += 8
        record.on_train_epoch_end(trainer(), module(epoch))
        recorded.append(known(record).epochs_done)
    # The first one, and those that end 30 seconds later or more: after 8, 40 and 72 seconds.
    assert recorded == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]
    record.on_train_end(trainer(), module(10))
    assert (known(record).epochs_done, known(record).is_trained) == (10, True)
    assert known(record).all_seconds_left == 200.0


def test_four_photos_that_lie_evenly_among_all_are_shown_as_the_epoch_masks_them(record: ProgressRecord) -> None:
    for batch in (1, 3, 10):
        validate(record, 10, batch)
        record.on_train_epoch_end(trainer(), module(0))
        pictures = known(record).pictures
        assert [one.stem for one in pictures] == ["a_01", "d_01", "g_01", "j_01"]
        assert [one.dice for one in pictures] == pytest.approx([2 / 3] * 4)  # 2 x 4 columns of 4 + 8
        record.now = None


def test_of_several_processes_the_first_one_shows_the_photos_that_it_validates_itself(record: ProgressRecord) -> None:
    validate(record, 5, 2, world_size=2)  # the others are those of the second process
    record.on_train_epoch_end(trainer(), module(0))
    assert [one.stem for one in known(record).pictures] == ["a_01", "c_01", "e_01", "i_01"]


def test_other_processes_record_nothing(record: ProgressRecord) -> None:
    others = trainer(first=False)
    record.on_train_start(others, module(0))
    record.on_validation_epoch_start(others, module(0))
    record.on_validation_batch_end(others, module(0), None, (None, None), 0)
    record.on_train_epoch_end(others, module(0))
    record.on_train_end(others, module(1))
    assert list(record.fold_folder.iterdir()) == []


def test_a_resumed_training_shows_the_pictures_of_before_and_begins_anew_without(
    record: ProgressRecord, clock: Clock
) -> None:
    before = progress(3, 10, stems=("a_01",), folds_left=5)
    for epoch, expected in ((3, ("a_01",)), (0, ())):
        write_progress(record.fold_folder, before)
        record.on_train_start(trainer(), module(epoch))
        assert known(record).epochs_done == epoch
        assert tuple(one.stem for one in known(record).pictures) == expected
        assert known(record).seconds_left == (700.0 if epoch else None)
        assert (known(record).written, known(record).folds_left) == (6000.0, 2)


def test_a_damaged_record_ends_no_training(record: ProgressRecord) -> None:
    (record.fold_folder / "progress.json").write_text("{")
    record.on_train_start(trainer(), module(3))
    assert known(record).epochs_done == 3


def test_a_disk_that_takes_no_record_is_warned_of_once_and_ends_no_training(
    record: ProgressRecord, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "progress.json")

    monkeypatch.setattr(module_of_progress, "write_progress", full)
    record.on_train_start(trainer(), module(0))
    for epoch in range(3):
        clock.now += 60
        record.on_train_epoch_end(trainer(), module(epoch))
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "No space left on device" in said


def test_a_picture_is_small_and_marks_what_is_wrong(tmp_path: Path) -> None:
    photo = torch.full((3, 400, 1600), 90, dtype=torch.uint8)
    truth, predicted = torch.zeros(1, 400, 1600), torch.zeros(1, 400, 1600)
    truth[..., 400:1200], predicted[..., 800:1600] = 255, 1
    shown = picture("a_01", photo, truth.to(torch.uint8), predicted > 0)
    with Image.open(io.BytesIO(base64.b64decode(shown.jpeg))) as image:
        pixels_HW3 = np.asarray(image.convert("RGB")).astype(int)
    assert pixels_HW3.shape == (80, 320, 3)
    grey, missed, agreed, wrong = (pixels_HW3[40, column] for column in (40, 120, 200, 280))
    assert abs(grey - 90).max() < 12
    assert abs(agreed - 90).max() < 12
    assert missed[0] > missed[2] + 60  # orange
    assert wrong[2] > wrong[0] + 60  # sky blue
    assert shown.dice == 0.5


def test_a_training_records_how_far_it_is_until_the_fold_is_finished(
    fold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before its third epoch, of three; then continued."""

    def two_epochs(self: Any, trainer: Any, module: Any) -> None:
        if module.current_epoch == 2:
            raise OutOfTimeError("after two epochs")

    monkeypatch.setattr(module_of_progress, "RECORD_SECONDS", 0.0)
    monkeypatch.setattr(TimeLimit, "on_train_epoch_start", two_epochs)
    with pytest.raises(OutOfTimeError):
        fold("run", time_limit=TimeLimit(0.0, [1.0] * 3), ema_decay=0.9)
    found = read_progress(tmp_path / "run" / "fold1")
    assert found is not None
    assert (found.epochs_done, found.epochs, found.folds_left) == (2, 3, 1)
    assert found.seconds_left == found.all_seconds_left
    assert 0 < (found.seconds_left or 0) < 600
    assert [one.stem for one in found.pictures] == ["9", "10", "11", "12"]
    assert all(0 <= one.dice <= 1 for one in found.pictures)
    folder = fold("run", ema_decay=0.9)
    assert (folder / "oof.csv").exists()
    assert not (folder / "progress.json").exists()
