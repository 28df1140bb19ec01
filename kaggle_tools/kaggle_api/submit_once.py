"""A submission that is made once, whatever happens on the way: the ledger and Kaggle's list are asked first.

Knows nothing of masks.
"""

import hashlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kaggle_tools.errors import InputError
from kaggle_tools.kaggle_api import client, ledger
from kaggle_tools.kaggle_api.client import Submission
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.system.files import locked

LOCK_SECONDS = 60.0
"""How long to wait for another command that is uploading."""


def id_of(slug: str, csv_sha256: str) -> str:
    """The id of a submission of this CSV to this competition: 12 hexadecimal digits."""
    return hashlib.sha256(f"{slug} {csv_sha256}".encode()).hexdigest()[:12]


def submit_once(packed: Path, wanted: Entry, path: Path, *, force: bool, timeout: float) -> tuple[Entry, bool]:
    """Upload and submit a CSV, unless the same command has done so before.

    Args:
        packed: the compressed CSV.
        wanted: what is known of it; its id is that of `id_of`.
        path: the ledger.
        force: submit the CSV although it was submitted from another folder or under another message, or although
            Kaggle could not score it; the id then gets a number.
        timeout: seconds for everything.

    Returns:
        The submission as the ledger has it now, and whether it had been made before.

    Raises:
        InputError: the CSV was submitted from another folder or under another message; or another command is at it.
        LeaderboardError: Kaggle refused or failed.
    """
    deadline = time.monotonic() + timeout
    with locked(path.parent, "is submitting", min(LOCK_SECONDS, timeout), name=".submitting.lock"):
        known = [entry for entry in ledger.read(path) if _is_of(wanted.id, entry.id)]
        made = _made_by_the_same(wanted, known, force)
        if made is None:
            known = _after_asking(path, wanted, known, deadline - time.monotonic())
            made = _made_by_the_same(wanted, known, force)
        if made is not None:
            return made if made.pred else _adopted(path, wanted, made), True
        if not force:
            _refuse_repetition(known)
        entry = replace(wanted, id=_free_id(wanted.id, known))
        ledger.intend(path, entry)
        left = deadline - time.monotonic()
        submission = client.submit(packed, entry.slug, entry.message, unique_id=entry.id, timeout=left)
        return _noted(path, entry, submission), False


def wait_for_score(path: Path, entry: Entry, *, timeout: float) -> Entry:
    """The entry with its score, which is noted; not `finished` if the time was up before.

    Raises:
        LeaderboardError: Kaggle refused to list the submissions.
    """
    return _noted(path, entry, client.wait_for_score(_submission(entry), timeout=timeout))


def rank(entry: Entry, *, timeout: float) -> tuple[int, int] | None:
    """The place that the score would have had, and of how many; None where Kaggle does not tell."""
    return client.rank(_submission(entry), timeout=min(timeout, client.ANSWER_SECONDS))


def pick_up_scores(path: Path, entries: Sequence[Entry], slug: str) -> list[Entry]:
    """The ledger's entries with the scores that Kaggle lists now, which are noted, then what was made elsewhere.

    Raises:
        LeaderboardError: Kaggle refused or failed to list the submissions.
    """
    return _with_list(path, entries, client.submissions(slug))


def _with_list(path: Path, entries: Sequence[Entry], listed: Sequence[Submission]) -> list[Entry]:
    """The ledger's entries with what Kaggle lists of them, which is noted, then what it lists besides."""
    refs = {entry.ref for entry in entries}
    by_ref_or_id: dict[int | str, Submission] = {submission.ref: submission for submission in listed}
    by_ref_or_id |= {submission.unique_id: submission for submission in listed if submission.ref not in refs}
    noted = []
    for entry in entries:
        submission = by_ref_or_id.get(entry.id if entry.ref is None else entry.ref)
        noted.append(_noted(path, entry, submission) if submission else entry)
    refs = {entry.ref for entry in noted}
    return noted + [_made_elsewhere(submission) for submission in reversed(listed) if submission.ref not in refs]


def _after_asking(path: Path, wanted: Entry, known: list[Entry], timeout: float) -> list[Entry]:
    """The submissions of this CSV after Kaggle was asked for them, also those that were made elsewhere.

    If it is not known whether an earlier attempt reached Kaggle, the list is given a moment to show it.
    """
    left_open = [entry.id for entry in known if entry.ref is None]
    if left_open:
        print("an earlier attempt may have reached Kaggle: looking for it", flush=True)
    asked_for = partial(_is_of, wanted.id)
    listed = client.find(wanted.slug, asked_for, awaited=left_open, timeout=timeout)
    return _with_list(path, known, listed)


def _made_by_the_same(wanted: Entry, known: Sequence[Entry], force: bool) -> Entry | None:
    """The submission that was made of the same folder under the same message, as far as can be told."""
    for entry in known:
        same = entry.message.strip() == wanted.message.strip() and entry.pred in (wanted.pred, "")
        once_more = force and entry.status == "ERROR"
        if same and entry.ref is not None and not once_more:
            return entry
    return None


def _refuse_repetition(known: Sequence[Entry]) -> None:
    for entry in known:
        if entry.ref is not None:
            score = "" if entry.public_score is None else f", public score {entry.public_score}"
            raise InputError(
                f"the same CSV was submitted before: {entry.ref}, {entry.message!r}, "
                f"from {entry.pred or 'another place'}{score}. To submit it all the same, use --force"
            )


def _free_id(csv_id: str, known: Sequence[Entry]) -> str:
    """The CSV's id, with the first number that makes it new if it was submitted before."""
    taken = {entry.id for entry in known if entry.ref is not None}
    numbered = (f"{csv_id}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([csv_id], numbered) if name not in taken)


def _is_of(csv_id: str, entry_id: str) -> bool:
    """Whether it is the id of a submission of this CSV, maybe with a number."""
    return entry_id.partition("-")[0] == csv_id


def _noted(path: Path, entry: Entry, submission: Submission) -> Entry:
    """The entry with what Kaggle says of it; what is new is written down."""
    verdict = _verdict(submission)
    now = replace(entry, ref=submission.ref, **verdict)
    if now.ref != entry.ref:
        ledger.append(path, "submitted", entry.id, {"ref": now.ref})
    if submission.finished and now != replace(entry, ref=now.ref):
        ledger.append(path, "scored", entry.id, verdict)
    return now


def _adopted(path: Path, wanted: Entry, made: Entry) -> Entry:
    """Into the ledger with a submission that only Kaggle knew."""
    entry = replace(wanted, id=made.id)
    ledger.intend(path, entry)
    return _noted(path, entry, _submission(made))


def _submission(entry: Entry) -> Submission:
    return Submission(
        slug=entry.slug,
        ref=entry.ref or 0,
        description=f"[{entry.id}] {entry.message}",
        status=entry.status or "PENDING",
        public_score=entry.public_score,
        private_score=entry.private_score,
        error=entry.error,
    )


def _made_elsewhere(submission: Submission) -> Entry:
    """What can be told of a submission that is not in the ledger."""
    return Entry(
        id=submission.unique_id,
        slug=submission.slug,
        message=submission.message,
        time=submission.date,
        ref=submission.ref,
        **_verdict(submission),
    )


def _verdict(submission: Submission) -> dict[str, Any]:
    """The fields of an entry that are not known before Kaggle has scored it."""
    return {
        "status": submission.status if submission.finished else "",
        "public_score": submission.public_score,
        "private_score": submission.private_score,
        "error": submission.error,
    }
