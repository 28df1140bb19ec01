"""Checks a CSV, made here or elsewhere, for everything that Kaggle would refuse, in one pass over its rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.names import files_by_stem
from kaggle_tools.data.checks.predicted_masks import doubts
from kaggle_tools.errors import FEW, InputError, counted, counted_of, first_few
from kaggle_tools.submission.line_ends import LineEnds
from kaggle_tools.submission.read import Sample, id_in, parse_mask, read_rows, read_sample

LOOKED_AT = 2000
"""About how many masks `LineEnds` looks at: all of 100,064 would take a tenth longer."""


@dataclass(frozen=True)
class CheckReport:
    """What is in a CSV that has passed the check."""

    rows: int
    """All masks."""
    blank: int
    """Masks without any foreground."""
    placeholder: int
    """Masks that are the sample submission's `1 1`, or whatever all of its rows hold."""
    full: int
    """Masks that cover the whole photo."""
    unbounded: int
    """Masks of photos whose size is not known, so that they could reach beyond their end."""
    unlisted: tuple[str, ...] = ()
    """Masks of photos to be masked that the sample submission does not list, by their names."""
    sample_text: str = "1 1"
    """What all rows of the sample submission hold."""
    numbering: tuple[str, ...] = ()
    """Why the pixels may be numbered in another way than the competition's (see `LineEnds`)."""

    def warnings(self, competition: Competition) -> list[str]:
        """What may be meant so, but seldom is."""
        found = {
            f"`{self.sample_text}`, as in the sample submission": self.placeholder,
            "not held against the photo size, which is not known": self.unbounded,
        }
        warnings = doubts(self.rows, self.blank, self.full, competition)
        warnings += [f"{counted_of(count, self.rows, 'mask')} {what}" for what, count in found.items() if count]
        if self.unlisted:
            of_photos = ("mask of a test photo is", "masks of test photos are")
            words = of_photos if competition.classes else ("test photo is", "test photos are")
            are = counted(len(self.unlisted), *words)
            warnings.append(f"{are} not in the sample submission: {first_few(list(self.unlisted))}")
        return [*warnings, *self.numbering]


def check_submission(
    path: Path,
    sample: Path,
    competition: Competition,
    *,
    size_of: Callable[[str], tuple[int, int] | None] | None = None,
    data: Path | None = None,
    allow_degenerate: bool = False,
    called: Path | None = None,
) -> CheckReport:
    """Check the header, the ids and every mask of a CSV.

    Args:
        path: the CSV: plain, `.gz`, or `.zip` with one member.
        sample: the competition's sample submission: exactly its ids must be there, in any order.
        competition: says how ids, columns and run lengths are written.
        size_of: (height, width) of a photo by the name of its mask; without it, or where it answers None, the
            competition's `photo_size` counts. Where the competition has a `mask_size`, that alone counts.
        data: the competition's data folder, whose test photos are compared with those that the sample lists.
        allow_degenerate: let a CSV pass in which all masks are full, or blank, or the sample submission's.
        called: the name that the CSV will have, for messages, where it is not yet that of `path`.

    Raises:
        InputError: one message with all that is wrong: of each kind how many rows, and the first few.
    """
    tally = _Tally(competition, read_sample(sample, competition), size_of)
    for line, fields in read_rows(path, competition):
        tally.add_row(line, fields)
    tally.refuse_problems(called or path)
    if not allow_degenerate:
        tally.refuse_degenerate(called or path)
    return replace(tally.report(), unlisted=unlisted_masks(data, tally.sample.names, competition))


def unlisted_masks(data: Path | None, names: Mapping[str, str], competition: Competition) -> tuple[str, ...]:
    """The masks, by their names, that a sample submission, its `names` by ids, does not list.

    Of each photo that it lists all classes should be there, and all photos of the data folder, if that is known.
    """
    listed = {*names.values()}
    stems = set(map(competition.stem_of, listed))
    if data:
        stems.update(files_by_stem(data, competition.test_photos))
    return tuple(sorted({name for stem in stems for name in competition.names_of(stem)} - listed))


@dataclass
class _Places:
    """Where there is a problem of one kind. A damaged CSV may have it in a hundred million places."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    """As many as a message names."""

    def add(self, place: str) -> None:
        self.count += 1
        if self.count <= FEW:
            self.first.append(place)


@dataclass
class _Tally:
    """What a check has seen so far, and what was wrong with it."""

    competition: Competition
    sample: Sample
    """Whose ids must be there."""
    size_of: Callable[[str], tuple[int, int] | None] | None
    seen: set[str] = field(default_factory=set)
    problems: dict[str, _Places] = field(default_factory=dict)
    """The places of each kind of problem."""
    blank: int = 0
    placeholder: int = 0
    full: int = 0
    unbounded: int = 0
    line_ends: LineEnds = field(init=False)
    step: int = field(init=False)
    """One mask of so many is looked at for `line_ends`."""

    def __post_init__(self) -> None:
        self.line_ends = LineEnds(self.competition.rle_order)
        # Odd, as views of a group follow each other and are often an even number.
        self.step = len(self.sample.names) // LOOKED_AT | 1

    def add_row(self, line: int, fields: list[str]) -> None:
        columns, mask_id = len(self.competition.columns), id_in(fields)
        place = f"line {line} ({mask_id[:80]})"
        if len(fields) != columns:
            self._note(f"rows do not have exactly {columns} fields", f"line {line} ({len(fields)})")
        elif mask_id not in self.sample.names:
            self._note("ids are not in the sample submission", place)
        elif mask_id in self.seen:
            self._note("ids occur a second time", place)
        else:
            self.seen.add(mask_id)
            self._add_mask(place, fields[-1], self._size(self.sample.names[mask_id]))

    def refuse_problems(self, path: Path) -> None:
        missing = [mask_id for mask_id in self.sample.names if mask_id not in self.seen]
        if missing:
            self.problems["ids of the sample submission are missing"] = _Places(len(missing), missing[:FEW])
        if self.problems:
            found = [
                f"  {what} ({places.count:,}): {first_few(places.first, count=places.count)}"
                for what, places in self.problems.items()
            ]
            raise InputError("\n".join([f"{path}: cannot be submitted", *found]))

    def refuse_degenerate(self, path: Path) -> None:
        counts = {"full": self.full, "blank": self.blank, "as in the sample submission": self.placeholder}
        for state, count in counts.items():
            if count == len(self.seen):
                raise InputError(f"{path}: {counted_of(count, count, 'mask')} {state}; if this is meant, use --force")

    def report(self) -> CheckReport:
        return CheckReport(
            rows=len(self.seen),
            blank=self.blank,
            placeholder=self.placeholder,
            full=self.full,
            unbounded=self.unbounded,
            sample_text=self.sample.placeholder or "",
            numbering=tuple(self.line_ends.warnings()),
        )

    def _add_mask(self, place: str, text: str, size: tuple[int, int] | None) -> None:
        pixels = size[0] * size[1] if size else None
        try:
            runs = parse_mask(text, pixels, self.competition)
        except ValueError as error:
            self._note("masks are not valid run lengths", f"{place}: {error}")
            return
        if not len(runs) and not self.competition.blank_allowed:
            self._note("masks are blank, which this competition does not allow", place)
        self.blank += not len(runs)
        self.placeholder += bool(text) and text == self.sample.placeholder
        self.full += int(runs[:, 1].sum()) == pixels
        self.unbounded += bool(len(runs)) and pixels is None
        if size and len(self.seen) % self.step == 0:
            self.line_ends = self.line_ends.with_mask(runs, *size)

    def _size(self, stem: str) -> tuple[int, int] | None:
        if self.competition.mask_size:
            return self.competition.mask_size
        return (self.size_of(stem) if self.size_of else None) or self.competition.photo_size

    def _note(self, what: str, place: str) -> None:
        self.problems.setdefault(what, _Places()).add(place)
