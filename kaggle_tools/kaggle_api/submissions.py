"""Kaggle's submissions: make one, find it in the list, wait for its score, look up its rank.

Knows nothing of masks: it takes files. Knows nothing of the ledger.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kaggle_tools.errors import InputError, LeaderboardError, counted
from kaggle_tools.kaggle_api.client import (
    ANSWER_SECONDS,
    Deadline,
    NoAnswerError,
    TransientError,
    UnknownOutcomeError,
    ask,
    retried,
)

LOOK_UP_SECONDS = 30.0
"""What is kept of a submission's time, a third at most, to find out what became of it if Kaggle does not answer."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two looks at the score: at first, and once the doubling pauses have grown."""
SETTLING_PAUSES: tuple[float, ...] = (1, 3, 9)
"""Seconds before each look for a submission that may have been made: Kaggle is given a moment to list it."""

FINAL = ("COMPLETE", "ERROR")
"""The statuses that do not change any more."""

PAGE = 100
"""Submissions to a page of Kaggle's list."""
MOST = 1000
"""After so many submissions the list is not followed further."""

LONGEST_ODD = 40
"""Characters that are shown of a value of Kaggle's list that is not understood."""


@dataclass(frozen=True)
class Submission:
    """One submission as Kaggle knows it."""

    slug: str
    """The competition."""
    ref: int
    """Kaggle's number for it."""
    description: str
    """Its unique id and the message, as given to Kaggle."""
    status: str = "PENDING"
    """`PENDING`, `COMPLETE` or `ERROR`; `PENDING` also where Kaggle says something else, which is `odd` then."""
    public_score: float | None = None
    """None as long as there is none."""
    private_score: float | None = None
    """None until the competition is over."""
    error: str = ""
    """Kaggle's reason where the status is `ERROR`."""
    date: str = ""
    """When it was made: ISO 8601, UTC; empty where Kaggle has not listed it yet."""
    odd: str = ""
    """What Kaggle lists of it that is not understood, in words; empty as a rule."""

    @property
    def unique_id(self) -> str:
        """The word in square brackets with which `submit` begins the description; empty if there is none."""
        return _id_and_message(self.description)[0]

    @property
    def message(self) -> str:
        """The description without the id."""
        return _id_and_message(self.description)[1]

    @property
    def finished(self) -> bool:
        """Whether the status is final."""
        return self.status in FINAL


class Listing(NamedTuple):
    """Submissions that Kaggle lists."""

    submissions: list[Submission]
    """The newest first."""
    more: bool
    """Whether there are older ones, which were not asked for."""
    unreadable: int
    """How many rows of the list say not even which submission they are about."""

    def warnings(self) -> list[str]:
        """What is not in it, in words."""
        said = []
        if self.more:
            said.append(f"only the last {MOST:,} submissions were asked for: Kaggle lists more")
        if self.unreadable:
            rows = counted(self.unreadable, "row of Kaggle's list is", "rows of Kaggle's list are")
            said.append(f"{rows} left out, as unreadable")
        return said


class Allowance(NamedTuple):
    """How many submissions Kaggle still takes."""

    left: int
    """Now."""
    today: int
    """Those that were made since 00:00 UTC."""
    for_good: bool
    """Whether the limit is that of the whole competition."""

    @property
    def used_up(self) -> bool:
        """Whether none is left. All zero means: no team yet, which an account gets with its first submission."""
        return self.left == 0 and (self.today > 0 or self.for_good)


class Reply(NamedTuple):
    """What the client says after an upload."""

    ref: int | None
    """Kaggle's number for the submission; none, or 0, where none was made."""
    message: str
    upload_failed: bool
    """Whether the storage did not take the file."""


class Rank(NamedTuple):
    """A place on the leaderboard."""

    place: int
    """From 1."""
    of: int
    """How many there are, with this one."""


def describe(unique_id: str, message: str) -> str:
    """What Kaggle shows of a submission: its id in square brackets, then the message."""
    return f"[{unique_id}] {message}"


def page_of(slug: str) -> str:
    """The address of the page on which Kaggle lists the account's submissions to a competition."""
    return f"https://www.kaggle.com/c/{slug}/submissions"


def submit(
    csv: Path, competition_slug: str, message: str, *, unique_id: str, is_unchanged: Callable[[], bool], timeout: float
) -> Submission:
    """Upload a file and submit it, once.

    The id is put before the message, so that a submission whose answer was lost is found again in Kaggle's
    list. What fails is tried again, but nothing is submitted anew before the list has been asked.

    Args:
        csv: the file, plain or compressed; Kaggle sees its name.
        competition_slug: the last part of the competition's address.
        message: the description that Kaggle shows.
        unique_id: stands in square brackets before the message.
        is_unchanged: whether the file is still what is to be submitted; it is asked before each try.
        timeout: seconds for everything, the upload included.

    Returns:
        The submission, as a rule without a score as yet: see `wait_for_score`.

    Raises:
        InputError: the file has changed.
        UnknownOutcomeError: Kaggle failed after the upload began, and its list could not be read.
        LeaderboardError: the file is empty, no submission is left, or Kaggle refused or failed.
    """
    deadline = Deadline.after(timeout)
    end_of_upload = deadline.earlier(min(LOOK_UP_SECONDS, timeout / 3))
    if csv.stat().st_size == 0:
        raise LeaderboardError(f"{csv}: the file is empty; Kaggle would take it and count it")
    _refuse_without_allowance(competition_slug, deadline)
    description = describe(unique_id, message)

    def attempt() -> Submission:
        if not is_unchanged():
            raise InputError(f"{csv}: changed after it was checked, and is not sent; run the same command again")
        try:
            return Submission(competition_slug, _send(csv, competition_slug, description, end_of_upload), description)
        except NoAnswerError as failure:
            return _find_after(failure, competition_slug, unique_id, deadline)

    return retried(attempt, end_of_upload)


def find(
    competition_slug: str, asked_for: Callable[[str], bool], *, awaited: Collection[str] = (), timeout: float
) -> Listing:
    """The submissions whose id, the word in square brackets before the message, is one of those asked for.

    Args:
        competition_slug: the last part of the competition's address.
        asked_for: whether an id is one of those.
        awaited: ids of submissions that may have been made a moment ago: look several times, until all are listed.
        timeout: seconds for everything.

    Raises:
        LeaderboardError: Kaggle refused or failed to list the submissions.
    """
    deadline = Deadline.after(timeout)
    listed = Listing([], more=False, unreadable=0)
    for pause in SETTLING_PAUSES if awaited else (0,):
        if deadline.left <= pause:
            raise TransientError(
                f"the time limit ended before it was certain that {competition_slug} lists no such submission"
            )
        time.sleep(pause)
        listed = retried(lambda: latest(competition_slug, timeout=deadline.left_for_answer), deadline)
        found = [submission for submission in listed.submissions if asked_for(submission.unique_id)]
        listed = listed._replace(submissions=found)
        if set(awaited) <= {submission.unique_id for submission in found}:
            break
    return listed


def wait_for_score(submission: Submission, *, timeout: float) -> Submission:
    """Look after 1, 2, 4 … seconds, at most a minute apart, until Kaggle has scored the submission.

    A look that fails is no reason to give up: the next one may succeed.

    Args:
        submission: what `submit` returned.
        timeout: seconds after which to stop waiting.

    Returns:
        The submission with its status and scores; not `finished` if the time was up before.

    Raises:
        LeaderboardError: Kaggle refused to list the submissions.
    """
    deadline = Deadline.after(timeout)
    pause = FIRST_PAUSE
    while not submission.finished and deadline.left > pause:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        try:
            listed = latest(submission.slug, most=PAGE, timeout=deadline.left_for_answer)
        except TransientError:
            continue
        submission = next((other for other in listed.submissions if other.ref == submission.ref), submission)
    return submission


def latest(competition_slug: str, *, most: int = MOST, timeout: float = ANSWER_SECONDS) -> Listing:
    """The account's last submissions to a competition, page after page until there are `most`.

    Raises:
        TransientError: no usable answer within `timeout` seconds.
        LeaderboardError: Kaggle refused.
    """
    found = ask("list_submissions", "list the submissions", competition_slug, timeout, most=most)
    rows = [Submission(competition_slug, **(row | {"odd": _in_words(row["odd"])})) for row in found["rows"]]
    return Listing(rows, found["more"], found["unreadable"])


def rank(submission: Submission, *, timeout: float = ANSWER_SECONDS) -> Rank | None:
    """The place that the score would have on the leaderboard; None where Kaggle does not show it.

    It is the place on the leaderboard of the private scores, as soon as there are any. Higher scores are better.
    """
    final = submission.private_score is not None
    score = submission.private_score if final else submission.public_score
    if score is None:
        return None
    seconds = min(timeout, ANSWER_SECONDS)
    try:
        scores = ask("list_leaderboard", "show the leaderboard", submission.slug, seconds, public=not final)
    except LeaderboardError:
        return None
    return Rank(1 + sum(other > score for other in scores), 1 + len(scores)) if scores else None


def _id_and_message(description: str) -> tuple[str, str]:
    found = re.fullmatch(r"\[(.*?)\](?:\s+(.*))?", description, re.DOTALL)  # without a message: spaces were stripped
    return (found[1], found[2] or "") if found else ("", description)


def _in_words(odd: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {sent:.{LONGEST_ODD}}" for name, sent in odd.items())


def _refuse_without_allowance(slug: str, deadline: Deadline) -> None:
    """Ask before the long upload: Kaggle itself would say it only afterwards."""
    task = "say how many submissions are left"
    try:
        allowance = Allowance(**retried(lambda: ask("get_limits", task, slug, deadline.left_for_answer), deadline))
    except TransientError as failure:
        raise LeaderboardError(f"{failure} Nothing was uploaded") from None
    if allowance.used_up:
        again = "none will be added" if allowance.for_good else "the next day begins at 00:00 UTC"
        raise LeaderboardError(
            f"no submission to {slug} is left (made today: {allowance.today}); {again}. Nothing was uploaded"
        )


def _send(csv: Path, slug: str, description: str, deadline: Deadline) -> int:
    """Upload and submit; Kaggle's number for the submission."""
    path = str(csv.resolve())
    reply = Reply(**ask("submit", f"take {csv.name}", slug, deadline.left, csv=path, description=description))
    if reply.ref:
        return reply.ref
    if reply.upload_failed:
        raise TransientError(
            f"the upload of {csv.name} failed: Kaggle's storage did not take it, and its client does not say why. "
            "Nothing was submitted; try again later."
        )
    raise NoAnswerError(f"Kaggle took {csv.name} but confirmed no submission (it said {reply.message!r}).")


def _find_after(failure: NoAnswerError, slug: str, unique_id: str, deadline: Deadline) -> Submission:
    """The submission that was made although its confirmation was lost."""
    try:
        found = find(slug, unique_id.__eq__, awaited=[unique_id], timeout=deadline.left).submissions
    except LeaderboardError:
        raise UnknownOutcomeError(
            f"{failure} Nor could Kaggle's list be asked whether it was submitted. Run the same command again: it "
            f"looks first for {unique_id}, as you can at {page_of(slug)}"
        ) from None
    if not found:
        raise NoAnswerError(f"{failure} Kaggle's list does not show the submission.")
    return found[0]
