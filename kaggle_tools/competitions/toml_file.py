"""A competition as a TOML file, whose fields are those of `Competition`: read, checked, and as a run records it.

    slug = "roof-tiles"
    train_photos = "images/train/{stem}.png"
    rle_order = "column-major"

The competitions that come with the package are such files beside this module, named by their slugs.
"""

import re
import tomllib
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Archive, Competition, TrainTable
from kaggle_tools.competitions.own_score import OwnScore, read_own_score
from kaggle_tools.competitions.toml_fields import CHOICES, READERS, SCORE_SHA256, USUAL, sha256_text
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import read_bytes
from kaggle_tools.system.json_values import (
    Fields,
    MalformedError,
    mapping,
)

PACKAGED = Path(__file__).parent
LARGEST = 2**20
"""Bytes of a file."""


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
    for name in READERS:
        if name not in recorded and name not in USUAL:
            choices = f", such as {', '.join(map(str, CHOICES[name]))}" if name in CHOICES else ""
            raise MalformedError(f"no {name} in it{choices}")
    values = {name: given.required(name, read) for name, read in READERS.items() if name in recorded}
    name, score = _score_of(values.pop("score"), given.optional(SCORE_SHA256, sha256_text, None), file)
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
        return str(READERS["slug"](given))
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
    if isinstance(value, TrainTable):
        return {name: item for name, item in asdict(value).items() if item is not None}
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
    if "{class}" in competition.id_pattern:
        _require_clear_ids(competition)
    if not competition.masks_are_run_lengths and ("{class}" in competition.train_masks) != bool(competition.classes):
        raise MalformedError("must hold {class} where there are classes, and only there", "train_masks")
    if competition.train_table:
        if not competition.masks_are_run_lengths:
            raise MalformedError("is for masks in a table, but train_masks are files", "train_table")
        try:
            _require_consistent(competition.as_in_train_table)
        except MalformedError as error:
            raise error.within("train_table") from error


def _require_clear_ids(competition: Competition) -> None:
    """Check that an id tells where the stem ends and the class begins."""
    between = re.split(r"\{\w+\}", competition.id_pattern)[1]
    stem_first = competition.id_pattern.index("{stem}") < competition.id_pattern.index("{class}")
    for name, other in permutations(competition.classes, 2):
        if other.endswith(between + name) if stem_first else other.startswith(name + between):
            raise MalformedError(f"ids like this do not tell class {name} from {other}", "id_pattern")
