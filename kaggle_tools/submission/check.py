"""Checks a CSV, made here or elsewhere, for everything that Kaggle would refuse, in one pass over its rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.submission.read import parse_mask, read_rows, sample_stems

PLACEHOLDER = "1 1"
"""What Kaggle's sample submissions hold in every row."""


@dataclass(frozen=True)
class CheckReport:
    """What is in a CSV that has passed the check."""

    rows: int
    """All masks."""
    blank: int
    """Masks without any foreground."""
    placeholder: int
    """Masks that are the sample submission's `1 1`."""
    full: int
    """Masks that cover the whole photo."""
    unbounded: int
    """Masks of photos whose size is not known, so that they could reach beyond their end."""

    def warnings(self) -> list[str]:
        """What may be meant so, but seldom is."""
        found = {
            "masks are blank": self.blank,
            f"masks are `{PLACEHOLDER}`, as in the sample submission": self.placeholder,
            "masks cover their whole photo": self.full,
            "masks could reach beyond the end of their photo, whose size is not known": self.unbounded,
        }
        return [f"{count:,} of {self.rows:,} {what}" for what, count in found.items() if count]


def check_submission(
    path: Path,
    sample: Path,
    competition: Competition,
    *,
    size_of: Callable[[str], tuple[int, int] | None] | None = None,
    allow_degenerate: bool = False,
) -> CheckReport:
    """Check the header, the ids and every mask of a CSV.

    Args:
        path: the CSV: plain, `.gz`, or `.zip` with one member.
        sample: the competition's sample submission: exactly its ids must be there, in any order.
        competition: says how ids, columns and run lengths are written.
        size_of: (height, width) of a photo by its stem; without it, or where it answers None, the
            competition's `photo_size` counts.
        allow_degenerate: let a CSV pass in which all masks are full, or all blank.

    Raises:
        InputError: one message with all that is wrong: of each kind how many rows, and the first few.
    """
    tally = _Tally(competition, sample_stems(sample, competition), size_of)
    for line, fields in read_rows(path, competition):
        tally.add_row(line, fields)
    tally.refuse_problems(path)
    if not allow_degenerate and len(tally.seen) in (tally.full, tally.blank):
        state = "blank" if tally.blank else "full"
        raise InputError(f"{path}: all {len(tally.seen):,} masks are {state}; if this is meant, use --force")
    return CheckReport(len(tally.seen), tally.blank, tally.placeholder, tally.full, tally.unbounded)


@dataclass
class _Tally:
    """What a check has seen so far, and what was wrong with it."""

    competition: Competition
    stems: dict[str, str]
    """Of all ids that must be there."""
    size_of: Callable[[str], tuple[int, int] | None] | None
    seen: set[str] = field(default_factory=set)
    problems: dict[str, list[str]] = field(default_factory=dict)
    """The places of each kind of problem."""
    blank: int = 0
    placeholder: int = 0
    full: int = 0
    unbounded: int = 0

    def add_row(self, line: int, fields: list[str]) -> None:
        place = f"line {line} ({', '.join(fields[:1])[:80]})"
        if len(fields) != 2:
            self._note("rows do not have exactly two fields", f"line {line} ({len(fields)})")
        elif fields[0] not in self.stems:
            self._note("ids are not in the sample submission", place)
        elif fields[0] in self.seen:
            self._note("ids occur a second time", place)
        else:
            self.seen.add(fields[0])
            self._add_mask(place, fields[1], self._pixels(self.stems[fields[0]]))

    def refuse_problems(self, path: Path) -> None:
        missing = [photo_id for photo_id in self.stems if photo_id not in self.seen]
        if missing:
            self.problems["ids of the sample submission are missing"] = missing
        if self.problems:
            found = [f"  {len(places):,} {what}: {first_few(places)}" for what, places in self.problems.items()]
            raise InputError("\n".join([f"{path}: cannot be submitted", *found]))

    def _add_mask(self, place: str, text: str, pixels: int | None) -> None:
        try:
            runs = parse_mask(text, pixels, self.competition)
        except ValueError as error:
            self._note("masks are not valid run lengths", f"{place}: {error}")
            return
        if not len(runs) and not self.competition.blank_allowed:
            self._note("masks are blank, which this competition does not allow", place)
        self.blank += not len(runs)
        self.placeholder += text == PLACEHOLDER
        self.full += int(runs[:, 1].sum()) == pixels
        self.unbounded += bool(len(runs)) and pixels is None

    def _pixels(self, stem: str) -> int | None:
        size = (self.size_of(stem) if self.size_of else None) or self.competition.photo_size
        return size[0] * size[1] if size else None

    def _note(self, what: str, place: str) -> None:
        self.problems.setdefault(what, []).append(place)
