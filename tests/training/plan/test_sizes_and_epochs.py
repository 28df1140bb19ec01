from dataclasses import replace
from typing import Any

import pytest

from kaggle_tools.config.presets import config_from
from kaggle_tools.config.recorded import settings_of
from kaggle_tools.data.images import Size
from kaggle_tools.training.plan import budget
from kaggle_tools.training.plan.sizes_and_epochs import Fold, Plan, least_plan, planned, sizes_for
from kaggle_tools.training.plan.speed import Line, Speed

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

    def test_no_size_is_smaller_than_one_before_it(self) -> None:
        options = {"early_sizes": ((192, 192, 1),), "image_size": (512, 512), "epochs": 9}
        plan = plan_of(4, {"early_sizes"}, **options)  # an epoch at 192x192 takes 63 s
        assert (plan.config.image_size, plan.config.epochs) == ((192, 192), 3)
        least = least_plan(replace(CONFIG, **options), FOLD, SQUARES, {"early_sizes"})
        assert (least.config.image_size, least.config.epochs) == ((192, 192), 2)

    def test_thousands_of_epochs_are_planned_at_once(self) -> None:
        """Ten photos that take a millisecond each: of two minutes 12,000 epochs fit."""
        tiny = Fold(10, 2, Speed(Line(0.001, 0), Line(0, 0), Line(0, 0), LARGE))
        assert plan_of(2, fold=tiny).config.epochs >= 0.96 * 12_000
        assert plan_of(2, {"epochs"}, fold=tiny, epochs=5_000).config.epochs == 5_000

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
