import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from kaggle_tools.errors import InputError
from kaggle_tools.metrics import BY_NAME, Overlap
from kaggle_tools.results.scores import (
    NOT_RECORDED,
    Estimate,
    ExpectedScore,
    MeanScores,
    PhotoScores,
    ValidatedRun,
    nested_choice,
    of_counts,
    of_table,
)


def interval(scores: NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float] | None:
    return MeanScores.of(scores).interval(groups)


class TestInterval:
    def test_the_interval_is_where_the_mean_of_groups_drawn_again_falls(self) -> None:
        """Two groups: a mean of a, of both, or of b, with probabilities 1/4, 1/2, 1/4."""
        assert interval(np.array([0.8, 0.9]), ("a", "b")) == pytest.approx([0.8, 0.9])

    def test_the_interval_agrees_with_groups_drawn_by_hand(self) -> None:
        generator = np.random.default_rng(1)
        groups = generator.integers(0, 30, 400)
        scores = 0.9 + groups / 500 + generator.normal(0, 0.01, 400)
        found = interval(scores, tuple(map(str, groups)))
        by_group = [scores[groups == group] for group in range(30)]
        draws = [np.concatenate([by_group[at] for at in generator.integers(0, 30, 30)]).mean() for _ in range(4000)]
        assert found == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=1e-3)

    def test_the_interval_of_few_groups_is_as_much_wider_as_students_t(self) -> None:
        """Of six groups: t is 2.571, times the root of 6/5 that is 2.816, beyond which a normal tail has 0.00243.

        What is drawn are the 6 ** 6 = 46,656 samples of six groups.
        """
        scores = np.array([0.7, 0.8, 0.85, 0.9, 0.95, 1.0])
        means = np.stack(np.meshgrid(*[scores] * 6)).reshape(6, -1).mean(axis=0)
        found = interval(scores, tuple("abcdef"))
        assert found == pytest.approx(np.quantile(means, [0.00243, 1 - 0.00243]), abs=0.012)
        assert found != pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.025)

    def test_photos_that_are_alike_in_a_group_do_not_narrow_the_interval(self) -> None:
        few = interval(np.array([0.8, 0.9, 0.7]), ("a", "b", "c"))
        many = interval(np.repeat([0.8, 0.9, 0.7], 50), tuple(np.repeat(["a", "b", "c"], 50)))
        assert many == pytest.approx(few)

    def test_a_single_group_has_no_interval(self) -> None:
        assert interval(np.array([0.8, 0.9]), ("a", "a")) is None


SMALL_AND_LARGE = Overlap(np.array([1, 90, 0]), np.array([4, 100, 0]), np.array([4, 100, 0]))
"""A small object of which a quarter is right, a large one of which nine tenths are, and a blank photo."""


def pooled(counts: Overlap) -> PhotoScores:
    return of_counts(counts, BY_NAME["global Dice"])


class TestPooled:
    def test_the_score_over_all_pixels_is_that_of_the_added_counts_and_that_of_photos_their_mean(self) -> None:
        assert pooled(SMALL_AND_LARGE).of_set() == pytest.approx(2 * 91 / 208)
        assert of_counts(SMALL_AND_LARGE, BY_NAME["Dice"]).of_set() == pytest.approx((0.25 + 0.9 + 1) / 3)

    def test_a_set_of_blank_photos_with_blank_masks_counts_1(self) -> None:
        assert pooled(SMALL_AND_LARGE).at([2]).of_set() == 1

    def test_parts_are_pooled_each_for_itself_in_their_order(self) -> None:
        by_part = pooled(SMALL_AND_LARGE).by(["b", "a", "b"])
        assert list(by_part.items()) == [("a", 0.9), ("b", 0.25)]

    def test_the_interval_is_that_of_groups_drawn_again_whose_counts_are_added(self) -> None:
        """Of two groups: the counts of the one, of both, or of the other, with probabilities 1/4, 1/2, 1/4."""
        assert pooled(SMALL_AND_LARGE).interval(("a", "b", "a")) == pytest.approx([0.25, 0.9])
        assert pooled(SMALL_AND_LARGE).interval(("a", "a", "a")) is None

    def test_the_interval_agrees_with_groups_drawn_by_hand(self) -> None:
        """Groups differ in size, so that no mean over photos has the same one."""
        generator = np.random.default_rng(1)
        groups = generator.integers(0, 40, 300)
        truth = generator.integers(1, 50, 300) ** 2 * (1 + groups)
        shared = (truth * generator.uniform(0.3, 1, 300)).astype(int)
        predicted = shared + generator.integers(0, 300, 300)
        counts = Overlap(shared, predicted, truth)
        draws = []
        for _ in range(4000):
            photos = [photo for group in generator.integers(0, 40, 40) for photo in np.flatnonzero(groups == group)]
            draws.append(2 * shared[photos].sum() / (predicted[photos].sum() + truth[photos].sum()))
        # Of 40 groups Student's t at 39 is 2.0227; times the root of 40/39 that is 2.0484, with 0.02026 in a tail.
        found = pooled(counts).interval(tuple(map(str, groups)))
        assert found == pytest.approx(np.quantile(draws, [0.02026, 1 - 0.02026]), abs=0.003)
        mean = of_counts(counts, BY_NAME["Dice"]).interval(tuple(map(str, groups)))
        assert mean != pytest.approx(found, abs=0.01)

    def test_the_difference_is_that_of_both_pooled_scores(self) -> None:
        worse = Overlap(np.array([1, 60, 0]), np.array([4, 100, 6]), np.array([4, 100, 0]))
        lead = pooled(SMALL_AND_LARGE).minus(pooled(worse))
        assert lead.of_set() == pytest.approx(2 * 91 / 208 - 2 * 61 / 214)
        # Drawn are the group a twice, b twice, or each once, of which b alone is between the others.
        assert lead.interval(("a", "b", "a")) == pytest.approx([2 / 8 - 2 / 14, 2 * 91 / 208 - 2 * 61 / 214])

    def test_what_a_choice_gains_is_pooled(self) -> None:
        """The second way is better on ten small photos, and worse on one large one of each of ten groups."""
        truth = np.array([10, 1000] * 10)
        ways = Overlap(
            np.stack([np.array([5, 900] * 10), np.array([10, 800] * 10)]), np.stack([truth] * 2), np.stack([truth] * 2)
        )
        groups = [f"{at // 2}" for at in range(20)]
        assert nested_choice(of_counts(ways, BY_NAME["Dice"]), groups)[0] == 1
        assert nested_choice(pooled(ways), groups) == (0, Estimate(0, (0, 0)))
        best, gain = nested_choice(pooled(ways).at([1, 0]), groups)
        assert (best, gain.score) == (1, pytest.approx((905 - 810) / 1010))
        assert gain.interval == pytest.approx([(905 - 810) / 1010] * 2)


class TestOfATable:
    TABLE = pd.DataFrame({"score": [0.5, 1], "intersection": [1, 2], "predicted": [1, 2], "truth": [3.0, 2]})

    def test_the_counts_are_taken_only_where_the_score_needs_them(self) -> None:
        assert of_table(self.TABLE, BY_NAME["global Dice"]).of_set() == 2 * 3 / 8
        assert of_table(self.TABLE[["score"]], BY_NAME["Dice"]).of_set() == 0.75

    @pytest.mark.parametrize(
        "table",
        [TABLE[["score"]], TABLE.assign(truth=[1, None]), TABLE.assign(intersection=[2, 2])],
        ids=["missing", "missing of one photo", "more shared than predicted"],
    )
    def test_counts_that_are_missing_or_cannot_be_are_refused(self, table: pd.DataFrame) -> None:
        with pytest.raises(InputError, match="^oof.csv lacks possible pixel counts intersection, predicted, truth, wh"):
            of_table(table, BY_NAME["global Dice"])


class TestJson:
    @pytest.mark.parametrize("interval", [[0.8, 0.95], None])
    def test_a_validated_run_is_written_as_it_was_read_with_its_keys_in_order(self, interval: Any) -> None:
        recorded = {"run": "unet", "folds": [0, 2], "score_name": "Dice", "score_mean": 0.9, "score_interval": interval}
        assert json.dumps(ValidatedRun.from_json(recorded).to_json()) == json.dumps(recorded)

    @pytest.mark.parametrize(
        "recorded",
        [
            {"score": 0.9, "interval": [0.8, 0.95]},
            {"score": 0.9, "interval": None},
            {"score": 0.9, "interval": [0.8, 0.95], "excess": 0.01},
            {"unavailable": "another TTA"},
            {"unavailable": "another TTA", "excess": -0.01},
        ],
    )
    def test_an_expected_score_is_written_as_it_was_read_with_its_keys_in_order(self, recorded: dict[str, Any]) -> None:
        assert json.dumps(ExpectedScore.from_json(recorded).to_json()) == json.dumps(recorded)

    def test_an_expected_score_of_which_nothing_was_recorded_is_unavailable(self) -> None:
        assert ExpectedScore.from_json({}) == NOT_RECORDED == ExpectedScore(None, "not recorded")


class TestEstimate:
    def test_an_estimate_is_shown_with_its_interval_where_it_has_one(self) -> None:
        assert str(Estimate(0.9, (0.8, 0.95))) == "0.90000 (0.80000 to 0.95000)"
        assert str(Estimate(0.9, None)) == "0.90000"

    def test_error_bars_reach_from_the_score_to_the_ends_of_the_interval_and_are_never_negative(self) -> None:
        assert np.allclose(Estimate(0.9, (0.8, 0.95)).spread, [[0.1], [0.05]])
        assert Estimate(0.9, (0.95, 0.85)).spread == [[0.0], [0.0]]
        assert Estimate(0.9, None).spread == [[0.0], [0.0]]
