"""One call to Kaggle through the official `kaggle` package: its time limit, and what its failure means.

The package logs in when it is imported, prints as it likes, may close stdin, swallows some failures
and sets no time limit on any call; a server that sends one byte a minute can only be stopped from
outside. So each call runs in a process of its own, `child_process`, that is ended when its time is up.

    TransientError              may pass; nothing was submitted
    └── NoAnswerError           no usable answer: it is unknown whether Kaggle did what it was asked to do
    UnknownOutcomeError         it is unknown whether a submission was made
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

from kaggle_tools.errors import LeaderboardError
from kaggle_tools.system.processes import own_command, own_environment

T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""How long a call that carries no file may take."""
RETRY_PAUSES: tuple[float, ...] = (2, 8, 30)
"""Seconds before a call that failed is tried again."""
COMMAND = own_command(module="kaggle_tools.kaggle_api.child_process")
"""Starts the child process."""

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


class TransientError(LeaderboardError):
    """Kaggle failed in a way that may pass. Nothing was submitted."""


class NoAnswerError(TransientError):
    """Kaggle gave no usable answer, so that it is unknown whether it did what it was asked to do."""


class UnknownOutcomeError(LeaderboardError):
    """It could not be found out whether the submission was made. The same command, run again, looks first."""


@dataclass(frozen=True)
class Deadline:
    """The moment at which everything must have ended."""

    at: float
    """By `time.monotonic`."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """So many seconds from now."""
        return cls(time.monotonic() + seconds)

    def earlier(self, seconds: float) -> Self:
        """So many seconds before this one."""
        return type(self)(self.at - seconds)

    @property
    def left(self) -> float:
        """Seconds until then; below 0 where it has passed."""
        return self.at - time.monotonic()

    @property
    def left_for_answer(self) -> float:
        """Seconds that a call may take that carries no file."""
        return min(ANSWER_SECONDS, self.left)


class Failure(NamedTuple):
    """What went wrong in the child process (see `child_process`)."""

    kind: str
    """`credentials`, `installation`, `http`, `connection`, `garbled` or `other`."""
    said: str
    """What there is to quote; may be empty."""
    status: int | None
    """The HTTP status, where the kind is `http`."""


def ask(
    call: str,
    task: str,
    slug: str,
    seconds: float,
    progress: Callable[[], int] = lambda: 0,
    **arguments: str | bool,
) -> Any:
    """Have a child process make one of the calls of `child_process`.

    Args:
        call: the name of the function of `child_process` to be run there.
        task: what Kaggle is asked to do, for messages.
        slug: the competition.
        seconds: the time after which the child is ended, unless `progress` has grown since it was last asked.
        progress: a number that grows as long as something happens.
        arguments: what else the function takes.

    Returns:
        What the function returns, as JSON holds it.

    Raises:
        NoAnswerError: no answer, or none that can be understood.
        LeaderboardError: Kaggle refused.
    """
    seconds = max(0.0, seconds)
    request = json.dumps({"call": call, "arguments": {"slug": slug, **arguments}})
    try:
        output = _run_child(request, seconds, progress)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"Kaggle gave no answer within {seconds:.0f} seconds when asked to {task}.") from None
    try:
        answer = json.loads(output)
    except ValueError:
        raise NoAnswerError(f"the kaggle client ended without an answer when Kaggle was asked to {task}.") from None
    if "failure" in answer:
        raise _error(Failure(**answer["failure"]), task, slug)
    return answer["value"]


def retried(attempt: Callable[[], T], deadline: Deadline) -> T:
    """The result of the attempt, which is made again after growing pauses where what failed may pass.

    Raises:
        TransientError: the last attempt failed, or no time was left for another one.
    """
    for pause in RETRY_PAUSES:
        try:
            return attempt()
        except TransientError as failure:
            if deadline.left <= pause:
                raise
            print(f"{failure} Next try in {pause} s", flush=True)
        time.sleep(pause)
    return attempt()


def _run_child(request: str, seconds: float, progress: Callable[[], int]) -> str:
    command, environment = [*COMMAND, request], own_environment()
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


def _error(failure: Failure, task: str, slug: str) -> LeaderboardError:
    quoted = f": {failure.said}" if failure.said else ""
    match failure.kind:
        case "credentials":
            return LeaderboardError(NO_CREDENTIALS)
        case "installation":
            return LeaderboardError(f"the kaggle package cannot be imported{quoted}. Install requirements.txt again")
        case "http":
            return _http_error(failure.status or 0, quoted, task, slug)
        case "connection":
            return NoAnswerError(
                f"the connection to Kaggle failed when it was asked to {task}{quoted}. "
                "Is this machine connected to the internet? Then try again."
            )
        case "garbled":
            return NoAnswerError(
                f"Kaggle was asked to {task} but gave an answer that its client cannot read ({failure.said}). Its "
                "pages may be down for maintenance, or a proxy answers in its place; try again in a few minutes."
            )
    return NoAnswerError(f"the kaggle client failed when Kaggle was asked to {task}{quoted}.")


def _http_error(status: int, quoted: str, task: str, slug: str) -> LeaderboardError:
    """A refusal is final; failures of the server, too many requests and a request that took too long may pass."""
    if status < 500 and status not in (408, 429):
        advice = ADVICE.get(status, "The competition's page: https://www.kaggle.com/c/{slug}").format(slug=slug)
        return LeaderboardError(f"Kaggle refused to {task} (HTTP {status}){quoted}. {advice}")
    advice = ADVICE.get(status, "Try again in a few minutes")
    return NoAnswerError(f"Kaggle failed to {task} (HTTP {status}){quoted}. {advice}.")
