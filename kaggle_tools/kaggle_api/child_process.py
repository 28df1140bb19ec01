"""The process in which Kaggle's client runs: `python -m kaggle_tools.kaggle_api.child_process REQUEST`.

The request is JSON, `{"call": name, "arguments": {…}}`. An empty line says that all is loaded and that Kaggle is asked
now; one line of JSON then is the answer, `{"value": …}` or `{"failure": {"kind", "said", "status", "source"}}`.
`client` says why there is such a process. No other module imports `kaggle`, and this one imports none of ours but
`credentials`, so that it starts quickly.
"""

import errno
import io
import json
import logging
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from kaggle_tools.kaggle_api import credentials
from kaggle_tools.kaggle_api.credentials import Credentials, CredentialsError, NoneFoundError

T = TypeVar("T")

LONGEST_QUOTE = 300
"""Characters that are quoted of what a server says."""
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EIO)
"""Errors that files have, and connections have not."""
LONGEST_NUMBER = 20
"""Digits of a whole number that is believed."""

# `api` is the package's KaggleApi; each call returns what JSON can hold. Lists are read row by row here: the package's
# own types refuse a whole list for one row with a value that they do not know.


def list_files(api: Any, slug: str) -> dict[str, int]:
    """Every data file's name and size in bytes."""
    from kagglesdk.competitions.types.competition_api_service import ApiListDataFilesRequest

    request = ApiListDataFilesRequest()
    request.competition_name, request.page_size = slug, 200
    rows, _ = _rows(api, "ListDataFiles", request, "files")
    return {row["name"]: _whole(row.get("totalBytes", 0)) for row in rows}


def fetch(api: Any, slug: str, name: str, folder: str) -> None:
    """Download a data file into the folder, continuing what an interrupted download left there."""
    try:
        api.competition_download_file(slug, name, path=folder, quiet=not sys.stderr.isatty())
    except OSError as error:
        error.filename = error.filename or folder  # a full disk does not say which
        raise


def get_limits(api: Any, slug: str) -> dict[str, int | bool]:
    """How many submissions are left now and were made today, and whether the limit is not only the day's."""
    limits = api.competition_get_submission_limits(slug)
    return {
        "left": _whole(limits.num_allowed_now),
        "today": _whole(limits.num_today),
        "for_good": bool(limits.limited_by_total),
    }


def submit(api: Any, slug: str, csv: str, description: str) -> dict[str, Any]:
    """Upload and submit a file. Success is a `ref` above 0, as the package swallows failed uploads."""
    reply = api.competition_submit(csv, description, slug, quiet=not sys.stderr.isatty())
    failed = reply.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE
    return {
        "ref": _whole(reply.ref or 0),
        "message": credentials.masked(str(reply.message), ()),
        "upload_failed": failed,
    }


def list_submissions(api: Any, slug: str, most: int) -> dict[str, Any]:
    """The fields, but for the slug, of each `Submission`, about `most` of them; those of `Listing` besides."""
    from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

    request = ApiListSubmissionsRequest()
    request.competition_name, request.page, request.page_size = slug, 1, 100
    rows, more = _rows(api, "ListSubmissions", request, "submissions", most)
    read = [submission for submission in map(_submission, rows) if submission]
    return {"rows": read, "more": more, "unreadable": len(rows) - len(read)}


def list_leaderboard(api: Any, slug: str, public: bool) -> list[float]:
    """The score of every team that has one, on the leaderboard of the public scores or on that of the private ones."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

    request = ApiGetLeaderboardRequest()
    request.competition_name, request.override_public, request.page_size = slug, public, 200
    rows, _ = _rows(api, "GetLeaderboard", request, "submissions")
    scores = [_number(row.get("score")) for row in rows if isinstance(row, dict)]
    return [score for score in scores if score is not None]


def _rows(api: Any, method: str, request: Any, field: str, most: float = float("inf")) -> tuple[list[Any], bool]:
    """The rows of a list, page after page until there are `most`, and whether Kaggle has more of them.

    Args:
        api: the package's client.
        method: of Kaggle's service for competitions.
        request: what it is asked.
        field: the field of its answer that holds the rows.
        most: how many rows are enough.
    """
    rows: list[Any] = []
    with api.build_kaggle_client() as client:
        while True:
            answer = client.http_client().call("competitions.CompetitionApiService", method, request, _AsSent)
            page = answer.get(field) or []
            rows += _list(page)
            request.page_token = answer.get("nextPageToken")
            if not request.page_token or not page or len(rows) >= most:
                return rows, bool(request.page_token)
            if "page" in request:  # the number of the first page, which the token replaces
                request.page = None


class _AsSent:
    """In place of one of the package's types of answers: the JSON as it was sent."""

    @staticmethod
    def prepare_from(response: Any) -> Any:
        return response.json()


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _submission(row: Any) -> dict[str, Any] | None:
    """A row of the list, where fields with a default value are missing; None where not even its number can be read."""
    if not isinstance(row, dict) or _integer(row.get("ref")) is None:
        return None
    odd = {}

    def field(name: str, read: Callable[[Any], T | None]) -> T | None:
        sent = row.get(name)
        value = None if sent in (None, "") else read(sent)
        if value is None and sent not in (None, ""):
            odd[name] = repr(sent)
        return value

    return {
        "ref": _integer(row["ref"]),
        "description": field("description", _text) or "",
        "status": field("status", _status) or "PENDING",
        "public_score": field("publicScore", _number),
        "private_score": field("privateScore", _number),
        "error": field("errorDescription", _text) or "",
        "date": field("date", _text) or "",
        "odd": odd,  # whole: what is cut off a secret could not be struck out any more
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _status(value: Any) -> str | None:
    status = str(value).upper().removeprefix("SUBMISSION_STATUS_")
    return status if status in ("PENDING", "COMPLETE", "ERROR") else None


def _number(value: Any) -> float | None:
    """A number, which Kaggle sends as a text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _integer(value: Any) -> int | None:
    """A whole number, which may have been sent as a text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < LONGEST_NUMBER:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _whole(value: Any) -> int:
    if (number := _integer(value)) is None:
        raise TypeError("not a whole number")
    return number


_CALLS: dict[str, Callable[..., Any]] = {
    call.__name__: call for call in (list_files, fetch, get_limits, submit, list_submissions, list_leaderboard)
}


def _answer(request: dict[str, Any], say_ready: Callable[[], None]) -> dict[str, Any]:
    """Load the package, log in, and make the call."""
    try:
        found = credentials.find(os.environ)
    except CredentialsError as error:
        return _failure("no credentials" if isinstance(error, NoneFoundError) else "credentials", str(error))
    try:
        api = _import_client()
        say_ready()
        api.authenticate()
    except (Exception, SystemExit) as error:
        return _describe(error, found, unreadable="login")
    try:
        value = _CALLS[request["call"]](api, **request["arguments"])
        return {"value": _without_secrets(value, found.secrets)}
    except (Exception, SystemExit) as error:
        return _describe(error, found, unreadable="garbled")


def _without_secrets(value: Any, secrets: tuple[str, ...]) -> Any:
    """What JSON holds, with the secrets struck out of all its texts: a server may echo what was sent to it."""
    if isinstance(value, dict):
        return {_without_secrets(name, secrets): _without_secrets(item, secrets) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item, secrets) for item in value]
    return credentials.without(value, secrets) if isinstance(value, str) else value


def _import_client() -> Any:
    """The package's client.

    The package logs in while it is imported, over the internet and without a time limit: this attempt is made to fail
    at once, which the package keeps to itself. It also makes its folder, where there may be no room for one.
    """
    from kagglesdk.kaggle_http_client import KaggleHttpClient

    if not credentials.config_folder(os.environ).exists():
        os.environ["KAGGLE_CONFIG_DIR"] = str(Path(__file__).parent)  # this one exists, and holds no kaggle.json
    call = KaggleHttpClient.call
    setattr(KaggleHttpClient, "call", _refuse)  # noqa: B010 (mypy lets no method be assigned to)
    try:
        import kaggle
    finally:
        setattr(KaggleHttpClient, "call", call)  # noqa: B010
    return kaggle.api


def _refuse(*_: Any) -> None:
    raise ConnectionError


def _describe(error: BaseException, found: Credentials, unreadable: str) -> dict[str, Any]:
    """The kind of a failure, its HTTP status if it has one, and what there is to quote.

    Of what others raise only the type is quoted, and what is known to be harmless: a header, an address or a value
    that stands in a message may be a secret. `unreadable` is the kind of a failure to understand what was read.
    """
    if isinstance(error, SystemExit):
        return _failure("rejected", source=found.source)
    if isinstance(error, ImportError):
        return _failure("installation", error.name or "")
    import requests
    from urllib3.exceptions import LocationValueError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        said = credentials.masked(_server_text(error.response), found.secrets)[:LONGEST_QUOTE].rstrip(".")
        return _failure("http", said, error.response.status_code, found.source)
    if isinstance(error, json.JSONDecodeError):
        return _failure("garbled", "no JSON")
    if isinstance(error, KeyError | TypeError | AttributeError):
        return _failure(unreadable, type(error).__name__, source=found.source)
    if isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError):
        return _failure("connection", _root_cause(error))
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | LocationValueError):
        return _failure("address", type(error).__name__)
    if isinstance(error, OSError) and error.errno in OF_THE_DISK:
        return _failure("disk", ": ".join(str(part) for part in (error.filename, error.strerror) if part))
    kind = "login" if unreadable == "login" else "other"
    return _failure(
        kind, _root_cause(error) if isinstance(error, OSError) else type(error).__name__, source=found.source
    )


def _failure(kind: str, said: str = "", status: int | None = None, source: str = "") -> dict[str, Any]:
    return {"failure": {"kind": kind, "said": said, "status": status, "source": source}}


def _server_text(response: Any) -> str:
    """The message in an error's body, of the forms `{"message"}` and `{"error": {"message"}}`, or nothing."""
    try:
        body = response.json()
    except ValueError:
        return ""  # a page of HTML says nothing that helps
    inner = body.get("error", body) if isinstance(body, dict) else {}
    message = inner.get("message", "") if isinstance(inner, dict) else inner
    return " ".join(str(message).split())


def _root_cause(error: BaseException) -> str:
    """`Connection refused` and the like, which are the system's words."""
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__ or cause.__context__
    refused = re.match(r"Tunnel connection failed: \d+", str(error))  # by a proxy
    return refused[0] if refused else getattr(error, "strerror", None) or type(error).__name__


def _end_with_parent() -> None:
    """End when stdin does, whose other end the parent holds: once it is killed, nothing must be submitted any more."""
    lifeline = os.dup(0)  # the package may close stdin

    def watch() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _main() -> None:
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    # These would print requests with their Authorization header, or signed addresses.
    os.environ.pop("VERBOSE", None)
    os.environ.pop("VERBOSE_OUTPUT", None)
    logging.disable()
    output = sys.stdout
    try:
        with redirect_stdout(io.StringIO()):
            answer = _answer(json.loads(sys.argv[1]), say_ready=lambda: print(file=output, flush=True))
    except BaseException as error:  # a traceback would quote what must not be shown
        answer = _failure("other", type(error).__name__)
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
