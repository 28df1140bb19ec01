"""A submission that is made once, however often its command runs: the ledger and Kaggle's list are asked first."""

import gzip
import hashlib
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError
from kaggle_tools.kaggle_api import ledger, submissions
from kaggle_tools.kaggle_api.client import Deadline
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Listing, Submission
from kaggle_tools.results.records.masks import Record
from kaggle_tools.results.scores import ExpectedScore
from kaggle_tools.system.files import locked, sha256
from kaggle_tools.system.output import say, warn
from kaggle_tools.system.processes import command_to_paste
from kaggle_tools.system.version import commit

LOCK_SECONDS = 60.0
"""How long to wait for another command that is uploading."""


class Made(NamedTuple):
    """A submission that is at Kaggle."""

    entry: Entry
    """As the ledger has it now."""
    submission: Submission
    """What Kaggle says of it."""
    before: bool
    """Whether an earlier command had made it."""
    noted: bool = True
    """Whether the ledger says so; if not, a warning was printed."""


def id_of(slug: str, csv_sha256: str) -> str:
    """The id of a submission of this CSV to this competition: 12 hexadecimal digits."""
    return hashlib.sha256(f"{slug} {csv_sha256}".encode()).hexdigest()[:12]


def entry_of(pred: Path, csv: Path, record: Record | None, competition: Competition, message: str) -> Entry:
    """What is known of a submission before it is made.

    Args:
        pred: the folder of the masks.
        csv: the uncompressed CSV of these masks.
        record: what made the masks; None where nothing is recorded of it.
        competition: the one to which the CSV is submitted.
        message: what Kaggle is to show beside the score.
    """
    csv_sha256 = sha256(csv)
    record = record or Record(competition=competition.slug)
    unknown = ExpectedScore(None, f"{pred} does not record the out-of-fold scores of its models")
    return Entry(
        id=id_of(competition.slug, csv_sha256),
        slug=competition.slug,
        message=message,
        sha256=csv_sha256,
        pred=str(pred.resolve()),
        runs=tuple(record.runs),
        cross_validation=record.cross_validation,
        expected=record.expected or unknown,
        threshold=record.threshold,
        tta=record.tta,
        tta_scales=record.tta_scales,
        commit=commit(),
    )


def submit_once(packed: Path, wanted: Entry, path: Path, *, force: bool, timeout: float) -> Made:
    """Upload and submit a CSV, unless the same command has done so before.

    Args:
        packed: the compressed CSV.
        wanted: what is known of it; its id is that of `id_of`.
        path: the ledger.
        force: submit the CSV although it was submitted from another folder or under another message, or although
            Kaggle could not score it; the id then gets a number.
        timeout: seconds for everything.

    Raises:
        InputError: the CSV was submitted from another folder or under another message; or it is not what `wanted` says
            any more; or another command is at it.
        LeaderboardError: Kaggle refused or failed.
    """
    deadline = Deadline.after(timeout)
    with locked(path.parent, "is submitting", min(LOCK_SECONDS, timeout), name=".submitting.lock"):
        known = [entry for entry in ledger.read(path) if _is_of(wanted.id, entry.id)]
        made = _made_by_the_same(wanted, known, force)
        if made is None:
            known = _after_asking(path, wanted, known, deadline)
            made = _made_by_the_same(wanted, known, force)
        if made is not None:
            return made if made.entry.pred else _adopted(path, wanted, made.submission)
        if not force:
            _refuse_repetition(known)
        entry = replace(wanted, id=_free_id(wanted.id, known))
        ledger.intend(path, entry)
        submission = submissions.submit(
            packed,
            entry.slug,
            entry.message,
            unique_id=entry.id,
            is_unchanged=lambda: _sha256_of_content(packed) == wanted.sha256,
            timeout=deadline.left,
        )
        entry, noted = note_if_possible(path, entry, submission)
        return Made(entry, submission, before=False, noted=noted)


def note_if_possible(path: Path, entry: Entry, submission: Submission, *, is_new: bool = False) -> tuple[Entry, bool]:
    """As `ledger.note`, after `ledger.intend` where it is new, and whether it was noted.

    Where the ledger cannot be written, it says so, and that Kaggle has the submission all the same.
    """
    try:
        if is_new:
            ledger.intend(path, entry)
        return ledger.note(path, entry, submission), True
    except (InputError, OSError) as error:
        warn(
            f"the submission was made, as {submission.ref}: {submissions.page_of(submission.slug)}\n"
            f"but it could not be noted: {error}. Once {path} can be written, `{command_to_paste('submissions')}` and "
            "the same command find it at Kaggle and note it"
        )
        return replace(entry, submission=submission), False


def pick_up_scores(path: Path, entries: Sequence[Entry], slug: str) -> list[Entry]:
    """The ledger's entries with the scores that Kaggle lists now, which are noted, then what was made elsewhere.

    Raises:
        LeaderboardError: Kaggle refused or failed to list the submissions.
    """
    return _with_list(path, entries, submissions.latest(slug))


def _with_list(path: Path, entries: Sequence[Entry], listing: Listing) -> list[Entry]:
    """The ledger's entries with what Kaggle lists of them, which is noted, then what it lists besides."""
    for warning in listing.warnings():
        warn(warning)
    listed = listing.submissions
    refs = {entry.made.ref for entry in entries if entry.made}
    by_ref = {submission.ref: submission for submission in listed}
    by_id = {submission.unique_id: submission for submission in listed if submission.ref not in refs}
    noted = []
    for entry in entries:
        found = by_ref.get(entry.made.ref) if entry.made else by_id.get(entry.id)
        noted.append(note_if_possible(path, entry, found)[0] if found else entry)
    refs = {entry.made.ref for entry in noted if entry.made}
    return noted + [ledger.made_elsewhere(submission) for submission in reversed(listed) if submission.ref not in refs]


def _after_asking(path: Path, wanted: Entry, known: list[Entry], deadline: Deadline) -> list[Entry]:
    """The submissions of this CSV after Kaggle was asked for them, also those that were made elsewhere.

    If it is not known whether an earlier attempt reached Kaggle, the list is given a moment to show it.
    """
    unknown = [entry.id for entry in known if entry.made is None]
    if unknown:
        say("an earlier attempt may have reached Kaggle: looking for it")
    listed = submissions.find(wanted.slug, partial(_is_of, wanted.id), awaited=unknown, timeout=deadline.left)
    return _with_list(path, known, listed)


def _made_by_the_same(wanted: Entry, known: Sequence[Entry], force: bool) -> Made | None:
    """The submission that was made of the same folder under the same message, as far as is known."""
    for entry in known:
        same = entry.message.strip() == wanted.message.strip() and entry.pred in (wanted.pred, "")
        if same and entry.made and not (force and entry.made.status == "ERROR"):
            return Made(entry, entry.made, before=True)
    return None


def _adopted(path: Path, wanted: Entry, submission: Submission) -> Made:
    """A submission of this CSV that Kaggle alone knew, now in the ledger."""
    entry = replace(wanted, id=submission.unique_id)
    entry, noted = note_if_possible(path, entry, submission, is_new=True)
    return Made(entry, submission, before=True, noted=noted)


def _refuse_repetition(known: Sequence[Entry]) -> None:
    for entry in known:
        if entry.made:
            score = "" if entry.public_score is None else f", public score {entry.public_score}"
            raise InputError(
                f"the same CSV was submitted before: {entry.made.ref}, {entry.message!r}, "
                f"from {entry.pred or 'another place'}{score}. To submit it anyway, use --force"
            )


def _sha256_of_content(packed: Path) -> str:
    """The SHA-256 of the CSV that is in a compressed file; empty where none can be read in it."""
    try:
        with gzip.open(packed) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""


def _free_id(csv_id: str, known: Sequence[Entry]) -> str:
    """The CSV's id, with the first number that makes it new if it was submitted before."""
    taken = {entry.id for entry in known if entry.made}
    numbered = (f"{csv_id}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([csv_id], numbered) if name not in taken)


def _is_of(csv_id: str, entry_id: str) -> bool:
    """Whether it is the id of a submission of this CSV, maybe with a number."""
    return entry_id.partition("-")[0] == csv_id
