"""What was submitted, what made it, and what score it got: one file, to which lines are only ever added.

Each line is an event of a submission, a JSON object with its `event`, its `time` and the submission's `id`:

intended     before the upload: all that is known of how the masks were made
submitted    Kaggle's number `ref`
scored       `status`, `public_score`, `private_score`, `error`

Read, the events of one submission are one `Entry`. This module alone knows the form of the lines.
"""

import codecs
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from kaggle_tools.errors import counted, first_few
from kaggle_tools.kaggle_api.submissions import Submission, describe
from kaggle_tools.results.scores import NOT_RECORDED, ExpectedScore, ValidatedRun
from kaggle_tools.system.files import locked
from kaggle_tools.system.json_values import LARGEST_NUMBER, MalformedError


@dataclass(frozen=True)
class Entry:
    """One submission: what is known here of how it was made, and what Kaggle says of it."""

    id: str
    """Made of the competition and the CSV; stands in square brackets before the message at Kaggle."""
    slug: str
    """The competition."""
    message: str
    """What Kaggle shows beside the score."""
    sha256: str = ""
    """Of the uncompressed CSV."""
    pred: str = ""
    """The folder of the masks; empty for a submission that was made elsewhere."""
    runs: tuple[str, ...] = ()
    """The runs whose models made the masks."""
    cross_validation: tuple[ValidatedRun, ...] = ()
    """For each of the runs the mean score of its held-out photos, with its interval."""
    expected: ExpectedScore = NOT_RECORDED
    """The score that the masks are expected to get, or why it is not known."""
    threshold: float | None = None
    tta: str | None = None
    tta_scales: tuple[float, ...] = ()
    commit: str | None = None
    """The version of this code, `-dirty` where files differed from it."""
    time: str = ""
    """When it was first tried: ISO 8601, UTC."""
    submission: Submission | None = None
    """What Kaggle says of it; its `ref` is 0 where only the score was noted. None as long as nothing is known."""

    @property
    def made(self) -> Submission | None:
        """The submission, where Kaggle's number for it is known."""
        return self.submission if self.submission and self.submission.ref else None

    @property
    def public_score(self) -> float | None:
        """None as long as there is none."""
        return self.submission.public_score if self.submission else None

    @property
    def private_score(self) -> float | None:
        """None until the competition is over."""
        return self.submission.private_score if self.submission else None


def made_elsewhere(submission: Submission) -> Entry:
    """A submission that Kaggle lists but the ledger does not hold."""
    return Entry(submission.unique_id, submission.slug, submission.message, time=submission.date, submission=submission)


def default_path() -> Path:
    """The file in which a user's submissions are noted unless another one is named."""
    return platformdirs.user_data_path("kaggle_tools") / "submissions.jsonl"


def intend(path: Path, entry: Entry) -> None:
    """Note that the submission is about to be made.

    Raises:
        OSError: the file cannot be written.
    """
    append(
        path,
        "intended",
        entry.id,
        {
            "slug": entry.slug,
            "message": entry.message,
            "sha256": entry.sha256,
            "pred": entry.pred,
            "runs": entry.runs,
            "cross_validation": [run.to_json() for run in entry.cross_validation],
            "estimate": entry.expected.to_json(),
            "threshold": entry.threshold,
            "tta": entry.tta,
            "tta_scales": entry.tta_scales,
            "commit": entry.commit,
        },
    )


def note(path: Path, entry: Entry, submission: Submission) -> Entry:
    """The entry with what Kaggle says of it now; what the ledger did not know is written down.

    Raises:
        OSError: the file cannot be written.
    """
    known = entry.submission
    if known is None or known.ref != submission.ref:
        append(path, "submitted", entry.id, {"ref": submission.ref})
    if submission.finished and not submission.odd and (known is None or _verdict(known) != _verdict(submission)):
        append(path, "scored", entry.id, _verdict(submission))
    return replace(entry, submission=submission)


def append(path: Path, event: str, entry_id: str, details: Mapping[str, Any]) -> None:
    """Add an event, and return only when it is on the disk.

    Raises:
        OSError: the file cannot be written. Nothing was added then.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"event": event, "id": entry_id, "time": time, **details}) + "\n"
    with locked(path.parent, f"writes {path.name}", name=f".{path.name}.lock"):
        before = path.read_bytes() if path.exists() else b""
        breaks_off = before[-1:] not in (b"", b"\n")  # a command was killed while it wrote
        try:
            with path.open("ab") as file:
                file.write(b"\n" * breaks_off + line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(path, len(before))  # the disk was full in the middle of the line
            raise


def read(path: Path, slug: str | None = None) -> list[Entry]:
    """The submissions that were noted, in the order in which they were first tried; none without the file.

    With `slug`, those to this competition only. What cannot be read is left out: `left_out` names it.
    """
    entries = [_entry(facts) for facts in _facts(_lines(path)).values() if facts.keys() >= {"slug", "message"}]
    return [entry for entry in entries if slug in (None, entry.slug)]


def left_out(path: Path) -> list[str]:
    """What `read` leaves out, in words: lines that are damaged, and submissions whose first line is lost."""
    lines = _lines(path)
    broken = [f"line {line.number} ({line.problem})" for line in lines if line.problem]
    nameless = [name for name, facts in _facts(lines).items() if not facts.keys() >= {"slug", "message"}]
    said = []
    if broken:
        lines_are = counted(len(broken), "damaged line is", "damaged lines are")
        said.append(f"{path}: {lines_are} left out: {first_few(broken)}")
    if nameless:
        said.append(
            f"{path}: {counted(len(nameless), 'submission is', 'submissions are')} "
            "left out, as the line is lost that says what they are: "
            f"{first_few(nameless)}"
        )
    return said


def best_public_score(path: Path, slug: str) -> float | None:
    """The highest public score that is noted for the competition; None where none is."""
    scores = [entry.public_score for entry in read(path, slug)]
    return max((score for score in scores if score is not None), default=None)


def _verdict(submission: Submission) -> dict[str, Any]:
    return {name: getattr(submission, name) for name in ("status", "public_score", "private_score", "error")}


def _entry(facts: Mapping[str, Any]) -> Entry:
    """The submission of which all events together say this; what an older version did not note is left out."""
    return Entry(
        id=facts["id"],
        slug=facts["slug"],
        message=facts["message"],
        sha256=facts.get("sha256", ""),
        pred=facts.get("pred", ""),
        runs=tuple(facts.get("runs") or ()),
        cross_validation=_validated(facts.get("cross_validation")),
        expected=_expected(facts.get("estimate")),
        threshold=facts.get("threshold"),
        tta=facts.get("tta"),
        tta_scales=tuple(facts.get("tta_scales") or ()),
        commit=facts.get("commit"),
        time=facts["time"],
        submission=_submission(facts) if facts.get("ref") or facts.get("status") else None,
    )


def _submission(facts: Mapping[str, Any]) -> Submission:
    return Submission(
        slug=facts["slug"],
        ref=facts.get("ref") or 0,
        description=describe(facts["id"], facts["message"]),
        status=facts.get("status", "PENDING"),
        public_score=facts.get("public_score"),
        private_score=facts.get("private_score"),
        error=facts.get("error", ""),
    )


def _validated(recorded: Any) -> tuple[ValidatedRun, ...]:
    """The scores of the runs, which are only shown: those that are not of a known form are left out."""
    runs = []
    for run in recorded if isinstance(recorded, list) else ():
        with suppress(MalformedError):
            runs.append(ValidatedRun.from_json(run))
    return tuple(runs)


def _expected(recorded: Any) -> ExpectedScore:
    try:
        return ExpectedScore.from_json(recorded or {})
    except MalformedError:
        return NOT_RECORDED


class _Line(NamedTuple):
    """What stands in a line of the file, or in a part of one where a line break is lost."""

    number: int
    """Of the line, from 1."""
    event: dict[str, Any]
    """Empty where there is a problem."""
    problem: str = ""
    """Why it is left out, in words."""


START = b'{"event": "'
"""How each event begins, and nothing else in a line does: within a text, the quotation marks are escaped."""


def _facts(lines: Sequence[_Line]) -> dict[str, dict[str, Any]]:
    """What all events of a submission say together, by its id."""
    noted: dict[str, dict[str, Any]] = {}
    for line in lines:
        if not line.problem:
            facts = noted.setdefault(line.event["id"], {"time": line.event["time"]})
            facts |= line.event | {"time": facts["time"]}
    return noted


def _lines(path: Path) -> list[_Line]:
    """The lines that are not empty; those that were glued together, each by itself."""
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8) if path.exists() else b""
    found = []
    for number, glued in enumerate(text.splitlines(), start=1):
        parts = re.split(b"(?=" + re.escape(START) + b")", glued)
        found += [_parsed(number, part) for part in parts if part.strip()]
    return found


def _parsed(number: int, line: bytes) -> _Line:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return _Line(number, {}, "not JSON: it was cut off or changed")
    if not isinstance(event, dict):
        return _Line(number, {}, "not an event")
    missing = {"event", "id", "time"} - event.keys()
    odd = sorted(missing | {name for name, value in event.items() if name in FIELDS and not FIELDS[name](value)})
    return _Line(number, {}, f"no usable {' and '.join(odd)}") if odd else _Line(number, event)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _list_of(is_item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_item, value))


def _or_none(is_value: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_value(value)


FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("event", "id", "time", "slug", "message", "sha256", "pred", "status", "error"), _is_text),
    **dict.fromkeys(("tta", "commit"), _or_none(_is_text)),
    **dict.fromkeys(("threshold", "public_score", "private_score"), _or_none(_is_number)),
    "ref": _or_none(_is_whole),
    "runs": _or_none(_list_of(_is_text)),
    "tta_scales": _or_none(_list_of(_is_number)),
}
"""What each field must be. The scores of the runs are only shown, and are read leniently: see `_validated`."""
