"""Values that were read from JSON, each checked to be of the type, and within the bounds, that are expected there.

A reader takes a value and returns it as it is, so that what is written again has the same bytes, or raises
`MalformedError`. `Fields` reads the values of an object by their names. Knows nothing of files.
"""

import json
import re
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
D = TypeVar("D")
N = TypeVar("N", int, float)
Reader = Callable[[Any], T]

LONGEST_TEXT = 100_000
"""Characters. A command that names many runs is long."""
LARGEST_NUMBER = 10**12
"""No number of pixels or seconds, and no weight, is larger."""
UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""What no file's name can hold, and halves of characters, which UTF-8 does not have."""


class MalformedError(ValueError):
    """A value is not as it must be, with where it stands, from the outside in: `models[2].weight`."""

    def __init__(self, problem: str, where: str = "") -> None:
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem
        self.where = where

    def within(self, name: str) -> "MalformedError":
        """The same, of the object or list that holds the value under this name."""
        dot = "." if self.where and not self.where.startswith("[") else ""
        return MalformedError(self.problem, f"{name}{dot}{self.where}")


def text(recorded: Any) -> str:
    """A string."""
    if not isinstance(recorded, str):
        raise _is_not(recorded, "a text")
    if len(recorded) > LONGEST_TEXT:
        raise _is_not(recorded, f"a text of at most {LONGEST_TEXT:,} characters")
    if UNWRITABLE.search(recorded):
        raise _is_not(recorded, "a text that can be written to a file and be part of its name")
    return recorded


def whole(recorded: Any) -> int:
    """A whole number from 0 on."""
    if isinstance(recorded, bool) or not isinstance(recorded, int):
        raise _is_not(recorded, "a whole number")
    return _within(recorded, 0, LARGEST_NUMBER)


def floating(recorded: Any) -> float:
    """A number from 0 on, which may have been written without a decimal point."""
    return _within(signed(recorded), 0, LARGEST_NUMBER)


def signed(recorded: Any) -> float:
    """A number, which may be below 0."""
    if isinstance(recorded, bool) or not isinstance(recorded, int | float):
        raise _is_not(recorded, "a number")
    return _within(recorded, -LARGEST_NUMBER, LARGEST_NUMBER)


def mapping(recorded: Any) -> dict[str, Any]:
    """A JSON object, whatever it holds."""
    if not isinstance(recorded, dict):
        raise _is_not(recorded, "a JSON object")
    return recorded


def plain(recorded: Any) -> Any:
    """A text, a number, a truth value or null, or a list of these."""
    if isinstance(recorded, list):
        return list(each(plain)(recorded))
    if isinstance(recorded, dict):
        raise _is_not(recorded, "a plain value")
    return text(recorded) if isinstance(recorded, str) else recorded


def between(read: Reader[N], low: float, high: float = LARGEST_NUMBER) -> Reader[N]:
    """What `read` reads, from `low` to `high`."""
    return lambda recorded: _within(read(recorded), low, high)


def nullable(read: Reader[T]) -> Reader[T | None]:
    """What `read` reads, or null."""
    return lambda recorded: None if recorded is None else read(recorded)


def each(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list of what `read` reads."""

    def read_list(recorded: Any) -> tuple[T, ...]:
        if not isinstance(recorded, list):
            raise _is_not(recorded, "a list")
        return tuple(_named(f"[{at}]", read, value) for at, value in enumerate(recorded))

    return read_list


def pair(read: Reader[T]) -> Reader[tuple[T, T]]:
    """A list of two values that `read` reads."""

    def read_pair(recorded: Any) -> tuple[T, T]:
        values = each(read)(recorded)
        if len(values) != 2:
            raise _is_not(recorded, "a list of two values")
        return values[0], values[1]

    return read_pair


def by_name(read: Reader[T]) -> Reader[dict[str, T]]:
    """A JSON object, each of whose values `read` reads."""
    return lambda recorded: {text(name): _named(name, read, value) for name, value in mapping(recorded).items()}


class Fields:
    """The values of a JSON object, each read by its name with its own reader.

    Raises:
        MalformedError: it is no object.
    """

    def __init__(self, recorded: Any) -> None:
        self._recorded = mapping(recorded)

    def required(self, name: str, read: Reader[T]) -> T:
        """A value that must be there.

        Raises:
            MalformedError: it is missing, or not as it must be.
        """
        if name not in self._recorded:
            raise MalformedError(f"no {name} in it")
        return _named(name, read, self._recorded[name])

    def optional(self, name: str, read: Reader[T], default: D) -> T | D:
        """A value in whose place `default` stands where it is missing or null.

        Raises:
            MalformedError: it is not as it must be.
        """
        value = self._recorded.get(name)
        return default if value is None else _named(name, read, value)


def _within(number: N, low: float, high: float) -> N:
    if not low <= number <= high:  # also where it is NaN
        raise _is_not(number, f"from {low:,} on" if high >= LARGEST_NUMBER else f"from {low:,} to {high:,}")
    return number


def _named(name: str, read: Reader[T], value: Any) -> T:
    try:
        return read(value)
    except MalformedError as error:
        raise error.within(name) from error


def _is_not(recorded: Any, expected: str) -> MalformedError:
    return MalformedError(f"{reprlib.repr(recorded)} is not {expected}")


def changes_of(name: str, before: Any, now: Any) -> Iterator[str]:
    """What differs between two values, named as deep as both go alike: `models[0].sha256 was …, now …`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            yield from changes_of(f"{name}.{key}", before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for at, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from changes_of(f"{name}[{at}]", old, new)
    elif before != now:
        yield f"{name} was {_short(before)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
