"""One call of the real `kaggle` package to a server on loopback: its time limit, and what its failure means."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kaggle_server import (
    SECRET,
    SLUG,
    Fault,
    KaggleServer,
    echo_credentials,
    hang_up,
    refuse,
    reset_halfway,
    say_nothing,
)
from virtual_time import VirtualTime

from kaggle_tools.errors import LeaderboardError
from kaggle_tools.kaggle_api import client
from kaggle_tools.kaggle_api.client import Deadline, NoAnswerError, TransientError, ask

IN_USE = client.COMMAND
"""What starts the child process outside of tests, which replace it by one that starts sooner."""
PLENTY = 60.0
"""Seconds that a call never needs, even on a busy machine."""
LEFT = {"left": 5, "today": 0, "for_good": False}
"""What `get_limits` answers as long as all is well."""


def limits(slug: str = SLUG, seconds: float = PLENTY) -> object:
    return ask("get_limits", "say how many submissions are left", slug, seconds)


def failure(slug: str = SLUG) -> LeaderboardError:
    """The error with which a call ends, without the credentials."""
    with pytest.raises(LeaderboardError) as caught:
        limits(slug)
    assert SECRET not in str(caught.value)
    assert "signature" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_call_returns_what_kaggle_answers(server: KaggleServer) -> None:
    assert limits() == LEFT
    assert server.calls["GetSubmissionLimits"] == 1


def test_a_new_interpreter_makes_the_call_as_in_use(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "COMMAND", IN_USE)
    assert limits() == LEFT


def test_a_file_of_the_working_folder_never_takes_the_place_of_a_library_in_a_call(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the library')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "COMMAND", IN_USE)
    assert limits() == LEFT


def test_a_token_serves_as_well_as_a_key_for_a_call(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    assert limits() == LEFT


def test_without_credentials_the_message_says_how_to_get_them(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    message = str(failure())
    assert "https://www.kaggle.com/settings" in message
    assert "kaggle.json" in message
    assert "KAGGLE_API_TOKEN" in message
    assert not server.calls


def test_a_wrong_key_is_named_as_such(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", f"{SECRET}-old")
    message = str(failure())
    assert "HTTP 401" in message
    assert "make new ones at https://www.kaggle.com/settings" in message


def test_a_stale_token_that_hides_a_good_key_is_pointed_out(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "stale")
    assert "KAGGLE_API_TOKEN or in .kaggle/access_token is used before kaggle.json" in str(failure())


def test_rules_that_were_not_accepted_are_named_with_their_page(server: KaggleServer) -> None:
    said = "You must accept this competition's rules before you'll be able to submit."
    server.faults["GetSubmissionLimits"] = refuse(403, {"error": {"code": 403, "message": said}})
    message = str(failure())
    assert "You must accept this competition's rules" in message
    assert f"https://www.kaggle.com/c/{SLUG}/rules" in message


def test_a_competition_that_kaggle_does_not_know_is_named(server: KaggleServer) -> None:
    message = str(failure(slug="carvanna"))
    assert "HTTP 404" in message
    assert "Competition not found" in message
    assert "https://www.kaggle.com/c/carvanna must open" in message


@pytest.mark.parametrize(("status", "may_pass"), [(400, False), (404, False), (408, True), (429, True), (503, True)])
def test_refusals_are_final_and_failures_of_the_server_may_pass(
    server: KaggleServer, status: int, may_pass: bool
) -> None:
    server.faults["GetSubmissionLimits"] = refuse(status, {"code": status, "message": "no"})
    found = failure()
    assert f"(HTTP {status})" in str(found)
    assert isinstance(found, TransientError) == may_pass


@pytest.mark.parametrize("status", [200, 500])
def test_a_page_instead_of_an_answer_is_recognised(server: KaggleServer, status: int) -> None:
    server.faults["GetSubmissionLimits"] = refuse(status, "<html>We are down for maintenance</html>")
    message = str(failure())
    assert "try again in a few minutes" in message.lower()
    assert "<html>" not in message


@pytest.mark.parametrize("fault", [hang_up, reset_halfway])
def test_a_connection_that_breaks_off_is_named_as_such(server: KaggleServer, fault: Fault) -> None:
    server.faults["GetSubmissionLimits"] = fault
    message = str(failure())
    assert "the connection to Kaggle failed when it was asked to say how many submissions are left" in message
    assert "connected to the internet?" in message


def test_a_call_without_an_answer_is_ended_when_its_time_is_up(server: KaggleServer) -> None:
    server.faults["GetSubmissionLimits"] = say_nothing
    started = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"no answer within 1 seconds when asked to say how many"):
        limits(seconds=1)
    assert 1 <= time.monotonic() - started < PLENTY


def test_a_server_that_is_not_there_is_named_as_such(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    message = str(failure())
    assert "Connection refused" in message
    assert "Is this machine connected to the internet?" in message


@pytest.mark.parametrize("kind", ["KAGGLE_KEY", "KAGGLE_API_TOKEN"])
def test_credentials_that_the_server_echoes_are_struck_out(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(kind, SECRET)
    monkeypatch.setenv("VERBOSE", "1")
    server.faults["GetSubmissionLimits"] = echo_credentials
    assert "cannot parse ***" in str(failure())


def failing(times: int) -> Callable[[], int]:
    """An attempt that fails so many times, and then returns how often it was made."""
    made = []

    def attempt() -> int:
        made.append(1)
        if len(made) <= times:
            raise TransientError("busy.")
        return len(made)

    return attempt


def test_an_attempt_that_fails_is_made_again_after_growing_pauses(
    server: KaggleServer, virtual_time: VirtualTime
) -> None:
    assert client.retried(failing(times=3), Deadline.after(PLENTY)) == 4
    assert virtual_time.pauses == [2, 8, 30]


def test_an_attempt_that_fails_once_more_than_there_are_pauses_is_given_up(
    server: KaggleServer, virtual_time: VirtualTime
) -> None:
    with pytest.raises(TransientError, match="busy"):
        client.retried(failing(times=4), Deadline.after(PLENTY))


def test_no_pause_before_another_attempt_reaches_beyond_the_deadline(
    server: KaggleServer, virtual_time: VirtualTime
) -> None:
    with pytest.raises(TransientError, match="busy"):
        client.retried(failing(times=3), Deadline.after(30))
    assert virtual_time.pauses == [2, 8]


def test_neither_kaggle_nor_torch_is_imported_by_the_client() -> None:
    check = (
        "import sys\n"
        "from kaggle_tools.kaggle_api import download, submit_once\n"
        "print({'kaggle', 'requests', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
