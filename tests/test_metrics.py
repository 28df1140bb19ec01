import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.metrics import BY_NAME, Overlap, dice, f_beta, iou, mean_precision, overlap

COUNTS = st.tuples(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7)).map(
    lambda parts: Overlap(parts[0], parts[0] + parts[1], parts[0] + parts[2])
)


def test_dice_and_iou_of_a_pair_of_masks_counted_by_hand() -> None:
    predicted = np.array([[1, 1, 0], [1, 0, 0]], dtype=bool)
    truth = np.array([[0, 1, 0], [1, 0, 1]], dtype=bool)
    counts = overlap(predicted, truth)
    assert counts == Overlap(intersection=2, predicted=3, truth=3)
    assert dice(counts) == pytest.approx(2 / 3)
    assert iou(counts) == pytest.approx(1 / 2)


def test_two_empty_masks_score_1() -> None:
    assert dice(Overlap(0, 0, 0)) == 1
    assert iou(Overlap(0, 0, 0)) == 1


def test_a_mask_against_an_empty_one_scores_0() -> None:
    for counts in (Overlap(0, 5, 0), Overlap(0, 0, 5), Overlap(0, 5, 5)):
        assert dice(counts) == 0
        assert iou(counts) == 0


def test_a_perfect_mask_scores_1() -> None:
    assert dice(Overlap(7, 7, 7)) == 1
    assert iou(Overlap(7, 7, 7)) == 1


def test_each_pair_of_masks_is_scored_by_itself() -> None:
    counts = Overlap(np.array([0, 2, 1]), np.array([0, 2, 3]), np.array([0, 2, 1]))
    assert dice(counts).tolist() == [1, 1, 0.5]
    assert iou(counts).tolist() == [1, 1, 1 / 3]


@given(counts=COUNTS)
def test_dice_follows_from_iou_and_both_stay_between_0_and_1(counts: Overlap) -> None:
    assert 0 <= iou(counts) <= dice(counts) <= 1
    assert dice(counts) == pytest.approx(2 * iou(counts) / (1 + iou(counts)))


def test_masks_of_different_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"a mask of shape \(2, 3\) cannot be compared with one of \(3, 2\)"):
        overlap(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))


@pytest.mark.parametrize(
    ("shared", "predicted", "truth", "score"),
    [
        (10, 15, 15, 0.0),  # IoU 0.5, which does not exceed 0.5
        (12, 16, 16, 0.2),  # IoU 0.6 exceeds 0.5 and 0.55, but not itself
        (57, 95, 57, 0.2),  # 0.6 again
        (13, 13, 20, 0.3),  # IoU 0.65
        (96, 100, 99, 0.9),  # IoU 96 / 103, 0.932
        (19, 19, 20, 0.9),  # IoU 0.95
        (20, 20, 20, 1.0),
        (0, 0, 0, 1.0),
        (0, 1, 0, 0.0),
        (0, 0, 1, 0.0),
        (0, 7, 7, 0.0),
    ],
)
def test_mean_precision_counts_the_thresholds_that_the_iou_exceeds(
    shared: int, predicted: int, truth: int, score: float
) -> None:
    assert mean_precision(Overlap(shared, predicted, truth)) == pytest.approx(score)


def test_mean_precision_of_several_pairs_at_once() -> None:
    counts = Overlap(np.array([12, 0, 0]), np.array([16, 0, 9]), np.array([16, 0, 0]))
    assert mean_precision(counts).tolist() == pytest.approx([0.2, 1, 0])


@pytest.mark.parametrize(("name", "expected"), [("F0.5", 5 / 8), ("F2", 5 / 12)])
def test_f_beta_weighs_recall_beta_times_as_much_as_precision(name: str, expected: float) -> None:
    """Three pixels shared, of four predicted and eight true: a precision of 3/4 and a recall of 3/8."""
    precision, recall, beta = 3 / 4, 3 / 8, float(name[1:])
    assert BY_NAME[name](Overlap(3, 4, 8)) == pytest.approx(expected)
    assert expected == pytest.approx((1 + beta**2) * precision * recall / (beta**2 * precision + recall))


def test_a_pooled_score_is_that_of_each_photo_where_they_are_looked_at_one_by_one() -> None:
    counts = Overlap(np.array([3, 0, 0]), np.array([4, 0, 9]), np.array([8, 0, 0]))
    assert BY_NAME["global Dice"](counts).tolist() == [0.5, 1, 0]


def test_f_beta_of_two_empty_masks_is_1_and_f1_is_dice() -> None:
    assert f_beta(Overlap(0, 0, 0), 2) == 1
    assert f_beta(Overlap(3, 4, 8), 1) == dice(Overlap(3, 4, 8))
