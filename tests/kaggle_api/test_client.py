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
from virtual_time import STARVED_SECONDS, VirtualTime

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
    message = str(failure())
    assert "KAGGLE_API_TOKEN or in .kaggle/access_token is used before kaggle.json" in message
    assert "The credentials, from the variable KAGGLE_API_TOKEN, are wrong" in message


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


@pytest.mark.parametrize("cut", ["after it", "within it"])
def test_credentials_are_struck_out_before_a_long_message_is_cut(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """A message of 300 characters is quoted: the key begins 8 characters before its end."""
    filling = "x" * (292 if cut == "within it" else 200)
    server.faults["GetSubmissionLimits"] = refuse(400, {"code": 400, "message": f"{filling} {SECRET}"})
    message = str(failure())
    assert SECRET[:6] not in message
    assert "xxx ***" in message


@pytest.mark.parametrize("said", ["Bearer abc.xyz", "Basic abc.xyz", "KGAT_abc.xyz"])
def test_what_has_the_form_of_credentials_is_struck_out_whosever_it_is(server: KaggleServer, said: str) -> None:
    server.faults["GetSubmissionLimits"] = refuse(400, {"code": 400, "message": f"cannot parse {said}"})
    message = str(failure())
    assert "cannot parse ***" in message
    assert "xyz" not in message


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\nx"])
def test_a_token_with_a_line_break_is_named_but_not_shown(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET + end)
    assert str(failure()).startswith("the variable KAGGLE_API_TOKEN: the token ")
    assert not server.calls


@pytest.mark.parametrize("what", ["a token of two lines", "a folder", "a number as key", "a bare token", "a list"])
def test_a_file_with_unusable_credentials_is_named_and_nothing_else_is_said(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir()
    file = folder / ("kaggle.json" if what in ("a number as key", "a bare token", "a list") else "access_token")
    contents = {
        "a token of two lines": f"{SECRET}\n{SECRET}",
        "a number as key": '{"username": "tester", "key": 1234567}',
        "a bare token": SECRET,
        "a list": f'["{SECRET}"]',
    }
    file.mkdir() if what == "a folder" else file.write_text(contents[what])
    assert str(failure()).startswith(f"{file}: ")
    assert capfd.readouterr() == ("", "")
    assert not server.calls


@pytest.mark.parametrize("kind", ["KAGGLE_KEY", "KAGGLE_API_TOKEN"])
def test_a_home_folder_in_which_nothing_can_be_made_is_no_reason_to_fail(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setenv(kind, SECRET)
    monkeypatch.setenv("HOME", str(tmp_path / "no folder" / "home"))
    (tmp_path / "no folder").touch()
    assert limits() == LEFT


def test_a_token_that_kaggle_does_not_know_is_named_by_its_source(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "stale")
    assert str(failure()).startswith("Kaggle does not know the token in the variable KAGGLE_API_TOKEN")


@pytest.mark.parametrize("proxy", ["http://", "http://127.0.0.1:port"])
def test_an_address_of_a_proxy_that_cannot_be_used_is_no_failure_of_kaggle(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    found = failure()
    assert "is http_proxy and https_proxy right?" in str(found)
    assert "maintenance" not in str(found)
    assert not isinstance(found, TransientError)


def test_a_file_of_this_machine_that_is_missing_is_named_and_not_asked_for_again(
    server: KaggleServer, tmp_path: Path
) -> None:
    with pytest.raises(LeaderboardError) as caught:
        ask("submit", "take it", SLUG, PLENTY, csv=str(tmp_path / "gone.csv"), description="mine")
    assert str(caught.value).endswith(f"asked to take it: {tmp_path / 'gone.csv'}: No such file or directory")
    assert not isinstance(caught.value, TransientError)


def child_that(script: str) -> tuple[str, ...]:
    """A command that stands in for that of the child process."""
    return (sys.executable, "-I", "-S", "-c", script)


def test_the_time_of_a_call_begins_when_the_child_is_ready(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Progress is first looked at when the time begins."""
    ready = tmp_path / "ready"
    start = f"import time; time.sleep(0.2); open({str(ready)!r}, 'w').close()"
    monkeypatch.setattr(client, "COMMAND", child_that(f"{start}; print('\\n{{\"value\": 7}}')"))
    looks = []
    assert ask("get_limits", "wait", SLUG, PLENTY, progress=lambda: looks.append(ready.exists()) or 0) == 7
    assert looks == [True]


def test_the_start_of_the_child_takes_nothing_of_the_time_limit(server: KaggleServer, starved: VirtualTime) -> None:
    deadline = Deadline.after(PLENTY)
    for _ in range(2):
        assert limits(seconds=deadline.left) == LEFT
    assert starved.skipped == 2 * STARVED_SECONDS


def test_a_child_that_never_starts_is_given_up(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "COMMAND", child_that("import time; time.sleep(60)"))
    monkeypatch.setattr(client, "START_SECONDS", 0.1)
    message = str(failure())
    assert "did not start" in message
    assert "Kaggle was not asked" in message


def test_a_child_that_is_ended_at_its_start_has_asked_nothing(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "COMMAND", child_that("pass"))
    found = failure()
    assert isinstance(found, TransientError)
    assert not isinstance(found, NoAnswerError)


def test_no_time_is_no_question(server: KaggleServer) -> None:
    with pytest.raises(TransientError, match="the time limit ended before Kaggle was asked to say how many"):
        limits(seconds=0)
    assert not server.calls


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (403, "You must verify your phone number to participate", "it needs a phone number"),
        (
            400,
            "Submission not allowed: This competition only accepts Submissions from Notebooks",
            "submit the notebook",
        ),
        (400, "Submission not allowed: The deadline for this competition has passed", "takes no submissions any more"),
        (403, "The competition is closed", "takes no submissions any more"),
        (400, "Your team has used its daily Submission allowance (5) today", "the day begins at 00:00 UTC"),
        (403, "You cannot submit until you accept the competition rules", "/rules"),
        (403, "Permission 'competitions.participate' was denied", "make sure that the competition is still open"),
    ],
)
def test_each_refusal_has_its_own_advice(server: KaggleServer, status: int, said: str, advice: str) -> None:
    server.faults["GetSubmissionLimits"] = refuse(status, {"code": status, "message": said})
    message = str(failure())
    assert said in message
    assert advice in message.rpartition(said)[2]


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


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, "If it is the daily limit: the day begins at 00:00 UTC"),
        (401, "make new ones at https://www.kaggle.com/settings"),
        (403, f"https://www.kaggle.com/c/{SLUG}/rules"),
        (404, f"Is the name right? https://www.kaggle.com/c/{SLUG} must open"),
        (418, f"The competition's page: https://www.kaggle.com/c/{SLUG}"),
        (429, "too many requests: wait a few minutes"),
        (500, "Try again in a few minutes"),
    ],
)
def test_a_refusal_without_a_word_has_the_advice_of_its_status(server: KaggleServer, status: int, advice: str) -> None:
    server.faults["GetSubmissionLimits"] = refuse(status, {"code": status, "message": ""})
    found = str(failure())
    assert f"HTTP {status}" in found
    assert advice in found
