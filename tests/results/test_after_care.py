from typing import ClassVar

import numpy as np
import pytest
from known_competitions import CARVANA, POOLED, SALT
from numpy.typing import NDArray
from scipy import ndimage

from kaggle_tools import metrics
from kaggle_tools.metrics import Overlap, overlap
from kaggle_tools.results.after_care import (
    LEVELS,
    AfterCare,
    Trial,
    changed_overlap,
    chosen,
    levels_of,
    trials_of,
)
from kaggle_tools.results.scores import Estimate


def drawn(*rows: str) -> NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


MASK = drawn(
    "#####...#",
    "#...#...#",
    "#.#.#....",
    "#...#.##.",
    "#####....",
    ".........",
)
"""A ring of 16 pixels around a hole of 8 with a part of 1 in it, and parts of 2 and 2."""


class TestApplied:
    def test_parts_with_fewer_pixels_are_removed(self) -> None:
        kept = AfterCare(smallest_part=3).applied(MASK)
        assert kept.sum() == 16
        assert not kept[2, 2]
        assert kept[0, :5].all()
        assert AfterCare(smallest_part=2).applied(MASK).sum() == 20

    def test_holes_with_fewer_pixels_are_filled(self) -> None:
        filled = AfterCare(smallest_hole=9).applied(MASK)
        assert filled[:5, :5].all()
        assert filled.sum() == 21 + 8
        assert np.array_equal(AfterCare(smallest_hole=8).applied(MASK), MASK)

    def test_what_reaches_the_edge_is_no_hole(self) -> None:
        assert np.array_equal(AfterCare(smallest_hole=1000).applied(drawn("##.", "#..")), drawn("##.", "#.."))

    def test_parts_that_touch_at_a_corner_are_one_and_holes_are_two(self) -> None:
        assert AfterCare(smallest_part=2).applied(drawn("#..", ".#.")).sum() == 2
        cornered = drawn("####", "#.##", "##.#", "####")
        assert AfterCare(smallest_hole=2).applied(cornered).all()

    @pytest.mark.parametrize("mask", [np.zeros((3, 4), bool), np.ones((3, 4), bool), np.ones((1, 1), bool)])
    def test_blank_and_full_masks_stay(self, mask: NDArray[np.bool_]) -> None:
        assert np.array_equal(AfterCare(smallest_hole=64).applied(mask), mask)
        assert np.array_equal(AfterCare(smallest_part=1).applied(mask), mask)

    def test_parts_and_holes_are_those_that_scipy_finds(self) -> None:
        rng = np.random.default_rng(3)
        for _ in range(30):
            mask_HW = rng.random((23, 31)) < 0.55
            parts_HW, count = ndimage.label(mask_HW, np.ones((3, 3)))
            small = [label for label in range(1, count + 1) if (parts_HW == label).sum() < 5]
            holes_HW, holes = ndimage.label(ndimage.binary_fill_holes(mask_HW) & ~mask_HW)
            tiny = [label for label in range(1, holes + 1) if (holes_HW == label).sum() < 3]
            expected = (mask_HW & ~np.isin(parts_HW, small)) | np.isin(holes_HW, tiny)
            assert np.array_equal(AfterCare(smallest_part=5, smallest_hole=3).applied(mask_HW), expected)


def test_levels_count_the_pixels_of_parts_and_holes_by_the_power_of_two_of_their_area() -> None:
    truth_HW = np.zeros_like(MASK)
    truth_HW[:3] = True
    levels = levels_of(MASK, truth_HW)
    assert levels.shape == (2, LEVELS, 2)
    parts, holes = levels[:, :, 0], levels[:, :, 1]
    assert {at: count for at, count in enumerate(parts[0].tolist()) if count} == {0: 1, 1: 4, 4: 16}
    assert {at: count for at, count in enumerate(parts[1].tolist()) if count} == {3: 8}
    assert {at: count for at, count in enumerate(holes[0].tolist()) if count} == {0: 1, 1: 2, 4: 9}
    assert {at: count for at, count in enumerate(holes[1].tolist()) if count} == {3: 5}


def test_counts_after_care_are_those_of_the_masks_after_care() -> None:
    rng = np.random.default_rng(5)
    masks, truths = rng.random((20, 17, 29)) < 0.55, rng.random((20, 17, 29)) < 0.5
    levels = np.stack([levels_of(mask, truth) for mask, truth in zip(masks, truths, strict=True)])
    plain = Overlap(*np.array([overlap(mask, truth) for mask, truth in zip(masks, truths, strict=True)]).T)
    for care in (AfterCare(), AfterCare(smallest_part=4), AfterCare(smallest_hole=2), AfterCare(0.5, 16, 8)):
        expected = [overlap(care.applied(mask), truth) for mask, truth in zip(masks, truths, strict=True)]
        assert np.array_equal(np.array(changed_overlap(plain, levels, care)), np.array(expected).T)


class TestTrials:
    """Twenty groups with one photo each."""

    GROUPS: ClassVar = [f"car{number:02}" for number in range(20)]

    def at_thresholds(self, better: list[float]) -> dict[float, Overlap]:
        """Masks of 100 pixels that share 80 with the truth at 0.5, and at 0.25 so many."""
        hundred = np.full(20, 100)
        return {
            0.25: Overlap(np.array(better), hundred, hundred),
            0.5: Overlap(np.full(20, 80), hundred, hundred),
        }

    def test_a_threshold_that_is_better_in_all_groups_is_chosen(self) -> None:
        trials = trials_of(CARVANA, self.GROUPS, self.at_thresholds([85] * 10 + [90] * 10), None)
        assert len(trials) == 1
        assert trials[0].gain.score == pytest.approx(0.075)
        assert trials[0].gain.is_above_0
        assert chosen(trials) == AfterCare(0.25)

    def test_over_all_pixels_a_threshold_is_chosen_that_is_better_on_large_objects(self) -> None:
        """It loses half of each second photo, which are small."""
        truth = np.array([1000, 10] * 10)
        usual, other = (Overlap(np.array(shared * 10), truth, truth) for shared in ([800, 10], [900, 5]))
        trials = trials_of(POOLED, self.GROUPS, {0.25: other, 0.5: usual}, None)
        assert trials[0].gain.score == pytest.approx((905 - 810) / 1010)
        assert chosen(trials) == AfterCare(0.25)
        assert chosen(trials_of(CARVANA, self.GROUPS, {0.25: other, 0.5: usual}, None)) == AfterCare()

    def test_a_gain_that_few_groups_make_is_not_real(self) -> None:
        trials = trials_of(CARVANA, self.GROUPS, self.at_thresholds([79] * 19 + [100]), None)
        assert trials[0].care == AfterCare(0.25)
        assert not trials[0].gain.is_above_0
        assert chosen(trials) == AfterCare()

    def test_a_gain_is_that_of_choices_made_on_other_groups(self) -> None:
        """Each group alone has another best threshold, which says nothing of the others."""
        rng = np.random.default_rng(0)
        hundred = np.full(20, 100)
        noise = {at / 40: Overlap(rng.integers(60, 100, 20), hundred, hundred) for at in range(1, 40)}
        (trial,) = trials_of(CARVANA, self.GROUPS, noise, None)
        best = max(metrics.dice(of_all).mean() for of_all in noise.values()) - metrics.dice(noise[0.5]).mean()
        assert trial.gain.score < best - 0.02

    @pytest.mark.parametrize(("groups", "expected"), [(5, AfterCare()), (6, AfterCare(0.25))])
    def test_of_few_groups_no_gain_is_sure(self, groups: int, expected: AfterCare) -> None:
        """All five may well gain by chance: with probability 1 / 16."""
        names = [f"car{number % groups}" for number in range(20)]
        better = [85 + number % groups for number in range(20)]
        assert chosen(trials_of(CARVANA, names, self.at_thresholds(better), None)) == expected

    def test_one_group_alone_decides_nothing(self) -> None:
        trials = trials_of(CARVANA, ["car"] * 20, self.at_thresholds([90] * 20), None)
        assert trials[0].gain == Estimate(0, None)
        assert chosen(trials) == AfterCare()

    def test_small_false_parts_are_removed_where_that_pays(self) -> None:
        """On every blank photo there are six false pixels, and on every other one a part of forty true ones."""
        blank = np.arange(20) % 2 == 0
        levels = np.zeros((20, 2, LEVELS, 2), dtype=np.int64)
        levels[blank, 0, 2, 0] = 6
        levels[~blank, 0, 5] = (40, 40)
        plain = Overlap(np.where(blank, 0, 40), np.where(blank, 6, 40), np.where(blank, 0, 50))
        trials = trials_of(SALT, self.GROUPS, {0.5: plain}, levels)
        assert chosen(trials) == AfterCare(smallest_part=8)
        assert trials[1].gain.score == pytest.approx(0.5)

    def test_of_two_ways_the_one_that_gains_more_is_chosen(self) -> None:
        ways = [
            Trial(AfterCare(0.25), Estimate(0.01, (0.005, 0.02))),
            Trial(AfterCare(0.5, 8), Estimate(0.02, (0.01, 0.03))),
        ]
        assert chosen(ways) == AfterCare(0.5, 8)
        assert chosen([]) == AfterCare()


def test_a_way_of_after_care_is_said_in_words() -> None:
    assert str(AfterCare(0.4375)) == "threshold 0.4375"
    assert (
        str(AfterCare(0.5, 64, 1024))
        == "threshold 0.5, parts of fewer than 64 pixels removed, holes of fewer than 1,024 pixels filled"
    )


def test_of_several_classes_each_has_what_gains_on_its_own_masks() -> None:
    real, doubtful = Estimate(0.01, (0.005, 0.02)), Estimate(0.01, (-0.001, 0.02))
    trials = [
        Trial(AfterCare(0.3), real, "fish"),
        Trial(AfterCare(smallest_part=64), real._replace(score=0.02), "fish"),
        Trial(AfterCare(0.7), doubtful, "sugar"),
    ]
    care = chosen(trials)
    assert care.of("fish") == AfterCare(smallest_part=64)
    assert care.of("sugar") == AfterCare()
    assert care.class_thresholds == [0.5, 0.5]
    assert care.is_more_than_a_threshold
    assert str(care) == "fish: threshold 0.5, parts of fewer than 64 pixels removed; sugar: threshold 0.5"
    assert chosen(trials[2:]) == AfterCare()
    assert AfterCare(0.3).of("fish") == AfterCare(0.3)
