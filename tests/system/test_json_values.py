import math
from collections.abc import Callable
from typing import Any

import pytest

from kaggle_tools.system.json_values import (
    Fields,
    MalformedError,
    between,
    by_name,
    each,
    floating,
    mapping,
    nullable,
    pair,
    plain,
    text,
    whole,
)


def refusal(read: Callable[[Any], Any], value: Any) -> str:
    with pytest.raises(MalformedError) as refused:
        read(value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((text, value) for value in ("", "größer", "x" * 100_000)),
        *((whole, value) for value in (0, 7, 10**12)),
        *((floating, value) for value in (0, 0.0, 1.5, 3, 1e12)),
        (mapping, {"a": [1]}),
        *((plain, value) for value in (None, True, -1.5, "a", [1, ["b"]])),
        (between(whole, 1, 3), 3),
        *((nullable(whole), value) for value in (None, 5)),
        (by_name(whole), {"a": 1, "b": 2}),
    ],
)
def test_a_value_within_its_bounds_is_returned_as_it_is(read: Callable[[Any], Any], value: Any) -> None:
    found = read(value)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((text, value) for value in (None, 5, ["a"], "x" * 100_001, "a\0b", "\ud800")),
        *((whole, value) for value in (None, True, "5", 1.0, -1, 10**12 + 1, 10**400)),
        *((floating, value) for value in (None, False, "0.5", -1e-9, math.nan, math.inf, -math.inf, 1e13, 10**400)),
        *((mapping, value) for value in (None, [], "a")),
        *((plain, value) for value in ({}, [{}], "\0", ["\ud800"])),
        *((between(whole, 1, 3), value) for value in (0, 4, 2.0)),
        (nullable(whole), "x"),
        *((each(whole), value) for value in (None, "12", {"0": 1}, [1, "x"])),
        *((pair(whole), value) for value in ([], [1], [1, 2, 3], [1, None], "12")),
        *((by_name(whole), value) for value in ([1], {"a": None}, {"a\0": 1})),
    ],
)
def test_another_value_is_refused_briefly(read: Callable[[Any], Any], value: Any) -> None:
    assert 0 < len(refusal(read, value)) < 200


def test_lists_become_tuples() -> None:
    assert each(floating)([1, 0.5]) == (1, 0.5)
    assert pair(whole)([96, 160]) == (96, 160)


class TestFields:
    def test_values_are_read_by_their_names(self) -> None:
        fields = Fields({"epochs": 3, "tta": None})
        assert fields.required("epochs", whole) == 3
        assert fields.optional("epochs", whole, 5) == 3
        assert fields.optional("tta", text, "none") == "none"
        assert fields.optional("missing", text, "none") == "none"

    def test_what_is_no_object_has_no_fields(self) -> None:
        assert refusal(Fields, [1]) == "[1] is not a JSON object"

    def test_a_value_that_is_missing_or_null_is_refused_where_it_is_required(self) -> None:
        assert refusal(lambda value: Fields(value).required("run", text), {}) == "no run in it"
        assert refusal(lambda value: Fields(value).required("run", text), {"run": None}) == "run: None is not a text"

    def test_a_refusal_says_where_the_value_stands_from_the_outside_in(self) -> None:
        def network(value: Any) -> float:
            return Fields(value).required("weight", floating)

        def record(value: Any) -> tuple[float, ...]:
            return Fields(value).optional("models", each(network), ())

        recorded = {"models": [{"weight": 1}, {"weight": -1}]}
        assert refusal(record, recorded) == "models[1].weight: -1 is not from 0 on"
        assert refusal(record, {"models": [{}]}) == "models[0]: no weight in it"
