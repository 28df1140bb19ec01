"""The fields of a competition's TOML file: how each is read, and what those are that may be missing."""

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, get_args

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Archive, Competition, TrainTable
from kaggle_tools.competitions.own_score import FORM
from kaggle_tools.rle import Order
from kaggle_tools.system.json_values import (
    Fields,
    MalformedError,
    Reader,
    between,
    each,
    floating,
    mapping,
    pair,
    text,
    whole,
)

DEMOS = ("cars", "salt", "steel", "clouds")
CHOICES: Mapping[str, Collection[Any]] = {
    "rle_order": get_args(Order),
    "rle_first": (0, 1),
    "score": metrics.BY_NAME,
}
"""What there is to choose from, of fields that must be there."""
SCORE_SHA256 = "score_sha256"
"""Of the Python file of a score of one's own: recorded, and where a TOML file has it, it must be right."""
LARGEST_SIDE = 2**16
"""Pixels."""
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
CLASS = re.compile(r"[\w-][\w -]*")
"""Of the name of a class, which is part of the names of files."""


def sha256_text(recorded: Any) -> str:
    """A SHA-256 as text; raises a MalformedError where it is none."""
    if not re.fullmatch("[0-9a-f]{64}", text(recorded)):
        raise MalformedError(f"{recorded!r} must be a SHA-256: 64 of the digits 0 to 9 and a to f")
    return str(recorded)


def _slug(recorded: Any) -> str:
    if not SLUG.fullmatch(text(recorded)):
        raise MalformedError(f"{recorded!r} must be the last part of the address at Kaggle, as in roof-tiles")
    return str(recorded)


def _line(recorded: Any) -> str:
    if not text(recorded).strip() or not str(recorded).isprintable():
        raise MalformedError(f"{recorded!r} must be a text in one line")
    return str(recorded)


def _one_of(*choices: Any) -> Reader[Any]:
    def read(recorded: Any) -> Any:
        if not any(recorded == choice and type(recorded) is type(choice) for choice in choices):
            raise MalformedError(f"{recorded!r} must be {' or '.join(map(str, choices))}")
        return recorded

    return read


def _truth(recorded: Any) -> bool:
    if not isinstance(recorded, bool):
        raise MalformedError(f"{recorded!r} must be true or false")
    return recorded


def _below(recorded: Any) -> str:
    """A path below the data folder."""
    path = PurePosixPath(_line(recorded))
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in str(recorded):
        raise MalformedError(f"{recorded!r} must be a path below the data folder, with /")
    return str(recorded)


def _naming(*names: str) -> Reader[str]:
    """A pattern that holds each of these names in braces once at most, the last one once, and no other braces."""

    def read(recorded: Any) -> str:
        found = re.findall(r"\{(\w*)\}", _line(recorded))
        rest = re.sub(r"\{\w*\}", "", recorded)
        if (
            not set(found) <= set(names)
            or len(set(found)) < len(found)
            or names[-1] not in found
            or set("{}") & set(rest)
        ):
            wanted = " and at most ".join(f"{{{name}}}" for name in reversed(names))
            raise MalformedError(f"{recorded!r} must hold {wanted} once, and no other braces")
        return str(recorded)

    return read


def _files(*names: str) -> Reader[str]:
    """A pattern of files, with these names as in `_naming`, of which the last one is in the name of the file."""

    def read(recorded: Any) -> str:
        pattern = _below(_naming(*names)(recorded))
        if f"{{{names[-1]}}}" not in PurePosixPath(pattern).name:
            raise MalformedError(f"{recorded!r} must have {{{names[-1]}}} in the name of the file")
        return pattern

    return read


def _masks_or_table(recorded: Any) -> str:
    if "{" not in _line(recorded) and PurePosixPath(recorded).suffix == ".csv":
        return _below(recorded)
    try:
        return _files("class", "stem")(recorded)
    except MalformedError as error:
        raise MalformedError(f"{error.problem}; or be a table, such as train.csv") from error


def _classes(recorded: Any) -> tuple[str, ...]:
    names = each(_line)(recorded)
    for name in names:
        if not CLASS.fullmatch(name):
            raise MalformedError(f"{name!r} must be of letters, digits, spaces, - and _")
        others = [other.casefold() for other in names]  # they name files, where capital letters may not count
        if others.count(name.casefold()) > 1 or any(other.endswith(f"_{name.casefold()}") for other in others):
            raise MalformedError(f"{name!r} must not be, nor end after a _, another class")
    return names


def _archive(recorded: Any) -> Archive:
    given = Fields(recorded)
    for name in mapping(recorded):
        if name not in ("name", "into", "on_request", "holds"):
            raise MalformedError("no such field; an archive has name, into, holds and on_request", str(name))
    return Archive(
        name=given.required("name", _below),
        into=given.optional("into", lambda into: into if into == "." else _below(into), "."),
        on_request=given.optional("on_request", _truth, False),
        holds=given.optional("holds", each(_below), ()),
    )


def _train_table(recorded: Any) -> TrainTable:
    given = Fields(recorded)
    readers = {field.name: READERS[field.name] for field in fields(TrainTable)}
    for name in mapping(recorded):
        if name not in readers:
            raise MalformedError(f"no such field; a table has {', '.join(readers)}", str(name))
    return TrainTable(**{name: given.required(name, read) for name, read in readers.items() if name in recorded})


def _score(recorded: Any) -> str:
    if FORM.fullmatch(text(recorded)):
        return str(recorded)
    if ".py" in recorded:
        raise MalformedError(f"{recorded!r} must be a file beside this one and its function, as my_scores.py:my_score")
    return str(_one_of(*CHOICES["score"])(recorded))


def _rising(recorded: Any) -> tuple[float, ...]:
    shares = each(between(floating, 0, 1))(recorded)
    if any(low >= high for low, high in pairwise(shares)):
        raise MalformedError("must rise from one to the next")
    return shares


READERS: Mapping[str, Reader[Any]] = {
    "slug": _slug,
    "title": _line,
    "archives": each(_archive),
    "train_photos": _files("stem"),
    "train_masks": _masks_or_table,
    "test_photos": _files("stem"),
    "sample_submission": _below,
    "metadata": _below,
    "stem_format": _naming("group", "view"),
    "group_name": _line,
    "view_name": _line,
    "photo_size": pair(between(whole, 1, LARGEST_SIDE)),
    "mask_size": pair(between(whole, 1, LARGEST_SIDE)),
    "classes": _classes,
    "id_pattern": _naming("class", "stem"),
    "id_column": _line,
    "class_column": _line,
    "rle_column": _line,
    "train_table": _train_table,
    "rle_order": _one_of(*CHOICES["rle_order"]),
    "rle_first": _one_of(*CHOICES["rle_first"]),
    "blank_mask": text,
    "blank_allowed": _truth,
    "blank_share": between(floating, 0, 1),
    "coverage_strata": _rising,
    "score": _score,
    "notebooks_only": _truth,
    "demo": _one_of(*DEMOS),
}
"""How each field is read, in the order in which a file has them."""
USUAL = {"archives": ()} | {field.name: field.default for field in fields(Competition) if field.default is not MISSING}
"""The fields that may be missing, and what they are then."""
