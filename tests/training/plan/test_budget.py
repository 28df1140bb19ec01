import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.recorded import settings_of
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.results import run_folder
from kaggle_tools.training.plan import budget
from kaggle_tools.training.plan.budget import Budget, Fold, Plan, planned, settings_within, sizes_for
from kaggle_tools.training.plan.speed import Line, Speed

HERE = Execution(devices="1", workers=0)
LARGE = (4096, 4096)
A_SECOND_A_MEGAPIXEL = Speed(Line(0, 1e-6), Line(0, 2.5e-7), Line(0.01, 5e-7), LARGE)
FOLD = Fold(training=1600, held_out=400, speed=A_SECOND_A_MEGAPIXEL)
"""An epoch at 512x512 takes 1600 x 0.262 + 400 x 0.0655 = 445.6 s, at 256x256 a quarter of that."""
SQUARES = [(128, 128), (192, 192), (256, 256), (352, 352), (512, 512)]
CONFIG = config_from("laptop", "roof-tiles", {})


def plan_of(minutes: float, given: set[str] = set(), fold: Fold = FOLD, **options: Any) -> Plan:  # noqa: B006
    return planned(replace(CONFIG, **options), minutes * 60, fold, SQUARES, given)


@pytest.mark.parametrize(
    ("photo", "sizes"),
    [
        (
            (512, 512),
            [(side, side) for side in (96, 128, 160, 192, 224, 256, 320, 352, 416, 512)],
        ),
        (
            (320, 480),
            [(96, 128), (128, 160), (128, 192), (160, 256), (192, 288), (224, 352), (256, 416), (320, 480)],
        ),
        ((101, 101), [(96, 96), (128, 128)]),
        ((40, 60), [(64, 64)]),
    ],
)
def test_the_sizes_to_choose_from_have_the_shape_of_the_photos(photo: Size, sizes: list[Size]) -> None:
    assert sizes_for(photo) == sizes


class TestPlanned:
    @pytest.mark.parametrize("minutes", [12, 20, 33, 45, 60, 100, 240])
    def test_a_plan_takes_the_time_that_there_is_and_not_more(self, minutes: float) -> None:
        plan = plan_of(minutes)
        assert 0.9 * minutes * 60 <= plan.seconds <= minutes * 60

    def test_its_seconds_are_those_of_its_epochs_and_of_the_masks(self) -> None:
        plan = plan_of(60)
        of_last, of_early = 445.6448, 445.6448 * (352 / 512) ** 2
        assert plan.config.image_size == (512, 512)
        ((height, width, early),) = plan.config.early_sizes
        assert (height, width) == (352, 352)
        last = plan.config.epochs - early
        assert plan.training_seconds == pytest.approx(last * of_last + early * of_early)
        assert plan.masking_seconds == pytest.approx(400 * (0.01 + 0.131072))

    def test_more_time_never_leads_to_a_smaller_size(self) -> None:
        sizes = [plan_of(minutes).config.image_size for minutes in range(8, 120, 4)]
        assert sizes == sorted(sizes, key=lambda size: size or ())
        assert sizes[-1] == (512, 512)

    def test_settings_that_are_given_stay(self) -> None:
        assert plan_of(60, {"image_size"}, image_size=(352, 352)).config.image_size == (352, 352)
        assert plan_of(60, {"epochs"}, epochs=9).config.epochs == 9
        early = ((128, 128, 3),)
        plan = plan_of(60, {"early_sizes"}, image_size=(256, 256), epochs=5, early_sizes=early)
        assert plan.config.early_sizes == early
        both = plan_of(30, {"image_size", "epochs"}, image_size=(256, 256), epochs=12).config
        assert (both.image_size, both.epochs) == ((256, 256), 12)

    def test_all_that_a_budget_does_not_choose_stays(self) -> None:
        plan = plan_of(45, batch_size=7, lr=0.5)
        kept = {name: value for name, value in settings_of(plan.config).items() if name not in budget.PLANNED}
        assert kept.items() <= settings_of(replace(CONFIG, batch_size=7, lr=0.5)).items()

    def test_too_little_time_to_learn_goes_into_as_many_photos_as_possible(self) -> None:
        config = plan_of(3).config  # an epoch at 128x128 takes 28 s, all masks 7 s
        assert (config.image_size, config.epochs) == ((128, 128), 6)

    def test_a_pretrained_network_needs_fewer_photos_of_the_largest_size(self) -> None:
        options = {"model": "smp:Unet/resnet34", "pretrained": "imagenet"}
        assert plan_of(25).config.image_size == (352, 352)
        assert plan_of(25, **options).config.image_size == (512, 512)

    def test_a_size_that_does_not_fit_into_the_memory_is_not_chosen(self) -> None:
        small = replace(FOLD, speed=replace(A_SECOND_A_MEGAPIXEL, largest=(256, 256)))
        assert plan_of(120, fold=small).config.image_size == (256, 256)

    @pytest.mark.parametrize(("given", "options"), [(set(), {}), ({"epochs"}, {"epochs": 100})])
    def test_a_time_into_which_nothing_fits_is_refused(self, given: set[str], options: dict[str, Any]) -> None:
        with pytest.raises(
            InputError, match=r"^--budget: a fold takes at least \d+ s with one epoch at 128x128, and 30 s"
        ):
            plan_of(0.5, given, **options)


class TestSettingsWithin:
    """Of twelve photos of 20x30 pixels that take ten milliseconds each in training, and nothing else."""

    @pytest.fixture(autouse=True)
    def speed(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []
        speed = Speed(Line(0.01, 0), Line(0, 0), Line(0, 0), LARGE)
        monkeypatch.setattr(budget, "measured_speed", lambda *given: (asked.append(given), speed)[1])
        return asked

    def within(
        self, run: Path, tiles: Competition, photos: list[Photo], seconds: float, given: frozenset[str], **options: Any
    ) -> TrainingConfig:
        config = config_from("demo", tiles.slug, {"folds": 3, "width": 4} | options)
        time_for_it = Budget(seconds, time.monotonic(), given)
        config = settings_within(time_for_it, run, tiles, photos, config, HERE, folds=[0, 1])
        run_folder.write_config(run, config, Path("data"), "train.py", budget=seconds)
        return config

    def test_the_time_is_shared_by_the_folds(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An epoch takes 0.08 s; of 60 s, 10.16 s are for the end, and each fold has half of the others."""
        config = self.within(tmp_path, tiles, photos, 60, frozenset())
        assert (config.image_size, config.early_sizes) == ((32, 32), ())
        assert 305 <= config.epochs <= 311
        said = capsys.readouterr().out.splitlines()
        assert said[1] == f"plan: {config.epochs} epochs, {config.epochs} at 32x32, for 2 folds"
        assert said[2] == "a fold: 25 s of training, 0 s for its held-out photos"
        assert re.fullmatch(r"it ends at about \d\d:\d\d, 60 s after it began", said[3])

    def test_measuring_that_took_all_the_time_is_said(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo]
    ) -> None:
        """Of 10 s, 10.16 s are for the end."""
        with pytest.raises(InputError, match=r"^--budget: reading the photos and measuring took 0 s of 10 s"):
            self.within(tmp_path, tiles, photos, 10, frozenset())

    def test_the_end_of_a_plan_that_needs_less_time_is_said(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """100 epochs of 0.08 s for each of two folds, and 10.16 s for the end."""
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
