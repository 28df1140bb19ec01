"""A server on loopback that answers like Kaggle's API, with faults to be planted. For tests only.

The real client reaches it through environment variables alone: its endpoint for development is
`http://localhost`, and the server stands in as the proxy on the way there.
"""

import base64
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

SLUG = "carvana-image-masking-challenge"
USERNAME = "tester"
SECRET = "5ec2e7-0f-tester"

Fault = Callable[["Handler", Any], None]
"""Answers a request in place of the server; takes the handler and the request's body."""


class KaggleServer(ThreadingHTTPServer):
    """The state of an imagined Kaggle; start and stop it with `with`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        """The competition's data files."""
        self.sent_as: dict[str, tuple[str, bytes]] = {}
        """Files that are sent under another name and with other bytes than listed."""
        self.page_size = 100
        """Data files to a page of the list."""
        self.left_today = 5
        self.submissions: list[dict[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        """What goes wrong, by the name of the API's method, or `PUT` or `GET` for the storage."""
        self.looks_until_scored = 1
        """How often the list says PENDING before it says COMPLETE."""
        self.verdict: dict[str, Any] = {"status": "COMPLETE", "publicScore": "0.99612", "privateScore": "0.99587"}
        self.leaderboard: list[str] = ["0.99733", "0.99700", "0.99600"]
        """The teams' private scores, shown two to a page."""
        self.public_leaderboard: list[str] = ["0.99700"]
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self.ranges: list[str] = []
        """The Range headers of downloads."""
        self.silences = 0
        """How often it has left a request without an answer."""
        self.closing = threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        """What makes the real client talk to this server."""
        address = f"http://127.0.0.1:{self.server_port}"
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": address,
            "https_proxy": address,
            "no_proxy": "",
        }

    def __enter__(self) -> "KaggleServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def submit(self, description: str, content: bytes = b"") -> int:
        """Note a submission and give it its number."""
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ref = 1000 + len(self.submissions)
        self.submissions.append({"ref": ref, "description": description, "date": date, "content": content, "looks": 0})
        return ref

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are ended in the middle of a call are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which would delay each answer by 40 ms
    server: KaggleServer

    def do_POST(self) -> None:
        method = urlsplit(self.path).path.rpartition("/")[2]
        body = json.loads(self._body())
        self.server.calls[method] += 1
        if method in self.server.faults:
            self.server.faults[method](self, body)
        elif method != "IntrospectToken" and not self._authorised():
            self.reply_json({"code": 401, "message": "Unauthenticated"}, 401)
        elif body.get("competitionName", SLUG) != SLUG:
            self.reply_json({"error": {"code": 404, "message": "Competition not found"}}, 404)
        else:
            self.answer(method, body)

    def do_PUT(self) -> None:
        self.server.calls["PUT"] += 1
        content = self._body()
        if "PUT" in self.server.faults:
            self.server.faults["PUT"](self, content)
            return
        self.store(content)

    def do_GET(self) -> None:
        """The storage that downloads are redirected to."""
        self.server.calls["GET"] += 1
        if "GET" in self.server.faults:
            self.server.faults["GET"](self, None)
        else:
            self.send_stored()

    def answer(self, method: str, body: dict[str, Any]) -> None:
        """Answer as Kaggle does when all is well."""
        if method == "DownloadDataFile":
            name, _ = self.server.sent_as.get(body["fileName"], (body["fileName"], b""))
            self.reply(b"", 302, {"Location": f"http://localhost/storage/{body['fileName']}/{name}?signature=abc"})
        else:
            self.reply_json(self.result_of(method, body))

    def result_of(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """What Kaggle would do and answer."""
        match method:
            case "IntrospectToken":
                return {"active": True, "username": USERNAME} if body["token"] == SECRET else {}
            case "ListDataFiles":
                return self._page_of_files(int(body.get("pageToken") or 0))
            case "GetSubmissionLimits":
                made = len(self.server.submissions)
                return {"numToday": made, "numTotal": made, "numAllowedNow": self.server.left_today}
            case "StartSubmissionUpload":
                token = f"blob-{self.server.calls[method]}"
                return {"token": token, "createUrl": f"http://localhost/upload/{token}?signature=abc"}
            case "CreateSubmission":
                return {"message": "Successfully submitted", "ref": self.submit(body)}
            case "GetLeaderboard":
                scores = self.server.public_leaderboard if body.get("overridePublic") else self.server.leaderboard
                start = int(body.get("pageToken") or 0)
                rows = [{"teamId": start + at, "score": score} for at, score in enumerate(scores[start : start + 2])]
                return {"submissions": rows, "nextPageToken": str(start + 2) if start + 2 < len(scores) else ""}
            case "ListSubmissions":
                return self._page_of_submissions(int(body.get("pageToken") or 0), body.get("pageSize", 20))
        raise NotImplementedError(method)

    def submit(self, body: dict[str, Any]) -> int:
        """Do what CreateSubmission asks for."""
        return self.server.submit(body["submissionDescription"], self.server.uploads[body["blobFileTokens"]])

    def store(self, content: bytes) -> None:
        """Keep what was uploaded."""
        self.server.uploads[urlsplit(self.path).path.rpartition("/")[2]] = content
        self.reply(b"")

    def send_stored(self, stop_after: int | None = None) -> None:
        """Send a data file, from where the Range header says; fall silent after `stop_after` bytes."""
        listed = urlsplit(self.path).path.split("/")[-2]
        _, content = self.server.sent_as.get(listed, (listed, self.server.files[listed]))
        start = 0
        if "Range" in self.headers:
            self.server.ranges.append(self.headers["Range"])
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": '"one"', "Accept-Ranges": "bytes", "Last-Modified": "Mon, 24 Jul 2017 12:00:00 GMT"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.reply(content[start:], 206 if start else 200, headers, stop_after)

    def reply(
        self, content: bytes, status: int = 200, headers: dict[str, str] | None = None, stop_after: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:stop_after])
        if stop_after is not None:
            self.be_silent()

    def reply_json(self, value: Any, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def hang_up(self) -> None:
        """End the connection without an answer."""
        self.close_connection = True

    def be_silent(self) -> None:
        """Answer nothing, or nothing more, while the server runs."""
        self.server.silences += 1
        self.server.closing.wait()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _authorised(self) -> bool:
        pair = base64.b64encode(f"{USERNAME}:{SECRET}".encode()).decode()
        return self.headers["Authorization"] in (f"Basic {pair}", f"Bearer {SECRET}")

    def _page_of_files(self, start: int) -> dict[str, Any]:
        names, end = sorted(self.server.files), start + self.server.page_size
        page = [{"name": name, "totalBytes": len(self.server.files[name])} for name in names[start:end]]
        return {"files": page, "nextPageToken": str(end) if end < len(names) else ""}

    def _page_of_submissions(self, start: int, size: int) -> dict[str, Any]:
        newest_first, end = self.server.submissions[::-1], start + size
        page = [self._row(submission) for submission in newest_first[start:end]]
        return {"submissions": page, "nextPageToken": str(end) if end < len(newest_first) else ""}

    def _row(self, submission: dict[str, Any]) -> dict[str, Any]:
        submission["looks"] += 1
        row = {key: submission[key] for key in ("ref", "description", "date")}
        if submission["looks"] > self.server.looks_until_scored:
            submission.setdefault("verdict", self.server.verdict)
        return row | submission.get("verdict", {"status": "PENDING"})


def refuse(status: int, body: Any) -> Fault:
    """Answer with this status and body: JSON, or a page of HTML if it is a string."""

    def fault(handler: Handler, request: Any) -> None:
        if isinstance(body, str):
            handler.reply(body.encode(), status, {"Content-Type": "text/html"})
        else:
            handler.reply_json(body, status)

    return fault


def echo_credentials(handler: Handler, request: Any) -> None:
    """Refuse with a message that quotes the request's own credentials."""
    kind, _, pair = handler.headers["Authorization"].partition(" ")
    decoded = base64.b64decode(pair).decode() if kind == "Basic" else pair
    handler.reply_json({"code": 400, "message": f"cannot parse {pair} alias {decoded}"}, 400)


def say_nothing(handler: Handler, request: Any) -> None:
    """Take the request and never answer."""
    handler.be_silent()


def hang_up(handler: Handler, request: Any) -> None:
    """Close the connection instead of answering."""
    handler.hang_up()


def reset(handler: Handler, request: Any) -> None:
    """Reset the connection instead of answering: what was not read yet is thrown away."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.hang_up()


def once(fault: Fault) -> Fault:
    """Only the first time; after that the server answers as always."""

    def first_time(handler: Handler, request: Any) -> None:
        method = handler.path.rpartition("/")[2] if handler.command == "POST" else handler.command
        del handler.server.faults[method]
        fault(handler, request)

    return first_time


def reset_halfway(handler: Handler, request: Any) -> None:
    """Reset the connection in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"half": ')
    reset(handler, request)


def and_then_fail(other: str, fault: Fault) -> Fault:
    """Answer as always, and plant a fault for another method."""

    def planting(handler: Handler, request: Any) -> None:
        handler.server.faults[other] = fault
        handler.answer(urlsplit(handler.path).path.rpartition("/")[2], request)

    return planting


def submit_and(then: Fault) -> Fault:
    """Make the submission, but answer in another way."""

    def fault(handler: Handler, request: Any) -> None:
        handler.submit(request)
        then(handler, request)

    return fault


def after(seconds: float) -> Fault:
    """Answer as always, but only after a while."""

    def late(handler: Handler, request: Any) -> None:
        time.sleep(seconds)
        method = urlsplit(handler.path).path.rpartition("/")[2]
        if handler.command == "PUT":
            handler.store(request)
        else:
            handler.answer(method, request)

    return late


def stall_after(size: int) -> Fault:
    """Send this many bytes of a download, then nothing more."""

    def fault(handler: Handler, request: Any) -> None:
        handler.send_stored(stop_after=size)

    return fault


def pausing(size: int, seconds: float) -> Fault:
    """Send a download in pieces of this many bytes, with a pause after each."""

    def fault(handler: Handler, request: Any) -> None:
        content = handler.server.files[urlsplit(handler.path).path.split("/")[-2]]
        handler.reply(b"", headers={"Content-Length": str(len(content))})
        for start in range(0, len(content), size):
            handler.wfile.write(content[start : start + size])
            time.sleep(seconds)

    return fault
