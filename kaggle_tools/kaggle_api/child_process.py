"""The process in which Kaggle's client runs: `python -m kaggle_tools.kaggle_api.child_process REQUEST`.

The request is JSON, `{"call": name, "arguments": {…}}`; one line of JSON answers it, `{"value": …}` or
`{"failure": {"kind", "said", "status"}}`. `client` says why there is such a process. No other module
imports `kaggle`, and this one imports no other of ours, so that it starts quickly.
"""

import base64
import io
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

# `api` is the package's KaggleApi; each call returns what JSON can hold.


def list_files(api: Any, slug: str) -> dict[str, int]:
    """Every data file's name and size in bytes."""
    sizes: dict[str, int] = {}
    token = ""
    while True:
        page = api.competition_list_files(slug, page_token=token, page_size=200)
        sizes |= {file.name: file.total_bytes for file in page.files}
        token = page.next_page_token
        if not token:
            return sizes


def fetch(api: Any, slug: str, name: str, folder: str) -> None:
    """Download a data file into the folder, continuing what an interrupted download left there."""
    api.competition_download_file(slug, name, path=folder, quiet=not sys.stderr.isatty())


def get_limits(api: Any, slug: str) -> dict[str, int | bool]:
    """How many submissions are left now and were made today, and whether the limit is not only the day's."""
    limits = api.competition_get_submission_limits(slug)
    return {"left": limits.num_allowed_now, "today": limits.num_today, "for_good": limits.limited_by_total}


def submit(api: Any, slug: str, csv: str, description: str) -> dict[str, Any]:
    """Upload and submit a file. Success is a `ref` above 0, as the package swallows failed uploads."""
    reply = api.competition_submit(csv, description, slug, quiet=not sys.stderr.isatty())
    failed = reply.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE
    return {"ref": reply.ref, "message": reply.message, "upload_failed": failed}


def list_submissions(api: Any, slug: str) -> list[dict[str, Any]]:
    """The fields of `Submission`, but for the slug."""
    return [
        {
            "ref": row.ref,
            "description": row.description or "",
            "status": row.status.name,
            "public_score": float(row.public_score) if row.public_score else None,
            "private_score": float(row.private_score) if row.private_score else None,
            "error": row.error_description or "",
            "date": row.date.isoformat() if row.date else "",
        }
        for row in api.competition_submissions(slug, page_size=100)
    ]


def list_leaderboard(api: Any, slug: str, public: bool) -> list[float]:
    """The score of every team, on the leaderboard of the public scores or on that of the private ones."""
    from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

    request = ApiGetLeaderboardRequest()
    request.competition_name, request.override_public, request.page_size = slug, public, 200
    scores: list[float] = []
    with api.build_kaggle_client() as client:  # the package's own call hides how to get the next page
        while True:
            page = client.competitions.competition_api_client.get_leaderboard(request)
            scores += [float(row.score) for row in page.submissions if row.score]
            if not page.next_page_token:
                return scores
            request.page_token = page.next_page_token


_CALLS: dict[str, Callable[..., Any]] = {
    call.__name__: call for call in (list_files, fetch, get_limits, submit, list_submissions, list_leaderboard)
}


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": _CALLS[request["call"]](_client(), **request["arguments"])}
    except (Exception, SystemExit) as error:
        return {"failure": _describe(error)}


def _client() -> Any:
    """The package's client, logged in.

    Raises:
        SystemExit: there are no credentials.
    """
    import kaggle

    # Importing it has logged in as well, but kept silent about a failure.
    kaggle.api.authenticate()
    return kaggle.api


def _describe(error: BaseException) -> dict[str, Any]:
    """The kind of a failure, its HTTP status if it has one, and what there is to quote."""
    if isinstance(error, SystemExit):
        return _failure("credentials")
    if isinstance(error, ImportError):
        return _failure("installation", str(error))
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _failure("http", _without_secrets(_server_text(error.response)), error.response.status_code)
    if isinstance(error, json.JSONDecodeError):
        return _failure("garbled", "no JSON")
    if isinstance(error, KeyError | TypeError | AttributeError):
        return _failure("garbled", _without_secrets(f"{type(error).__name__}: {error}"))
    if isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError):
        return _failure("connection", _root_cause(error))
    return _failure("other", _without_secrets(f"{type(error).__name__}: {error}"))


def _failure(kind: str, said: str = "", status: int | None = None) -> dict[str, Any]:
    return {"kind": kind, "said": said, "status": status}


def _server_text(response: Any) -> str:
    """The message in an error's body, of the forms `{"message"}` and `{"error": {"message"}}`, or nothing."""
    try:
        body = response.json()
    except ValueError:
        return ""  # a page of HTML says nothing that helps
    inner = body.get("error", body) if isinstance(body, dict) else {}
    message = inner.get("message", "") if isinstance(inner, dict) else inner
    return " ".join(str(message).split())[:300].rstrip(".")


def _root_cause(error: BaseException) -> str:
    """`Connection refused` and the like. The whole text would show addresses that are signed, so as good as keys."""
    cause: BaseException | None = error
    while cause is not None:
        error, cause = cause, cause.__cause__ or cause.__context__
    return _without_secrets(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _without_secrets(text: str) -> str:
    """A server may echo what was sent to it, and exceptions quote addresses."""
    import kaggle
    from kagglesdk import get_access_token_from_env

    config = kaggle.api.config_values
    pair = f"{config.get('username')}:{config.get('key')}"
    secrets = [config.get("key"), config.get("token"), get_access_token_from_env()[0]]
    for secret in filter(None, [*secrets, base64.b64encode(pair.encode()).decode()]):
        text = text.replace(secret, "***")
    return re.sub(r"\?\S+", "?…", text)


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
    with redirect_stdout(io.StringIO()):
        answer = _answer(json.loads(sys.argv[1]))
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
