from collections import Counter, defaultdict

import pytest
import sklearn.model_selection  # noqa: F401  # whose first import takes longer than a drawn case may
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.data.folds import assign_folds


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[str], int, int]:
    """The groups of photos in any order, the number of folds, and a seed."""
    n_folds = draw(st.integers(2, 6))
    sizes = draw(st.lists(st.integers(1, 5), min_size=n_folds, max_size=20))
    groups = [f"car{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return draw(st.permutations(groups)), n_folds, draw(st.integers(0, 2**32 - 1))


def folds_by_group(groups: list[str], folds: list[int]) -> dict[str, set[int]]:
    found = defaultdict(set)
    for group, fold in zip(groups, folds, strict=True):
        found[group].add(fold)
    return found


@given(split=splits())
def test_no_group_is_in_two_folds_and_every_photo_is_in_one(split: tuple[list[str], int, int]) -> None:
    groups, n_folds, seed = split
    folds = assign_folds(groups, n_folds, seed)
    assert len(folds) == len(groups)
    assert set(folds) == set(range(n_folds))
    assert all(len(found) == 1 for found in folds_by_group(groups, folds).values())


@given(split=splits())
def test_the_folds_hold_as_many_groups_as_each_other_give_or_take_one(split: tuple[list[str], int, int]) -> None:
    groups, n_folds, seed = split
    counts = Counter(min(found) for found in folds_by_group(groups, assign_folds(groups, n_folds, seed)).values())
    assert max(counts.values()) - min(counts.values()) <= 1


def test_cars_of_16_photos_make_folds_of_whole_cars() -> None:
    groups = [f"car{number:03}" for number in range(318) for _ in range(16)]
    assert sorted(Counter(assign_folds(groups, 5, 0)).values()) == [63 * 16] * 2 + [64 * 16] * 3


def test_a_seed_always_gives_the_same_folds_and_another_gives_others() -> None:
    groups = [f"car{number % 40}" for number in range(640)]
    assert assign_folds(groups, 5, seed=7) == assign_folds(groups, 5, seed=7)
    assert assign_folds(groups, 5, seed=7) != assign_folds(groups, 5, seed=8)


def test_the_folds_do_not_depend_on_the_order_of_the_photos() -> None:
    groups = [f"car{number % 40}" for number in range(200)]
    straight = folds_by_group(groups, assign_folds(groups, 5, 0))
    assert folds_by_group(groups[::-1], assign_folds(groups[::-1], 5, 0)) == straight


def test_the_groups_need_not_be_named_in_the_order_of_the_folds() -> None:
    groups = [f"car{number:02}" for number in range(40)]
    folds = assign_folds(groups, 2, 0)
    assert folds != sorted(folds)


@pytest.mark.parametrize("strata", [None, [0, 1, 0, 1, 0, 1]])
def test_fewer_groups_than_folds_are_refused(strata: list[int] | None) -> None:
    with pytest.raises(ValueError, match="5 folds need at least as many groups, but there are only 2"):
        assign_folds(["a", "a", "a", "b", "b", "b"], 5, 0, strata)


def test_no_photos_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="2 folds need at least as many groups, but there are only 0"):
        assign_folds([], 2, 0)


@pytest.mark.parametrize("n_folds", [1, 0, -3])
def test_fewer_than_two_folds_are_refused(n_folds: int) -> None:
    with pytest.raises(ValueError, match=f"{n_folds} folds: at least 2 are needed"):
        assign_folds(["a", "b", "c"], n_folds, 0)


def test_as_many_groups_as_folds_are_enough() -> None:
    assert sorted(assign_folds(["a", "b", "c"], 3, 0)) == [0, 1, 2]


class TestStrata:
    """Sixty groups of two photos; of the photos of every group one is of class 0 or 1, the other of class 2."""

    groups = tuple(f"g{number // 2:02}" for number in range(120))
    strata = tuple(number // 2 % 2 if number % 2 else 2 for number in range(120))

    def test_every_stratified_fold_holds_about_the_same_share_of_each_class(self) -> None:
        folds = assign_folds(self.groups, 5, 0, self.strata)
        counts = Counter(zip(folds, self.strata, strict=True))
        assert set(folds) == set(range(5))
        assert all(counts[fold, 2] == pytest.approx(12, abs=1) for fold in range(5))
        assert all(counts[fold, stratum] == pytest.approx(6, abs=1) for fold in range(5) for stratum in (0, 1))

    def test_no_group_is_in_two_stratified_folds(self) -> None:
        folds = assign_folds(self.groups, 5, 0, self.strata)
        assert all(len(found) == 1 for found in folds_by_group(self.groups, folds).values())

    def test_stratified_folds_depend_on_the_seed(self) -> None:
        folds = [assign_folds(self.groups, 5, seed, self.strata) for seed in (0, 0, 1)]
        assert folds[0] == folds[1] != folds[2]

    def test_a_stratum_for_only_some_photos_is_refused(self) -> None:
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            assign_folds(self.groups, 5, 0, self.strata[:-1])
