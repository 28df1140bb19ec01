"""One call to Kaggle through the official `kaggle` package: its time limit, and what its failure means.

The package logs in when it is imported, prints as it likes, may close stdin, swallows some failures
and sets no time limit on any call; a server that sends one byte a minute can only be stopped from
outside. So each call runs in a process of its own, `child_process`, that is ended when its time is up.

    TransientError              may pass; nothing was submitted
    └── NoAnswerError           no usable answer: it is unknown whether Kaggle did what it was asked to do
    UnknownOutcomeError         it is unknown whether a submission was made
"""

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import Any, NamedTuple, Self, TypeVar
from urllib.request import getproxies_environment

from kaggle_tools.errors import LeaderboardError
from kaggle_tools.system.output import say
from kaggle_tools.system.processes import own_command, own_environment

T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""How long a call that carries no file may take, once Kaggle is asked."""
START_SECONDS = 600.0
"""How long the child process may take to start, which takes a second on a machine that is not busy."""
RETRY_PAUSES: tuple[float, ...] = (2, 8, 30)
"""Seconds before a call that failed is tried again."""
COMMAND = own_command(module="kaggle_tools.kaggle_api.child_process")
"""Starts the child process."""

DAILY_LIMIT = (
    "If it is the daily limit: the day begins at 00:00 UTC. The competition's page: https://www.kaggle.com/c/{slug}"
)
RULES = (
    "Accept the competition's rules, once, at https://www.kaggle.com/c/{slug}/rules, with the account that the "
    "credentials belong to"
)

ADVICE_BY_TEXT = {
    r"phone|verified|verify your|verification": "Verify the account, once, at https://www.kaggle.com/settings: it "
    "needs a phone number",
    r"notebook|kernel|code competition": "This competition takes no files but those that a notebook at Kaggle writes: "
    "mask its photos there and submit the notebook at https://www.kaggle.com/c/{slug}/code",
    r"daily|allowance|submission limit": DAILY_LIMIT,
    r"deadline|closed|has ended|is over|not accepting|no longer": "The competition takes no submissions any more. Some "
    "take late ones, if the page says so: https://www.kaggle.com/c/{slug}",
    r"rules": RULES,
}
"""What to do about a refusal of HTTP status 400 or 403, by what Kaggle says: the first that is found counts."""
ADVICE = {
    400: DAILY_LIMIT,
    401: "The credentials, from {source}, are wrong or have expired: make new ones at https://www.kaggle.com/settings. "
    "A token in KAGGLE_API_TOKEN or in .kaggle/access_token is used before kaggle.json: remove it if it is old",
    403: RULES + ", and make sure that the competition is still open to it",
    404: "Is the name right? https://www.kaggle.com/c/{slug} must open in a browser",
    429: "Those were too many requests: wait a few minutes",
}
"""What to do about an HTTP status, where Kaggle says nothing more."""


class NoCredentialsError(LeaderboardError):
    """There are no credentials on this machine, so that Kaggle was not asked."""


class TransientError(LeaderboardError):
    """Kaggle failed in a way that may pass. Nothing was submitted."""


class NoAnswerError(TransientError):
    """Kaggle gave no usable answer, so that it is unknown whether it did what it was asked to do."""


class UnknownOutcomeError(LeaderboardError):
    """It could not be found out whether the submission was made. The same command, run again, looks first."""


MESSAGES: dict[str, tuple[type[LeaderboardError], str]] = {
    "no credentials": (NoCredentialsError, "{said}"),
    "credentials": (LeaderboardError, "{said}"),
    "rejected": (
        LeaderboardError,
        "Kaggle does not know the token in {source}, which may have expired. Make a new one at "
        "https://www.kaggle.com/settings",
    ),
    "login": (
        LeaderboardError,
        "the kaggle client failed on this machine, with the credentials in {source}{quoted}. Kaggle was not asked",
    ),
    "disk": (LeaderboardError, "this machine cannot do its part when Kaggle is asked to {task}{quoted}"),
    "installation": (
        LeaderboardError,
        "the kaggle package cannot be imported{quoted}. Install requirements.txt again",
    ),
    "address": (
        LeaderboardError,
        "the kaggle client cannot use an address{quoted}.{proxies} Kaggle was not asked to {task}",
    ),
    "connection": (
        NoAnswerError,
        "the connection to Kaggle failed when it was asked to {task}{quoted}. "
        "Is this machine connected to the internet?{proxies} Then try again.",
    ),
    "garbled": (
        NoAnswerError,
        "Kaggle was asked to {task} but gave an answer that its client cannot read ({said}). Its pages may be down for "
        "maintenance, or a proxy answers in its place.{proxies} Try again in a few minutes.",
    ),
    "other": (NoAnswerError, "the kaggle client failed when Kaggle was asked to {task}{quoted}."),
}
"""What is said of a failure, by its kind (see `child_process`); those of the kind `http` have their status."""


class Clock:
    """Time as limits count it: it stands still while a child process starts, which a busy machine makes long."""

    def __init__(self) -> None:
        self.stood_still = 0.0
        """Seconds."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() - self.stood_still

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """What is done within takes no time."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.stood_still += time.monotonic() - started


CLOCK = Clock()


@dataclass(frozen=True)
class Deadline:
    """The moment at which everything must have ended."""

    at: float
    """By `CLOCK`."""

    @classmethod
    def after(cls, seconds: float) -> Self:
        """So many seconds from now."""
        return cls(CLOCK.now() + seconds)

    def earlier(self, seconds: float) -> Self:
        """So many seconds before this one."""
        return type(self)(self.at - seconds)

    @property
    def left(self) -> float:
        """Seconds until then; below 0 where it has passed."""
        return self.at - CLOCK.now()

    @property
    def left_for_answer(self) -> float:
        """Seconds that a call may take that carries no file."""
        return min(ANSWER_SECONDS, self.left)


class Failure(NamedTuple):
    """What went wrong in the child process (see `child_process`)."""

    kind: str
    """What went wrong: see `_error`."""
    said: str
    """What there is to quote; may be empty."""
    status: int | None
    """The HTTP status, where the kind is `http`."""
    source: str
    """Where the credentials are; may be empty."""


def ask(
    call: str,
    task: str,
    slug: str,
    seconds: float,
    progress: Callable[[], int] = lambda: 0,
    **arguments: str | bool | int,
) -> Any:
    """Have a child process make one of the calls of `child_process`.

    Args:
        call: the name of the function of `child_process` to be run there.
        task: what Kaggle is asked to do, for messages.
        slug: the competition.
        seconds: the time after which the child is ended, unless `progress` has grown since it was last asked. It
            begins when Kaggle is asked.
        progress: a number that grows as long as something happens.
        arguments: what else the function takes.

    Returns:
        What the function returns, as JSON holds it.

    Raises:
        NoAnswerError: no answer, or none that can be understood.
        TransientError: Kaggle was not asked, as there was no time left for it or the child ended at its start.
        LeaderboardError: Kaggle refused, or cannot be asked.
    """
    if seconds <= 0:
        raise TransientError(f"the time limit ended before Kaggle was asked to {task}. Allow more time.")
    request = json.dumps({"call": call, "arguments": {"slug": slug, **arguments}})
    try:
        output = _run_child(request, seconds, progress)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(
            f"Kaggle gave no answer within {math.ceil(seconds)} seconds when asked to {task}."
        ) from None
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
            say(f"{failure} Next try in {pause} s")
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
    start = _start_of_output(child)
    before = progress()
    while True:
        try:
            return start + child.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            now = progress()
            if now == before:
                raise
            before = now


def _start_of_output(child: subprocess.Popen[str]) -> str:
    """Wait until the child has loaded what it needs and asks Kaggle, as its first character says."""
    assert child.stdout
    timer = Timer(START_SECONDS, child.kill)
    timer.daemon = True
    timer.start()
    try:
        with CLOCK.standing_still():
            start = os.read(child.stdout.fileno(), 1)
        in_time = timer.is_alive()
    finally:
        timer.cancel()
    if not in_time:
        raise LeaderboardError(
            f"the kaggle client did not start within {START_SECONDS:.0f} seconds, so that Kaggle was not asked: this "
            "machine is too busy, or short of memory"
        )
    if not start:
        raise TransientError("the kaggle client was ended while it started, so that Kaggle was not asked.")
    return start.decode()


def _error(failure: Failure, task: str, slug: str) -> LeaderboardError:
    quoted = f": {failure.said}" if failure.said else ""
    if failure.kind == "http":
        return _http_error(failure, quoted, task, slug)
    error, message = MESSAGES.get(failure.kind, MESSAGES["other"])
    return error(message.format(said=failure.said, quoted=quoted, task=task, source=failure.source, proxies=_proxies()))


def _proxies() -> str:
    """The variables that name proxies; without their values, which may hold passwords."""
    names = [name for name in os.environ if name.lower().endswith("_proxy") and name.lower() != "no_proxy"]
    return f" It is asked through a proxy: is {' and '.join(sorted(names))} right?" if getproxies_environment() else ""


def _http_error(failure: Failure, quoted: str, task: str, slug: str) -> LeaderboardError:
    """A refusal is final; failures of the server, too many requests and a request that took too long may pass."""
    status = failure.status or 0
    if status < 500 and status not in (408, 429):
        advice = _advice(status, failure.said).format(slug=slug, source=failure.source)
        return LeaderboardError(f"Kaggle refused to {task} (HTTP {status}){quoted}. {advice}")
    advice = ADVICE.get(status, "Try again in a few minutes")
    return NoAnswerError(f"Kaggle failed to {task} (HTTP {status}){quoted}. {advice}.")


def _advice(status: int, said: str) -> str:
    if status in (400, 403):
        for pattern, advice in ADVICE_BY_TEXT.items():
            if re.search(pattern, said, re.IGNORECASE):
                return advice
    return ADVICE.get(status, "The competition's page: https://www.kaggle.com/c/{slug}")
