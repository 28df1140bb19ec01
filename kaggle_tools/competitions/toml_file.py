"""A competition as a TOML file, whose fields are those of `Competition`: read, checked, and as a run records it.

    slug = "roof-tiles"
    train_photos = "images/train/{stem}.png"
    rle_order = "column-major"

The competitions that come with the package are such files beside this module, named by their slugs.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Archive, Competition, TrainTable
from kaggle_tools.competitions.own_score import FORM, OwnScore, read_own_score
from kaggle_tools.errors import InputError
from kaggle_tools.rle import Order
from kaggle_tools.system.files import read_bytes
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

PACKAGED = Path(__file__).parent
LARGEST = 2**20
"""Bytes of a file."""
DEMOS = ("cars", "salt", "steel", "clouds")
SCORE_SHA256 = "score_sha256"
"""Of the Python file of a score of one's own: recorded, and where a TOML file has it, it must be right."""
LARGEST_SIDE = 2**16
"""Pixels."""
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")
CLASS = re.compile(r"[\w-][\w -]*")
"""Of the name of a class, which is part of the names of files."""


def packaged() -> list[str]:
    """The slugs of the competitions that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.toml"))


@cache
def packaged_competition(slug: str) -> Competition:
    """A competition that comes with the package.

    Raises:
        InputError: there is none of this slug; those that there are are named.
    """
    if slug not in packaged():
        raise InputError(
            f"--competition {slug}: not known; the known ones are {', '.join(packaged())}; or give a .toml"
        )
    return read_competition(PACKAGED / f"{slug}.toml")


def read_competition(path: Path) -> Competition:
    """The competition in a TOML file.

    Raises:
        InputError: the file is missing or is no TOML, or a field is unknown, missing or impossible; says in which line,
            what stands there, and what would be right. Or see `read_own_score`.
    """
    content = read_bytes(path, LARGEST, "it describes the competition; docs/competitions.md says how")
    try:
        source = content.decode("utf-8")
        return competition_of(tomllib.loads(source), path)
    except MalformedError as error:
        raise InputError(f"{path}{_place(source, error.where)}: {error}") from error
    except (ValueError, RecursionError) as error:  # tomllib says the line and the column
        raise InputError(f"{path}: is not TOML ({error})") from error


def competition_of(recorded: Any, file: Path | None = None) -> Competition:
    """A competition from the fields of the TOML `file`, or as `as_recorded` gave them.

    Only from beside a TOML file a score of one's own is read; what is recorded runs no code.

    Raises:
        MalformedError: a field is unknown, missing or impossible; its name is in `where`.
    """
    given = Fields(recorded)
    for name in mapping(recorded):
        if name not in READERS and name != SCORE_SHA256:
            raise MalformedError(f"no such field{_instead(name)}", str(name))
    values = {
        name: given.required(name, read) for name, read in READERS.items() if name in recorded or name not in USUAL
    }
    name, score = _score_of(values.pop("score"), given.optional(SCORE_SHA256, _sha256, None), file)
    competition = Competition(**{**USUAL, **values}, score_name=name, score=score)
    _require_consistent(competition)
    return competition


def as_recorded(competition: Competition) -> dict[str, Any]:
    """The fields of a competition as JSON and TOML hold them; without those that are as usual."""
    found = {field.name: getattr(competition, field.name) for field in fields(Competition)}
    score, name = found.pop("score"), found.pop("score_name")
    values = {**found, "archives": [_as_archive(archive) for archive in competition.archives]}
    changed = {
        name: _plain(value)
        for name, value in values.items()
        if name not in USUAL or _plain(value) != _plain(USUAL[name])
    }
    own = {"score": score.text, SCORE_SHA256: score.sha256} if isinstance(score, OwnScore) else {"score": name}
    return {**changed, **own}


def _score_of(text: str, sha256: str | None, file: Path | None) -> tuple[str, metrics.Score]:
    """What the score is called, and the score."""
    if text in metrics.BY_NAME:
        if sha256:
            raise MalformedError("belongs to a score that is a function in a Python file", SCORE_SHA256)
        return text, metrics.BY_NAME[text]
    if file is None and sha256 is None:
        raise MalformedError(f"no {SCORE_SHA256} in it")
    own = read_own_score(text, file) if file else OwnScore(text, str(sha256))
    if sha256 not in (None, own.sha256):
        raise MalformedError(f"the Python file of the score has another SHA-256, {own.sha256}", SCORE_SHA256)
    return own.name, own


def as_slug(name: str) -> str:
    """A name in the form of a slug."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "competition"


def parse_slug(option: str, given: str) -> str:
    """A slug from the command line.

    Raises:
        InputError: it is not of this form.
    """
    try:
        return _slug(given)
    except MalformedError as error:
        raise InputError(f"{option}: {error}") from error


def _as_archive(archive: Archive) -> dict[str, Any]:
    usual = Archive(archive.name)
    return {
        name: _plain(value)
        for name, value in asdict(archive).items()
        if name == "name" or value != getattr(usual, name)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _place(source: str, where: str) -> str:
    """`, line 7 (rle_first = 2)`: where a field of the file begins; empty where it is not there."""
    name = re.split(r"[.\[]", where)[0]
    for number, line in enumerate(source.splitlines(), start=1):
        if name and re.match(rf"\s*(\[+\s*)?[\"']?{re.escape(name)}\b", line):
            return f", line {number} ({line.strip()[:80]})"
    return ""


def _instead(name: str) -> str:
    near = get_close_matches(str(name), READERS, n=1)
    return f"; is {near[0]} meant?" if near else f"; the fields are {', '.join(READERS)}"


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
        if names.count(name) > 1 or any(name != other and other.endswith(f"_{name}") for other in names):
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
    return str(_one_of(*metrics.BY_NAME)(recorded))


def _sha256(recorded: Any) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text(recorded)):
        raise MalformedError(f"{recorded!r} must be a SHA-256: 64 of the digits 0 to 9 and a to f")
    return str(recorded)


def _rising(recorded: Any) -> tuple[float, ...]:
    shares = each(between(floating, 0, 1))(recorded)
    if any(low >= high for low, high in pairwise(shares)):
        raise MalformedError("must rise from one to the next")
    return shares


def _require_consistent(competition: Competition) -> None:
    if competition.blank_share and not competition.blank_allowed:
        raise MalformedError("must be 0 where blank_allowed is false", "blank_share")
    if len(set(competition.columns)) < len(competition.columns):
        raise MalformedError("must not be the name of another column", "rle_column")
    named = {"id_pattern": "{class}" in competition.id_pattern, "class_column": competition.class_column is not None}
    if not competition.classes and (odd := next((name for name, is_named in named.items() if is_named), None)):
        raise MalformedError("names a class, but there are no classes", odd)
    if competition.classes and sum(named.values()) != 1:
        raise MalformedError("one of id_pattern, with {class}, and class_column must say where the class is", "classes")
    if not competition.masks_are_run_lengths and ("{class}" in competition.train_masks) != bool(competition.classes):
        raise MalformedError("must hold {class} where there are classes, and only there", "train_masks")
    if competition.train_table:
        if not competition.masks_are_run_lengths:
            raise MalformedError("is for masks in a table, but train_masks are files", "train_table")
        try:
            _require_consistent(competition.as_in_train_table)
        except MalformedError as error:
            raise error.within("train_table") from error


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
    "rle_order": _one_of(*get_args(Order)),
    "rle_first": _one_of(0, 1),
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
