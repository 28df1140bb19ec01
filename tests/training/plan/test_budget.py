import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.results import run_folder
from kaggle_tools.training.plan import budget
from kaggle_tools.training.plan.budget import Budget, settings_within
from kaggle_tools.training.plan.speed import Line, Speed

HERE = Execution(devices="1", workers=0)
LARGE = (4096, 4096)


class TestSettingsWithin:
    """Of thirteen photos of 20x30 pixels that take ten milliseconds each in training, and nothing else."""

    @pytest.fixture(autouse=True)
    def speed(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []
        speed = Speed(Line(0.01, 0), Line(0, 0), Line(0, 0), LARGE)
        monkeypatch.setattr(budget, "measured_speed", lambda *given: (asked.append(given), speed)[1])
        return asked

    def within(
        self,
        run: Path,
        tiles: Competition,
        photos: list[Photo],
        seconds: float,
        given: frozenset[str],
        held_out: Sequence[int] = (5, 5),
        **options: Any,
    ) -> TrainingConfig:
        config = config_from("demo", tiles.slug, {"folds": 3, "width": 4} | options)
        time_for_it = Budget(seconds, time.monotonic(), given)
        config = settings_within(time_for_it, run, tiles, photos, config, HERE, held_out)
        run_folder.write_config(run, config, Path("data"), "train.py", budget=seconds)
        return config

    def test_the_time_is_shared_by_the_folds(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An epoch takes 0.08 s; of 60 s, 10.2 s are for the end, and each fold has half of the others."""
        config = self.within(tmp_path, tiles, photos, 60, frozenset())
        assert (config.image_size, config.early_sizes) == ((32, 32), ())
        assert 305 <= config.epochs <= 311
        said = capsys.readouterr().out.splitlines()
        assert said[1] == f"plan: {config.epochs} epochs, {config.epochs} at 32x32, for 2 folds"
        assert said[2] == "a fold: 25 s of training, 0 s for its held-out photos"
        assert re.fullmatch(r"it ends at about \d\d:\d\d, 60 s after it began", said[3])

    def test_folds_of_different_sizes_take_different_times(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo]
    ) -> None:
        """Twelve photos to train on and one held out: 0.12 s an epoch, of 49.98 s."""
        config = self.within(tmp_path, tiles, photos, 60, frozenset(), held_out=[1])
        assert 411 <= config.epochs <= 416

    @pytest.mark.parametrize(
        ("seconds", "given", "options", "message"),
        [
            # 10.2 s for the end, also of a single fold, and twice 0.08 s.
            (10, set(), {}, "1 epoch at 32x32 for 2 folds, .* 10 s more at .* Give --budget 1m"),
            # 2 x 1000 x 0.08 s + 10.2 s = 170 s, and 1.25 times that 3.5 min; of a single fold 90 s.
            (
                100,
                {"epochs", "image_size"},
                {"epochs": 1000, "image_size": (64, 64)},
                "1,000 epochs at 64x64 for 2 folds, .* 3 min more at .* "
                "Give --budget 4m or fewer --epochs or a single --fold",
            ),
            (
                20,
                {"early_sizes"},
                {"early_sizes": ((32, 32, 200),), "image_size": (64, 64), "epochs": 300},
                "201 epochs at 32x32 for 2 folds, .* 42 s more at .* Give --budget 1m or fewer --early-sizes",
            ),
        ],
    )
    def test_a_budget_that_would_do_is_named_where_this_one_does_not(
        self,
        seconds: float,
        given: set[str],
        options: dict[str, Any],
        message: str,
        tmp_path: Path,
        tiles: Competition,
        photos: list[Photo],
    ) -> None:
        with pytest.raises(InputError, match=f"^--budget: too short: after 0 s for .* measuring, {message}\\.$"):
            self.within(tmp_path, tiles, photos, seconds, frozenset(given), **options)

    def test_a_single_fold_is_not_advised_where_it_is_given(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo]
    ) -> None:
        with pytest.raises(InputError, match=r"1 epoch at 32x32, with masks .* Give --budget 1m\.$"):
            self.within(tmp_path, tiles, photos, 5, frozenset(), held_out=[5])

    def test_the_end_of_a_plan_that_needs_less_time_is_said(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """100 epochs of 0.08 s for each of two folds, and 10.2 s for the end."""
        self.within(tmp_path, tiles, photos, 60, frozenset({"epochs"}), epochs=100)
        assert capsys.readouterr().out.endswith(", 26 s after it began\n")

    def test_a_run_is_continued_as_it_was_planned(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], speed: list[tuple[Any, ...]]
    ) -> None:
        begun = self.within(tmp_path, tiles, photos, 60, frozenset({"lr"}), lr=0.5)
        assert self.within(tmp_path, tiles, photos, 60, frozenset({"lr"}), lr=0.5) == begun
        assert len(speed) == 1
        recorded = json.loads((tmp_path / "config.json").read_text())
        assert recorded["budget"] == 60
        assert recorded["settings"]["epochs"] == begun.epochs

    def test_a_run_of_which_nothing_is_trained_is_planned_anew_for_other_settings(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], speed: list[tuple[Any, ...]]
    ) -> None:
        self.within(tmp_path, tiles, photos, 60, frozenset())
        self.within(tmp_path, tiles, photos, 60, frozenset(), width=8)
        assert len(speed) == 2
        self.within(tmp_path, tiles, photos, 60, frozenset({"epochs"}), width=8, epochs=1)
        assert len(speed) == 3

    def test_full_photos_are_continued_at_the_size_that_was_planned(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], speed: list[tuple[Any, ...]]
    ) -> None:
        begun = self.within(tmp_path, tiles, photos, 60, frozenset({"image_size"}), image_size=None)
        assert begun.image_size == (32, 32)
        assert self.within(tmp_path, tiles, photos, 60, frozenset({"image_size"}), image_size=None) == begun
        assert len(speed) == 1

    @pytest.mark.parametrize(("first", "named"), [(60.0, "with --budget 60 s"), (None, "without --budget")])
    def test_a_run_that_was_begun_with_another_budget_is_refused(
        self, first: float | None, named: str, tmp_path: Path, tiles: Competition, photos: list[Photo]
    ) -> None:
        config = config_from("demo", tiles.slug, {"folds": 3, "width": 4})
        run_folder.write_config(tmp_path, config, Path("data"), "train.py", budget=first)
        self.within(tmp_path / "other", tiles, photos, 90, frozenset())
        (tmp_path / "fold0").mkdir()
        (tmp_path / "fold0" / "model.json").touch()
        with pytest.raises(
            InputError, match=f"^{tmp_path}: begun {named}. Give the command as it was, or another --out"
        ):
            self.within(tmp_path, tiles, photos, 90, frozenset())

    def test_nothing_is_measured_by_one_of_several_processes(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCAL_RANK", "0")
        with pytest.raises(InputError, match="^--budget: of processes that were started together none can measure"):
            self.within(tmp_path, tiles, photos, 60, frozenset())
