"""What was submitted, by what it was made, and what score it got: one file, to which lines are only ever added.

Each line is an event of a submission, a JSON object with its `event`, its `time` and the submission's `id`:

intended     before the upload: all that is known of how the masks were made
submitted    Kaggle's number `ref`
scored       `status`, `public_score`, `private_score`, `error`

Read, the events of one submission are one `Entry`. Knows nothing of Kaggle's service.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from kaggle_tools.system.files import locked


@dataclass(frozen=True)
class Entry:
    """One submission, as far as its events tell."""

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
    runs: list[str] = field(default_factory=list)
    """The runs whose networks made the masks."""
    cross_validation: list[dict[str, Any]] = field(default_factory=list)
    """For each of the runs the mean score of its held-out photos, with its interval."""
    estimate: dict[str, Any] = field(default_factory=dict)
    """The score to be expected, with its interval, or why it is not known."""
    threshold: float | None = None
    tta: str | None = None
    tta_scales: list[float] = field(default_factory=list)
    commit: str | None = None
    """The version of this code, `-dirty` where files differed from it."""
    time: str = ""
    """When it was first tried: ISO 8601, UTC."""
    ref: int | None = None
    """Kaggle's number; None as long as it is not known whether there is such a submission."""
    status: str = ""
    """Kaggle's: `COMPLETE` or `ERROR`, once it is final."""
    public_score: float | None = None
    private_score: float | None = None
    error: str = ""
    """Kaggle's reason where the status is `ERROR`."""


def default_path() -> Path:
    """The file in which a user's submissions are noted unless another one is named."""
    return platformdirs.user_data_path("kaggle_tools") / "submissions.jsonl"


def append(path: Path, event: str, entry_id: str, details: Mapping[str, Any]) -> None:
    """Add an event, and return only when it is on the disk.

    Raises:
        OSError: the file cannot be written.
    """
    time = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"event": event, "id": entry_id, "time": time, **details}) + "\n"
    with locked(path.parent, f"writes {path.name}", name=f".{path.name}.lock"), path.open("ab") as file:
        breaks_off = path.read_bytes()[-1:] not in (b"", b"\n")  # a command was killed while it wrote
        file.write(b"\n" * breaks_off + line.encode())
        file.flush()
        os.fsync(file.fileno())


def intend(path: Path, entry: Entry) -> None:
    """Note that the submission is about to be made."""
    append(path, "intended", entry.id, {name: value for name, value in asdict(entry).items() if name in _INTENDED})


def read(path: Path) -> list[Entry]:
    """The submissions that were noted, in the order in which they were first tried; none without the file.

    A line that broke off when a process was killed in the middle of it is left out.
    """
    rows: dict[str, dict[str, Any]] = {}
    for event in _events(path):
        row = rows.setdefault(event["id"], {"time": event["time"]})
        row |= event | {"time": row["time"]}
    whole = [row for row in rows.values() if row.keys() >= _NEEDED]
    return [Entry(**{name: row[name] for name in _NAMES if name in row}) for row in whole]


_NAMES = [field.name for field in fields(Entry)]
_NEEDED = {"id", "slug", "message"}
_INTENDED = set(_NAMES) - {"id", "time", "ref", "status", "public_score", "private_score", "error"}


def _events(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [event for event in map(_parsed, lines) if event]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(event, dict) and all(isinstance(event.get(name), str) for name in ("event", "id", "time"))
    return event if whole else None
