from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from kaggle_tools.data.draw_outlines import PREDICTED, TRUE
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading.datasets import MaskedPhotos
from kaggle_tools.errors import OutOfTimeError
from kaggle_tools.training import callbacks
from kaggle_tools.training.callbacks import EpochLines, MetricsTable, Patience, Pictures, TimeLimit

EQUAL = [1.0] * 10
GROWING = [0.25] * 8 + [1.0] * 2
"""How long the ten epochs take: the last two have twice the height and the width."""


def trainer(epoch: int = 0, **metrics: float) -> Any:
    values = {"val_dice": 0.5, "val_foreground": 0.2, "val_foreground_true": 0.2, **metrics}
    return SimpleNamespace(
        callback_metrics={name: torch.tensor(value) for name, value in values.items()},
        current_epoch=epoch,
        global_step=10 * (epoch + 1),
        is_global_zero=True,
        max_epochs=10,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.25}])],
        should_stop=False,
        strategy=SimpleNamespace(broadcast=lambda value: value),
        loggers=[],
    )


def module(epoch: int = 0) -> Any:
    return SimpleNamespace(current_epoch=epoch)


class Clock:
    """Set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(callbacks.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class TestMetricsTable:
    def test_metrics_csv_has_a_row_for_each_epoch(self, tmp_path: Path) -> None:
        table = MetricsTable(tmp_path / "metrics.csv")
        for epoch, dice in enumerate((0.25, 0.75)):
            table.on_train_epoch_end(trainer(epoch, val_dice=dice), module(epoch))
        written = pd.read_csv(tmp_path / "metrics.csv")
        assert written["epoch"].tolist() == [0, 1]
        assert written["step"].tolist() == [10, 20]
        assert written["lr"].tolist() == [0.25, 0.25]
        assert written["val_dice"].tolist() == [0.25, 0.75]

    def test_the_rows_of_metrics_csv_are_saved_in_the_checkpoint(self, tmp_path: Path) -> None:
        table = MetricsTable(tmp_path / "metrics.csv")
        table.rows = [{"epoch": 0, "val_dice": 0.5}]
        resumed = MetricsTable(tmp_path / "metrics.csv")
        resumed.load_state_dict(table.state_dict())
        assert resumed.rows == table.rows


class TestPatience:
    def test_a_training_that_patience_has_ended_stays_ended_when_resumed(self) -> None:
        patience = Patience(3)
        for waited, stopped in ((2, False), (3, True)):
            patience.wait_count = waited
            resumed = trainer()
            patience.on_train_start(resumed, module())
            assert resumed.should_stop is stopped


class TestEpochLines:
    def test_the_line_of_an_epoch_says_how_long_fold_and_run_will_take(self, clock: Clock, capsys: Any) -> None:
        lines = EpochLines(folds_left=3, efforts=EQUAL)
        for epoch, seconds in ((0, 100), (1, 140)):
            lines.on_train_epoch_start(trainer(epoch), module(epoch))
            clock.now += seconds
            lines.on_train_epoch_end(trainer(epoch), module(epoch))
        # 120 s an epoch: 8 epochs of this fold and 20 of two others.
        said = capsys.readouterr().out.splitlines()
        assert said[1].startswith("epoch 2/10  val_dice 0.5000")
        assert said[1].endswith("left: fold 16 min, run 56 min")

    def test_a_long_epoch_says_once_a_minute_how_far_it_is(self, clock: Clock, capsys: Any) -> None:
        lines, of_epoch = EpochLines(folds_left=1, efforts=EQUAL), trainer(1)
        of_epoch.num_training_batches = 8
        lines.on_train_epoch_start(of_epoch, module(1))
        for batch, seconds in enumerate((30, 29, 61, 40)):
            clock.now += seconds
            lines.on_train_batch_end(of_epoch, module(1), None, None, batch)
        # 120 s for three of eight batches.
        assert capsys.readouterr().out == "epoch 2/10: 3 of 8 batches, 3 min left\n"

    def test_the_line_of_an_epoch_knows_that_larger_photos_take_longer(self, clock: Clock, capsys: Any) -> None:
        lines = EpochLines(folds_left=2, efforts=GROWING)
        for epoch, seconds in ((6, 20), (7, 30), (8, 110)):
            lines.on_train_epoch_start(trainer(epoch), module(epoch))
            clock.now += seconds
            lines.on_train_epoch_end(trainer(epoch), module(epoch))
        # 50 s for half of a last epoch, so 100 s for each of the two, and 400 s for the other fold.
        said = capsys.readouterr().out.splitlines()
        assert said[1].endswith("left: fold 3 min, run 10 min")
        # 160 s for 1.5 of them.
        assert said[2].endswith("left: fold 2 min, run 9 min")

    @pytest.mark.parametrize(
        ("predicted", "true", "named"),
        [(0.0, 0.2, "background"), (1.0, 0.2, "foreground"), (0.0, 0.0, ""), (0.1, 0.2, "")],
    )
    def test_the_line_of_an_epoch_warns_of_a_model_that_predicts_one_class_everywhere(
        self, predicted: float, true: float, named: str, clock: Clock, capsys: Any
    ) -> None:
        lines = EpochLines(folds_left=1, efforts=EQUAL)
        given_up = trainer(val_foreground=predicted, val_foreground_true=true)
        lines.on_train_epoch_start(given_up, module())
        lines.on_train_epoch_end(given_up, module())
        said = capsys.readouterr().err
        assert ("warning" in said) is bool(named)
        assert f"every pixel of every validation photo as {named}" in said or not named


class TestTimeLimit:
    def begin(self, limit: TimeLimit, clock: Clock, epoch: int, seconds: float = 100) -> None:
        limit.on_train_epoch_start(trainer(epoch), module(epoch))
        clock.now += seconds
        limit.on_train_epoch_end(trainer(epoch), module(epoch))

    def test_an_epoch_that_would_end_after_the_time_limit_is_not_begun(self, clock: Clock) -> None:
        limit = TimeLimit(clock.now + 250, EQUAL)
        self.begin(limit, clock, 0)
        self.begin(limit, clock, 1)
        with pytest.raises(OutOfTimeError, match="stopped after 2 of 10 epochs, as --max-hours asks; the same command"):
            limit.on_train_epoch_start(trainer(2), module(2))

    def test_an_epoch_that_ends_just_within_the_time_limit_is_begun(self, clock: Clock) -> None:
        limit = TimeLimit(clock.now + 200, EQUAL)
        self.begin(limit, clock, 0)
        self.begin(limit, clock, 1)

    def test_the_time_limit_expects_the_first_epoch_of_the_next_or_a_resumed_fold_to_take_as_long(
        self, clock: Clock
    ) -> None:
        limit = TimeLimit(clock.now + 150, EQUAL)
        self.begin(limit, clock, 9)
        resumed = TimeLimit(clock.now + 50, EQUAL)
        resumed.load_state_dict(limit.state_dict())
        for taken_up in (limit, resumed):
            with pytest.raises(OutOfTimeError, match="stopped after 0 of 10 epochs"):
                taken_up.on_train_epoch_start(trainer(0), module(0))

    def test_the_time_limit_expects_larger_photos_to_take_longer(self, clock: Clock) -> None:
        limit = TimeLimit(clock.now + 260, GROWING)
        self.begin(limit, clock, 7, seconds=30)
        self.begin(limit, clock, 8, seconds=120)
        with pytest.raises(OutOfTimeError, match="stopped after 9 of 10 epochs"):
            limit.on_train_epoch_start(trainer(9), module(9))
        with pytest.raises(OutOfTimeError, match="stopped after 8 of 10 epochs"):
            limit.on_train_epoch_start(trainer(8), module(8))
        limit.on_train_epoch_start(trainer(0), module(0))  # of the next fold

    def test_a_limit_into_which_no_epoch_fits_promises_nothing(self, clock: Clock) -> None:
        """Neither before the first epoch ever, nor where a checkpoint says how long one takes."""
        resumed = TimeLimit(clock.now + 50, EQUAL)
        resumed.load_state_dict({"epoch_seconds": 100.0})
        for limit in (TimeLimit(clock.now - 1, EQUAL), resumed):
            with pytest.raises(OutOfTimeError, match="epochs, as --max-hours asks; not one fits into it: give more$"):
                limit.on_train_epoch_start(trainer(0), module(0))

    def test_the_first_process_decides_about_the_time_limit_for_all(self, clock: Clock) -> None:
        limit = TimeLimit(clock.now - 1, EQUAL)
        other = trainer()
        other.strategy.broadcast = lambda _: False
        limit.on_train_epoch_start(other, module())


class TestPictures:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> MaskedPhotos:
        mask_HW = np.zeros((8, 12), dtype=bool)
        mask_HW[2:6, 3:9] = True
        write_mask(tmp_path / "mask.png", mask_HW)
        Image.new("RGB", (12, 8), (90, 90, 90)).save(tmp_path / "photo.png")
        photo = [Photo(f"a_{n}", tmp_path / "photo.png", (8, 12), tmp_path / "mask.png") for n in range(9)]
        return MaskedPhotos(photo, None)

    def test_outlines_on_some_photos_are_logged_every_few_epochs(self, photos: MaskedPhotos, tmp_path: Path) -> None:
        logged: list[tuple[str, Any]] = []
        logger = TensorBoardLogger(tmp_path)
        logger._experiment = SimpleNamespace(add_image=lambda name, picture, *_, **__: logged.append((name, picture)))
        task = SimpleNamespace(
            device=torch.device("cpu"), model=lambda photo: torch.full((1, 1, *photo.shape[-2:]), 1.0)
        )
        pictures = Pictures(photos, every=2)
        for epoch in (0, 1, 2):
            watched = trainer(epoch)
            watched.loggers = [logger]
            pictures.on_validation_epoch_end(watched, task)
        assert [name for name, _ in logged] == [f"held out/a_{n}" for n in (0, 2, 5, 8)]
        picture = logged[0][1]
        assert tuple(picture[2, 5]) == TRUE.colour
        assert tuple(picture[0, 0]) == PREDICTED.colour
        assert picture[4, 5].tolist() == [90, 90, 90]
