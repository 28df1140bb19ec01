import json
from typing import Any

import numpy as np
import pytest

from kaggle_tools.results.scores import NOT_RECORDED, Estimate, ExpectedScore, ValidatedRun, interval


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
