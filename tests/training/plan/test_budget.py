import json
import re
import time
from collections.abc import Sequence
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
from kaggle_tools.training.plan.budget import Budget, Fold, Plan, least_plan, planned, settings_within, sizes_for
from kaggle_tools.training.plan.speed import Line, Speed

HERE = Execution(devices="1", workers=0)
LARGE = (4096, 4096)
A_SECOND_A_MEGAPIXEL = Speed(Line(0, 1e-6), Line(0, 2.5e-7), Line(0.01, 5e-7), LARGE)
FOLD = Fold(training=1600, held_out=400, speed=A_SECOND_A_MEGAPIXEL)
"""An epoch at 512x512 takes 1600 x 0.262 + 400 x 0.0655 = 445.6 s, at 256x256 a quarter of that."""
SQUARES = [(128, 128), (192, 192), (256, 256), (352, 352), (512, 512)]
CONFIG = config_from("laptop", "roof-tiles", {})


def plan_of(minutes: float, given: set[str] = set(), fold: Fold = FOLD, **options: Any) -> Plan:  # noqa: B006
    plan = planned(replace(CONFIG, **options), minutes * 60, fold, SQUARES, given)
    assert plan
    return plan


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

    def test_the_end_of_each_epoch_takes_its_time(self) -> None:
        """28 s an epoch at 128x128, all masks 7 s: of three minutes six epochs fit, of 32 s each only five."""
        fold = replace(FOLD, speed=replace(A_SECOND_A_MEGAPIXEL, epoch=4.0))
        assert plan_of(3, fold=fold).config.epochs == 5

    @pytest.mark.parametrize(
        ("seconds", "given", "options"),
        [(30, set(), {}), (-5, set(), {}), (600, {"epochs"}, {"epochs": 100})],
    )
    def test_nothing_fits_into_too_short_a_time(self, seconds: float, given: set[str], options: dict[str, Any]) -> None:
        assert planned(replace(CONFIG, **options), seconds, FOLD, SQUARES, given) is None

    @pytest.mark.parametrize(
        ("given", "options", "epochs", "seconds"),
        [
            (set(), {}, 1, 27.8528),
            ({"epochs"}, {"epochs": 4}, 4, 4 * 27.8528),
            ({"image_size"}, {"image_size": (256, 256)}, 1, 4 * 27.8528),
            (
                {"early_sizes", "image_size"},
                {"early_sizes": ((128, 128, 3),), "image_size": (256, 256), "epochs": 9},
                4,
                (3 + 4) * 27.8528,
            ),
        ],
    )
    def test_the_least_plan_has_one_epoch_or_those_that_are_given(
        self, given: set[str], options: dict[str, Any], epochs: int, seconds: float
    ) -> None:
        least = least_plan(replace(CONFIG, **options), FOLD, SQUARES, given)
        assert (least.config.epochs, least.training_seconds) == (epochs, pytest.approx(seconds))
        assert planned(replace(CONFIG, **options), least.seconds + 1e-6, FOLD, SQUARES, given) == least


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
            # 10.2 s for the end, and twice 0.08 s, of which 1.25 times as many are less than a minute.
            (10, set(), {}, "1 epoch at 32x32 for 2 folds .* 10 s more.* Give --budget 1m or a single --fold"),
            # 2 x 1000 x 0.08 s + 10.2 s = 170 s, and 1.25 times that 3.5 min.
            (
                100,
                {"epochs", "image_size"},
                {"epochs": 1000, "image_size": (64, 64)},
                "1,000 epochs at 64x64 for 2 folds .* 3 min more.* "
                "Give --budget 4m, a single --fold, fewer --epochs or a smaller --image-size",
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
        with pytest.raises(InputError, match=f"^--budget: of .*, 0 s went for .* measuring; {message}\\.$"):
            self.within(tmp_path, tiles, photos, seconds, frozenset(given), **options)

    def test_a_single_fold_is_not_advised_where_it_is_given(
        self, tmp_path: Path, tiles: Competition, photos: list[Photo]
    ) -> None:
        with pytest.raises(InputError, match=r"1 epoch at 32x32 with masks .* Give --budget 1m\.$"):
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
