import pytest

from kaggle_tools.errors import counted, counted_of, first_few, in_lines


@pytest.mark.parametrize(("count", "text"), [(0, "0 masks"), (1, "1 mask"), (2, "2 masks"), (1200, "1,200 masks")])
def test_only_one_of_a_thing_is_singular(count: int, text: str) -> None:
    assert counted(count, "mask") == text


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [
        (3, 1200, "3 of 1,200 masks are"),
        (1, 2, "1 of 2 masks is"),
        (1200, 1200, "all 1,200 masks are"),
        (1, 1, "the only mask is"),
        (0, 1, "0 of 1 masks are"),
    ],
)
def test_a_part_of_all_is_counted_in_the_right_number(count: int, total: int, text: str) -> None:
    assert counted_of(count, total, "mask") == text


def test_the_first_few_of_many_are_named_and_the_others_counted() -> None:
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert first_few(["a", "b"], count=1002) == "a, b and 999 more"
    assert in_lines("3 faults", ["a", "b", "c"], 2) == "3 faults:\n  a\n  b\n  and 1 more"


def test_verbs_follow_the_number_of_things() -> None:
    assert counted(1, "mask is", "masks are") == "1 mask is"
    assert counted(0, "mask is", "masks are") == "0 masks are"
