"""Files that are damaged in one place: everything that a stranger, an editor or a broken disk may have done to them."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Damage(NamedTuple):
    """A file's new content, and in words what is wrong with it."""

    what: str
    content: bytes


INSTEAD = [
    *(None, True, "", "5", "x" * 200_000, "\0", "\ud800", "../../x", [], [[]], {}, {"": 0}),
    *(-1, 0, 2, 1.5, -0.5, 1e30, 10**30, float("nan"), float("inf"), -float("inf")),
]
"""Values in the place of another one in JSON."""
CELLS = [
    "",
    "-1",
    "2",
    "0.5",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "9" * 30,
    "9" * 5000,
    "x",
    "x" * 200_000,
    "a\0b",
    '"',
    "../x",
]
"""Texts in the place of a cell of a table."""


def of_bytes(content: bytes) -> Iterator[Damage]:
    """What may happen to any file of text: cut off, glued, in another encoding."""
    yield Damage("empty", b"")
    yield Damage("half of it", content[: len(content) // 2])
    yield Damage("twice", content + content)
    yield Damage("zeros", bytes(len(content)))
    yield Damage("not UTF-8", content + b"\xff")
    yield Damage("UTF-16", content.decode().encode("utf-16"))


def of_json(content: bytes) -> Iterator[Damage]:
    """Each value of a JSON object in turn removed, written twice or replaced."""
    whole = json.loads(content)
    yield from of_bytes(content)
    for text in ("[]", "null", "5", '"text"', "[" * 100_000, '{"a":' * 100_000, "1" * 10_000):
        yield Damage(text[:20], text.encode())
    for path in _paths(whole):
        name = ".".join(map(str, path))
        yield Damage(f"no {name}", _dumped(_changed(whole, path)))
        yield Damage(
            f"{name} twice",
            _dumped(whole).replace(f'"{path[-1]}":'.encode(), f'"{path[-1]}": 0, "{path[-1]}":'.encode(), 1),
        )
        for value in INSTEAD:
            yield Damage(f"{name} is {str(value)[:20]!r}", _dumped(_changed(whole, path, value)))


def of_lines(content: bytes) -> Iterator[Damage]:
    """Each line of JSON in turn damaged, left out, there twice, or glued to the next one."""
    lines = content.splitlines(keepends=True)
    for at, line in enumerate(lines):
        before, after = b"".join(lines[:at]), b"".join(lines[at + 1 :])
        yield Damage(f"no line {at}", before + after)
        yield Damage(f"line {at} twice", before + line + line + after)
        yield Damage(f"line {at} glued", before + line.rstrip() + after)
        for damage in of_json(line):
            yield Damage(f"line {at}: {damage.what}", before + damage.content + b"\n" + after)


def of_table(content: bytes) -> Iterator[Damage]:
    """Each column in turn removed, named otherwise or with another value in one row; rows left out, broken or twice."""
    header, *rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    yield from of_bytes(content)
    yield Damage("no rows", _table([header]))
    yield Damage("no header", _table(rows))
    yield Damage("a row twice", _table([header, *rows, rows[0]]))
    yield Damage("a row that breaks off", _table([header, *rows, rows[0][:1]]))
    yield Damage("a row that is too long", _table([header, *rows, [*rows[0], "x"]]))
    for at, name in enumerate(header):
        yield Damage(f"no {name}", _table([row[:at] + row[at + 1 :] for row in (header, *rows)]))
        yield Damage(f"{name} twice", _table([[*row, row[at]] for row in (header, *rows)]))
        for cell in CELLS:
            changed = [*rows[0][:at], cell, *rows[0][at + 1 :]]
            yield Damage(f"{name} is {cell[:20]!r}", _table([header, changed, *rows[1:]]))


def of_arrays(content: bytes) -> Iterator[Damage]:
    """Arrays of other lengths, shapes and types, fewer of them, and a file with bytes changed here and there."""
    arrays = dict(np.load(io.BytesIO(content)))
    for at in range(0, len(content), 7):
        yield Damage(f"byte {at}", content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
    for name, array in arrays.items():
        yield Damage(f"no {name}", _saved({other: arrays[other] for other in arrays if other != name}))
        changed = {
            "shorter": array[1:],
            "longer": np.concatenate([array, array]),
            "none": array[:0],
            "a number": np.array(5),
            "flat": array.reshape(-1),
            "deeper": array[None],
            "objects": np.array([None] * len(array), dtype=object),
            "texts": np.full(array.shape, "x"),
            "fractions": np.full(array.shape, 0.5),
            "NaN": np.full(array.shape, np.nan),
            "infinite": np.full(array.shape, np.inf),
            "negative": np.full(array.shape, -1),
            "huge": np.full(array.shape, 2**63, dtype=np.uint64),
            "sums that overflow": np.full(array.shape, 2**62),
            "truth values": np.ones(array.shape, dtype=bool),
            "bytes": np.full(array.shape, b"x"),
            "complex": np.full(array.shape, 1j),
            "dates": np.zeros(array.shape, dtype="datetime64[s]"),
            "records": np.zeros(array.shape, dtype=[("a", int)]),
        }
        for what, value in changed.items():
            yield Damage(f"{name}: {what}", _saved({**arrays, name: value}))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a JSON value stand, at every depth."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inside:
        yield (*path, name)
        yield from _paths(one, (*path, name))


def _changed(whole: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """A copy in which another value, or none, stands at this place."""
    copy = json.loads(json.dumps(whole))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    if value and isinstance(inner, list):
        inner.insert(path[-1], *value)
    elif value:
        inner[path[-1]] = value[0]
    return copy


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _table(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _saved(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()
