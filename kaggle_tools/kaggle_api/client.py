"""Kaggle: download the data, submit a file, wait for its score, all through the official `kaggle` package.

Knows nothing of masks: it takes and gives files.

The package logs in when it is imported, prints as it likes, may close stdin, swallows some failures
and sets no time limit on any call; a server that sends one byte a minute can only be stopped from
outside. So each call runs in a process of its own, `worker`, that is ended when its time is up.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kaggle_tools.competition import Archive, Competition
from kaggle_tools.errors import LeaderboardError, first_few

T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""How long a call that carries no file may take."""
STALL_SECONDS = 120.0
"""How long a download may stand still before it is given up."""
LOOK_UP_SECONDS = 30.0
"""What is kept of a submission's time, a third at most, to find out what became of it if Kaggle falls silent."""
LONGEST_PAUSE = 60
"""Seconds between two looks at the score, once the doubling pauses have grown to it."""
RETRY_PAUSES = (2, 8, 30)
"""Seconds before a call that failed is tried again."""
SETTLING_PAUSES = (1, 3, 9)
"""Seconds before each look for a submission that may have been made: Kaggle is given a moment to list it."""

NO_CREDENTIALS = (
    "no valid Kaggle credentials on this machine. At https://www.kaggle.com/settings, under API, make a token; then "
    "either save the file kaggle.json in the folder .kaggle of your home folder, or put the token into the "
    "environment variable KAGGLE_API_TOKEN"
)

ADVICE = {
    400: "If it is the daily limit: the day begins at 00:00 UTC. The competition's page: https://www.kaggle.com/c/{slug}",
    401: "The credentials are wrong or have expired: make new ones at https://www.kaggle.com/settings. A token in "
    "KAGGLE_API_TOKEN or in .kaggle/access_token is used before kaggle.json: remove it if it is old",
    403: "Accept the competition's rules, once, at https://www.kaggle.com/c/{slug}/rules, with the account that the "
    "credentials belong to, and make sure that the competition is still open to it",
    404: "Is the name right? https://www.kaggle.com/c/{slug} must open in a browser",
    429: "Those were too many requests: wait a few minutes",
}
"""What to do about an HTTP status."""


FINAL = ("COMPLETE", "ERROR")
"""The statuses that do not change any more."""


class TransientError(LeaderboardError):
    """Kaggle failed in a way that may pass. Nothing was submitted."""


class NoAnswerError(TransientError):
    """Kaggle gave no usable answer, so that it is unknown whether it did what it was asked to do."""


class UnknownOutcomeError(LeaderboardError):
    """It could not be found out whether the submission was made. The same command, run again, looks first."""


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
    """`PENDING`, `COMPLETE` or `ERROR`."""
    public_score: float | None = None
    """None as long as there is none."""
    private_score: float | None = None
    """None until the competition is over."""
    error: str = ""
    """Kaggle's reason where the status is `ERROR`."""
    date: str = ""
    """When it was made: ISO 8601, UTC."""

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


def download(
    competition: Competition, to: Path, *, high_quality: bool = False, patience: float = STALL_SECONDS
) -> list[Path]:
    """Download a competition's archives into the folder `to`.

    What is there with the right size is kept; what a broken download left is continued. A file gets its
    name only when it is whole.

    Args:
        competition: the competition; its rules must have been accepted at Kaggle.
        to: the folder, made if need be.
        high_quality: also the archives that come only on request.
        patience: seconds for which a download may stand still.

    Returns:
        The files, in the competition's order.

    Raises:
        LeaderboardError: Kaggle lists no such archive, refuses, fails, or stops sending.
    """
    wanted = [archive for archive in competition.archives if high_quality or not archive.on_request]
    sizes = _ask("list_files", "list the data files", competition.slug, ANSWER_SECONDS)
    names = [_listed_name(archive, sizes, competition.slug) for archive in wanted]
    return [_fetched(competition.slug, name, sizes[name], to, patience) for name in names]


def submit(csv: Path, competition_slug: str, message: str, *, unique_id: str, timeout: float) -> Submission:
    """Upload a file and submit it, once.

    The id is put before the message, so that a submission whose answer was lost is found again in Kaggle's
    list. What fails is tried again, but nothing is submitted anew before the list has been asked.

    Args:
        csv: the file, plain or compressed; Kaggle sees its name.
        competition_slug: the last part of the competition's address.
        message: the description that Kaggle shows.
        unique_id: stands in square brackets before the message.
        timeout: seconds for everything, the upload included.

    Returns:
        The submission, as a rule without a score as yet: see `wait_for_score`.

    Raises:
        UnknownOutcomeError: Kaggle failed after the upload began, and its list could not be read.
        LeaderboardError: the file is empty, no submission is left, or Kaggle refused or failed.
    """
    deadline = time.monotonic() + timeout
    end_of_upload = deadline - min(LOOK_UP_SECONDS, timeout / 3)
    if csv.stat().st_size == 0:
        raise LeaderboardError(f"{csv}: the file is empty; Kaggle would take it and count it")
    _require_one_left(competition_slug, deadline)

    def attempt() -> Submission:
        description = f"[{unique_id}] {message}"
        try:
            return Submission(competition_slug, _send(csv, competition_slug, description, end_of_upload), description)
        except NoAnswerError as failure:
            return _find_after(failure, competition_slug, unique_id, deadline)

    return _retried(attempt, end_of_upload)


def find(
    competition_slug: str, asked_for: Callable[[str], bool], *, awaited: Collection[str] = (), timeout: float
) -> list[Submission]:
    """The submissions whose id, the word in square brackets before the message, is one of those asked for.

    Args:
        competition_slug: the last part of the competition's address.
        asked_for: whether an id is one of those.
        awaited: ids of submissions that may have been made a moment ago: look several times, until all are listed.
        timeout: seconds for everything.

    Raises:
        LeaderboardError: Kaggle refused or failed to list the submissions.
    """
    deadline = time.monotonic() + timeout
    found: list[Submission] = []
    for pause in SETTLING_PAUSES if awaited else (0,):
        if _left(deadline) <= pause:
            raise TransientError(f"the time was up before it was sure that {competition_slug} lists no such submission")
        time.sleep(pause)
        listed = _retried(lambda: submissions(competition_slug, timeout=_call_seconds(deadline)), deadline)
        found = [submission for submission in listed if asked_for(submission.unique_id)]
        if set(awaited) <= {submission.unique_id for submission in found}:
            break
    return found


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
    deadline = time.monotonic() + timeout
    pause = 1
    while not submission.finished and _left(deadline) > pause:
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        try:
            listed = submissions(submission.slug, timeout=_call_seconds(deadline))
        except NoAnswerError:
            continue
        submission = next((other for other in listed if other.ref == submission.ref), submission)
    return submission


def submissions(competition_slug: str, *, timeout: float = ANSWER_SECONDS) -> list[Submission]:
    """The account's last submissions to a competition, the newest first.

    Raises:
        NoAnswerError: no usable answer within `timeout` seconds.
        LeaderboardError: Kaggle refused.
    """
    rows = _ask("list_submissions", "list the submissions", competition_slug, timeout)
    return [Submission(competition_slug, **row) for row in rows]


def rank(submission: Submission, *, timeout: float = ANSWER_SECONDS) -> tuple[int, int] | None:
    """The place that the score would have had, and of how many with it; None where Kaggle does not tell.

    It is the place on the leaderboard of the private scores, as soon as there are any. Higher scores are better.
    """
    final = submission.private_score is not None
    score = submission.private_score if final else submission.public_score
    if score is None:
        return None
    try:
        scores = _ask("list_leaderboard", "show the leaderboard", submission.slug, timeout, public=not final)
    except LeaderboardError:
        return None
    return (1 + sum(other > score for other in scores), 1 + len(scores)) if scores else None


def _id_and_message(description: str) -> tuple[str, str]:
    opening, closing, message = description.partition("] ")
    return (opening[1:], message) if closing and opening.startswith("[") else ("", description)


def _require_one_left(slug: str, deadline: float) -> None:
    """Ask before the long upload: Kaggle itself would say it only afterwards."""
    task = "tell how many submissions are left"
    try:
        limits = _retried(lambda: _ask("get_limits", task, slug, _call_seconds(deadline)), deadline)
    except NoAnswerError as failure:
        raise LeaderboardError(f"{failure} Nothing was uploaded") from None
    # All zero means that the account has no team yet, which it gets with its first submission.
    if limits["left"] == 0 and (limits["today"] > 0 or limits["for_good"]):
        again = "none will be added" if limits["for_good"] else "the next day begins at 00:00 UTC"
        raise LeaderboardError(
            f"no submission to {slug} is left (made today: {limits['today']}); {again}. Nothing was uploaded"
        )


def _send(csv: Path, slug: str, description: str, deadline: float) -> int:
    """Upload and submit; Kaggle's number for the submission."""
    reply = _ask("submit", f"take {csv.name}", slug, _left(deadline), csv=str(csv.resolve()), description=description)
    if reply["ref"]:
        return int(reply["ref"])
    if reply["upload_failed"]:
        raise TransientError(
            f"the upload of {csv.name} failed: Kaggle's storage did not take it, and its client does not say why. "
            "Nothing was submitted; try again later."
        )
    raise NoAnswerError(f"Kaggle took {csv.name} but confirmed no submission (it said {reply['message']!r}).")


def _find_after(failure: NoAnswerError, slug: str, unique_id: str, deadline: float) -> Submission:
    """The submission that was made although its confirmation was lost."""
    try:
        found = find(slug, unique_id.__eq__, awaited=[unique_id], timeout=_left(deadline))
    except LeaderboardError:
        raise UnknownOutcomeError(
            f"{failure} Nor could Kaggle's list be asked whether it was submitted. Run the same command again: it "
            f"looks first for {unique_id}, as you can at https://www.kaggle.com/c/{slug}/submissions"
        ) from None
    if not found:
        raise NoAnswerError(f"{failure} Kaggle's list does not show the submission.")
    return found[0]


def _retried(attempt: Callable[[], T], deadline: float) -> T:
    """The result of the attempt, which is made again after growing pauses where what failed may pass."""
    for pause in RETRY_PAUSES:
        try:
            return attempt()
        except TransientError as failure:
            if _left(deadline) <= pause:
                raise
            print(f"{failure} Next try in {pause} s", flush=True)
        time.sleep(pause)
    return attempt()


def _listed_name(archive: Archive, sizes: dict[str, int], slug: str) -> str:
    """The archive's name at Kaggle, which may be without `.zip`."""
    for name in (archive.name, archive.name.removesuffix(".zip")):
        if name in sizes:
            return name
    there = first_few(sorted(sizes), limit=10) or "nothing"
    raise LeaderboardError(f"{slug}: Kaggle does not list {archive.name}; what it lists: {there}")


def _fetched(slug: str, name: str, size: int, to: Path, patience: float) -> Path:
    """The file at its place in `to`, downloaded unless it is there."""
    here = next((path for path in (to / name, to / f"{name}.zip") if _is_whole(path, size)), None)
    if here:
        return here
    parts = to / f".{name}.part"  # a folder, for the client keeps its notes for resuming beside the file
    folder = str(parts.resolve())
    try:
        _ask("fetch", f"send {name}", slug, patience, progress=lambda: _bytes_in(parts), name=name, folder=folder)
    except NoAnswerError as failure:
        raise LeaderboardError(f"{failure} What has arrived is kept: the same command goes on from there") from None
    whole = next((path for path in parts.iterdir() if _is_whole(path, size)), None)
    if whole is None:
        got = _bytes_in(parts)
        shutil.rmtree(parts)
        raise LeaderboardError(f"{name}: Kaggle lists {size:,} bytes but sent {got:,}; run the command again")
    suffix = ".zip" if zipfile.is_zipfile(whole) and not name.endswith(".zip") else ""
    whole.replace(to / f"{name}{suffix}")
    shutil.rmtree(parts)
    return to / f"{name}{suffix}"


def _is_whole(path: Path, size: int) -> bool:
    """Whether the file is the one that Kaggle lists with `size` bytes; it may send a table `x.csv` as a zip of it."""
    if not path.is_file():
        return False
    if path.stat().st_size == size:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.file_size for member in archive.infolist()] == [size]
    except zipfile.BadZipFile:
        return False


def _bytes_in(parts: Path) -> int:
    """How much has arrived, the client's notes aside, which may vanish while we look."""
    if not parts.is_dir():
        return 0
    return sum(path.stat().st_size for path in parts.iterdir() if not path.name.endswith(".kaggle-partial"))


def _left(deadline: float) -> float:
    return deadline - time.monotonic()


def _call_seconds(deadline: float) -> float:
    """How long a call that carries no file may take."""
    return min(ANSWER_SECONDS, _left(deadline))


def _ask(
    call: str,
    task: str,
    slug: str,
    seconds: float,
    progress: Callable[[], int] = lambda: 0,
    **arguments: str | bool,
) -> Any:
    """Have a child process make one of the calls of `worker`.

    Args:
        call: the name of the function of `worker` to be run there.
        task: what Kaggle is asked to do, for messages.
        slug: the competition.
        seconds: the time after which the child is ended, unless `progress` has grown since it was last asked.
        progress: a number that grows as long as something happens.
        arguments: what else the function takes.

    Raises:
        NoAnswerError: no answer, or none that can be understood.
        LeaderboardError: Kaggle refused.
    """
    seconds = max(0.0, seconds)
    request = json.dumps({"call": call, "arguments": {"slug": slug, **arguments}})
    try:
        output = _run_child(request, seconds, progress)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"Kaggle gave no answer within {seconds:.0f} seconds when it was to {task}.") from None
    try:
        answer = json.loads(output)
    except ValueError:
        raise NoAnswerError(f"the kaggle client ended without a word when Kaggle was to {task}.") from None
    if "failure" in answer:
        raise _error(answer["failure"], task, slug)
    return answer["value"]


def _run_child(request: str, seconds: float, progress: Callable[[], int]) -> str:
    package = Path(__file__).parents[2]
    paths = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    # -P: a file in the working folder that is called like some library must not take its place.
    command = [sys.executable, "-P", "-m", "kaggle_tools.kaggle_api.worker", request]
    environment = {**os.environ, "PYTHONPATH": paths}
    with (
        _lifeline() as stdin,
        subprocess.Popen(command, env=environment, stdin=stdin, stdout=subprocess.PIPE, text=True) as child,
    ):
        try:
            return _output(child, seconds, progress)
        finally:
            child.kill()


@contextmanager
def _lifeline() -> Iterator[int]:
    """A pipe's end for a child to read from: the other one closes with this process, even if it is killed."""
    to_read, to_write = os.pipe()
    try:
        yield to_read
    finally:
        os.close(to_read)
        os.close(to_write)


def _output(child: subprocess.Popen[str], seconds: float, progress: Callable[[], int]) -> str:
    before = progress()
    while True:
        try:
            return child.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            now = progress()
            if now == before:
                raise
            before = now


def _error(failure: dict[str, Any], task: str, slug: str) -> LeaderboardError:
    """The exception for what the child reports (see `worker`)."""
    status, said = failure["status"], failure["said"]
    quoted = f": {said}" if said else ""
    match failure["kind"]:
        case "credentials":
            return LeaderboardError(NO_CREDENTIALS)
        case "installation":
            return LeaderboardError(f"the kaggle package cannot be imported{quoted}. Install requirements.txt again")
        case "http" if status < 500 and status not in (408, 429):
            advice = ADVICE.get(status, "The competition's page: https://www.kaggle.com/c/{slug}").format(slug=slug)
            return LeaderboardError(f"Kaggle refused to {task} (HTTP {status}){quoted}. {advice}")
        case "http":
            advice = ADVICE.get(status, "Try again in a few minutes")
            return NoAnswerError(f"Kaggle failed to {task} (HTTP {status}){quoted}. {advice}.")
        case "connection":
            return NoAnswerError(
                f"the connection to Kaggle failed when it was to {task}{quoted}. Is the network up? Then try again."
            )
        case "garbled":
            return NoAnswerError(
                f"Kaggle was to {task} but answered with something that its client cannot read ({said}). Its "
                "pages may be down for maintenance, or a proxy answers in its place; try again in a few minutes."
            )
    return NoAnswerError(f"the kaggle client failed when Kaggle was to {task}{quoted}.")
