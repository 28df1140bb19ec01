"""Submissions through the real `kaggle` package to a server on loopback."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kaggle_server import SECRET, SLUG, Fault, KaggleServer, hang_up, once, refuse, say_nothing, submit_and
from virtual_time import VirtualTime

from kaggle_tools.errors import InputError, LeaderboardError
from kaggle_tools.kaggle_api import client, submissions
from kaggle_tools.kaggle_api.submissions import Submission

ID = "cafe00112233"
PLENTY = 60.0
"""Seconds that all of it never needs, even on a busy machine."""

pytestmark = pytest.mark.usefixtures("virtual_time")


@pytest.fixture(autouse=True)
def one_more_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more try, and two looks at the list."""
    monkeypatch.setattr(client, "RETRY_PAUSES", (2,))
    monkeypatch.setattr(submissions, "SETTLING_PAUSES", (1, 3))


def always() -> bool:
    """Nobody changes the file."""
    return True


def made_already(server: KaggleServer) -> Submission:
    """A submission that the server knows from before."""
    description = "[0123456789ab] a test"
    return Submission(SLUG, server.submit(description), description)


def failure_of(server: KaggleServer, csv: Path, slug: str = SLUG, timeout: float = PLENTY) -> LeaderboardError:
    """The error that `submit` ends with, in time and without the credentials."""
    started = client.CLOCK.now()
    with pytest.raises(LeaderboardError) as caught:
        submissions.submit(csv, slug, "a test", unique_id=ID, is_unchanged=always, timeout=timeout)
    assert client.CLOCK.now() - started < timeout + 3
    assert SECRET not in str(caught.value)
    assert "signature" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_submission_is_uploaded_and_scored(server: KaggleServer, csv: Path, virtual_time: VirtualTime) -> None:
    made = submissions.submit(csv, SLUG, "5 folds, hflip", unique_id=ID, is_unchanged=always, timeout=PLENTY)
    scored = submissions.wait_for_score(made, timeout=PLENTY)
    assert [submission["content"] for submission in server.submissions] == [csv.read_bytes()]
    assert server.submissions[0]["description"] == f"[{ID}] 5 folds, hflip"
    assert not made.finished
    assert (scored.ref, scored.status) == (made.ref, "COMPLETE")
    assert (scored.public_score, scored.private_score) == (0.99612, 0.99587)
    assert server.calls["ListSubmissions"] == 2
    assert virtual_time.pauses == [1, 2]


def test_a_token_serves_as_well_as_a_key_to_submit(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    assert submissions.submit(csv, SLUG, "by token", timeout=PLENTY, unique_id="feed", is_unchanged=always).ref == 1000
    assert server.submissions[0]["description"] == "[feed] by token"


def test_kaggles_reason_for_rejecting_a_file_is_returned(server: KaggleServer) -> None:
    server.looks_until_scored = 0
    server.verdict = {"status": "ERROR", "errorDescription": "ERROR: Unable to find 7 required key values"}
    judged = submissions.wait_for_score(made_already(server), timeout=PLENTY)
    assert (judged.status, judged.public_score) == ("ERROR", None)
    assert judged.error == "ERROR: Unable to find 7 required key values"


def test_waiting_ends_at_the_deadline_with_the_submission_unfinished(
    server: KaggleServer, virtual_time: VirtualTime
) -> None:
    server.looks_until_scored = 100
    made = made_already(server)
    waited = submissions.wait_for_score(made, timeout=50)
    assert virtual_time.pauses == [1, 2, 4, 8, 16]  # another one, of 32 seconds, would end after the deadline
    assert (waited.ref, waited.finished) == (made.ref, False)


def test_waiting_outlives_a_look_that_fails(server: KaggleServer, virtual_time: VirtualTime) -> None:
    server.looks_until_scored = 0
    server.faults["ListSubmissions"] = once(refuse(503, "<html>busy</html>"))
    assert submissions.wait_for_score(made_already(server), timeout=PLENTY).public_score == 0.99612
    assert virtual_time.pauses == [1, 2]


@pytest.mark.parametrize(
    ("public", "private", "place"),
    [
        (0.9971, 0.998, (1, 4)),
        (0.9971, 0.99700, (2, 4)),
        (0.9971, None, (1, 2)),
        (0.9, None, (2, 2)),
        (None, None, None),
    ],
)
def test_the_rank_is_that_on_the_leaderboard_of_the_last_score_that_is_known(
    server: KaggleServer, public: float | None, private: float | None, place: tuple[int, int] | None
) -> None:
    scored = Submission(SLUG, 1, "", "COMPLETE", public, private)
    assert submissions.rank(scored) == place


@pytest.mark.parametrize("fault", [refuse(403, {"code": 403, "message": "no"}), hang_up, refuse(200, {})])
def test_a_leaderboard_that_is_not_shown_is_no_failure(server: KaggleServer, fault: Fault) -> None:
    server.faults["GetLeaderboard"] = fault
    assert submissions.rank(Submission(SLUG, 1, "", "COMPLETE", 0.99, None)) is None


@pytest.mark.parametrize(
    ("description", "unique_id", "message"),
    [
        ("[cafe-2] my [best] one", "cafe-2", "my [best] one"),
        ("by hand", "", "by hand"),
        ("[a]b", "", "[a]b"),
        ("[cafe]", "cafe", ""),
        ("[cafe]\nmy\nown", "cafe", "my\nown"),
    ],
)
def test_the_id_of_a_submission_stands_in_brackets_before_its_message(
    description: str, unique_id: str, message: str
) -> None:
    submission = Submission(SLUG, 1, description)
    assert (submission.unique_id, submission.message) == (unique_id, message)


def test_a_used_up_day_is_refused_before_the_upload(server: KaggleServer, csv: Path) -> None:
    made_already(server)
    server.left_today = 0
    assert "00:00 UTC" in str(failure_of(server, csv))
    assert server.calls["StartSubmissionUpload"] == 0


def test_an_account_without_a_team_may_make_its_first_submission(server: KaggleServer, csv: Path) -> None:
    server.left_today = 0  # what Kaggle says of an account that has no team yet
    assert submissions.submit(csv, SLUG, "the first", unique_id=ID, is_unchanged=always, timeout=PLENTY).ref


def test_a_daily_limit_found_only_after_the_upload_is_quoted(server: KaggleServer, csv: Path) -> None:
    said = "Submission not allowed:  Your team has used its daily Submission allowance (5) today"
    server.faults["CreateSubmission"] = refuse(400, {"error": {"code": 400, "message": said}})
    message = str(failure_of(server, csv))
    assert "daily Submission allowance (5)" in message
    assert server.calls["CreateSubmission"] == 1


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_upload_that_the_client_swallows_is_a_failure(server: KaggleServer, csv: Path, status: int) -> None:
    server.faults["PUT"] = refuse(status, "<html>no</html>")
    failure = failure_of(server, csv)
    assert "the upload of submission.csv failed" in str(failure)
    assert not isinstance(failure, client.NoAnswerError)
    assert server.calls["CreateSubmission"] == 0


def test_an_empty_confirmation_is_no_submission(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = refuse(200, {})
    failure = failure_of(server, csv)
    assert isinstance(failure, client.NoAnswerError)
    assert "confirmed no submission" in str(failure)
    assert "Kaggle's list does not show the submission" in str(failure)
    assert (server.calls["CreateSubmission"], server.calls["ListSubmissions"]) == (2, 4)


@pytest.mark.parametrize("call", ["GetSubmissionLimits", "StartSubmissionUpload", "PUT", "CreateSubmission"])
def test_a_call_that_fails_once_is_made_again(server: KaggleServer, csv: Path, call: str) -> None:
    server.faults[call] = once(refuse(503, "<html>busy</html>"))
    assert submissions.submit(csv, SLUG, "a test", unique_id=ID, is_unchanged=always, timeout=PLENTY).ref == 1000
    assert (server.calls[call], len(server.submissions)) == (2, 1)


def test_a_submission_that_the_list_shows_late_is_not_made_twice(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = submit_and(hang_up)
    server.faults["ListSubmissions"] = once(refuse(200, {"submissions": []}))
    assert submissions.submit(csv, SLUG, "a test", unique_id=ID, is_unchanged=always, timeout=PLENTY).ref == 1000
    assert (len(server.submissions), server.calls["ListSubmissions"]) == (1, 2)


@pytest.mark.parametrize("deaf", [refuse(503, ""), refuse(403, {"code": 403, "message": "no"}), say_nothing])
def test_nothing_is_submitted_anew_where_the_list_cannot_be_asked(server: KaggleServer, csv: Path, deaf: Fault) -> None:
    server.faults["CreateSubmission"] = submit_and(hang_up)
    server.faults["ListSubmissions"] = deaf
    failure = failure_of(server, csv)
    assert isinstance(failure, client.UnknownOutcomeError)
    assert f"looks first for {ID}" in str(failure)
    assert (len(server.submissions), server.calls["CreateSubmission"]) == (1, 1)


def test_the_pauses_between_attempts_grow_and_end_with_the_deadline(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualTime
) -> None:
    monkeypatch.setattr(client, "RETRY_PAUSES", (1, 2, 20, 30))
    server.faults["GetSubmissionLimits"] = refuse(503, "busy")
    assert "Nothing was uploaded" in str(failure_of(server, csv, timeout=15))
    assert virtual_time.pauses == [1, 2]


@pytest.mark.parametrize("lost", [hang_up, refuse(200, {})], ids=["hang up", "{}"])
def test_a_submission_whose_confirmation_was_lost_is_found(server: KaggleServer, csv: Path, lost: Fault) -> None:
    server.faults["CreateSubmission"] = submit_and(lost)
    made = submissions.submit(csv, SLUG, "found again", unique_id=ID, is_unchanged=always, timeout=PLENTY)
    assert (made.ref, made.description) == (1000, server.submissions[0]["description"])
    assert len(server.submissions) == 1


def test_a_submission_is_found_although_its_confirmation_never_ends(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = submit_and(say_nothing)
    started = client.CLOCK.now()
    made = submissions.submit(csv, SLUG, "silence", unique_id=ID, is_unchanged=always, timeout=PLENTY)
    assert PLENTY / 2 < client.CLOCK.now() - started < PLENTY
    assert made.ref == 1000
    assert len(server.submissions) == 1


def test_another_submission_is_not_taken_for_the_lost_one(server: KaggleServer, csv: Path) -> None:
    made_already(server)
    server.faults["CreateSubmission"] = hang_up
    failure = failure_of(server, csv)
    assert "list does not show the submission" in str(failure)
    assert len(server.submissions) == 1


@pytest.mark.parametrize("status", [200, 500])
def test_a_page_instead_of_an_answer_ends_before_the_upload(server: KaggleServer, csv: Path, status: int) -> None:
    server.faults["GetSubmissionLimits"] = refuse(status, "<html>We are down for maintenance</html>")
    message = str(failure_of(server, csv))
    assert "try again in a few minutes" in message.lower()
    assert "<html>" not in message
    assert "Nothing was uploaded" in message


def test_rules_that_were_not_accepted_are_named_before_the_upload(server: KaggleServer, csv: Path) -> None:
    said = "You must accept this competition's rules before you'll be able to submit."
    server.faults["GetSubmissionLimits"] = refuse(403, {"error": {"code": 403, "message": said}})
    message = str(failure_of(server, csv))
    assert "You must accept this competition's rules" in message
    assert f"https://www.kaggle.com/c/{SLUG}/rules" in message
    assert server.calls["StartSubmissionUpload"] == 0


def test_silence_before_the_upload_ends_at_the_deadline(server: KaggleServer, csv: Path) -> None:
    server.faults["GetSubmissionLimits"] = say_nothing
    message = str(failure_of(server, csv, timeout=20))
    assert "no answer within 20 seconds" in message
    assert "Nothing was uploaded" in message
    assert server.calls["StartSubmissionUpload"] == 0


def test_silence_of_the_storage_ends_at_the_deadline(server: KaggleServer, csv: Path) -> None:
    server.faults["PUT"] = say_nothing
    assert "no answer within" in str(failure_of(server, csv))
    assert not server.submissions


def test_an_empty_csv_is_not_sent_to_kaggle(server: KaggleServer, csv: Path) -> None:
    csv.write_bytes(b"")
    assert "the file is empty" in str(failure_of(server, csv))
    assert not server.calls


def row(**odd: Any) -> dict[str, Any]:
    """A row of Kaggle's list with these fields besides, or instead; without those that are None."""
    usual = {"ref": 7, "description": "[cafe] mine", "date": "2026-11-27T08:00:00.123Z", "status": "COMPLETE"}
    return {name: value for name, value in (usual | {"publicScore": "0.9"} | odd).items() if value is not None}


SOUND = Submission(SLUG, 7, "[cafe] mine", "COMPLETE", 0.9, date="2026-11-27T08:00:00.123Z")


@pytest.mark.parametrize(
    ("odd", "read"),
    [
        ({}, {}),
        ({"ref": "7"}, {}),
        ({"status": "complete"}, {}),
        ({"status": "SUBMISSION_STATUS_COMPLETE"}, {}),
        ({"publicScore": 0.9}, {}),
        ({"privateScore": ""}, {}),
        ({"status": None}, {"status": "PENDING"}),
        ({"status": "ESCALATED"}, {"status": "PENDING", "odd": "status 'ESCALATED'"}),
        ({"status": 5}, {"status": "PENDING", "odd": "status 5"}),
        ({"publicScore": "None"}, {"public_score": None, "odd": "publicScore 'None'"}),
        ({"publicScore": "NaN"}, {"public_score": None, "odd": "publicScore 'NaN'"}),
        ({"publicScore": [1]}, {"public_score": None, "odd": "publicScore [1]"}),
        ({"privateScore": "-inf"}, {"odd": "privateScore '-inf'"}),
        ({"privateScore": True}, {"odd": "privateScore True"}),
        ({"description": None}, {"description": ""}),
        ({"description": 5}, {"description": "", "odd": "description 5"}),
        ({"date": None}, {"date": ""}),
        ({"date": {}}, {"date": "", "odd": "date {}"}),
        ({"date": "soon"}, {"date": "soon"}),
        ({"errorDescription": "a" * 500, "totalBytes": "many", "teamName": 5}, {"error": "a" * 500}),
    ],
    ids=str,
)
def test_rows_of_kaggles_list_are_read_one_by_one_and_what_is_odd_is_said(
    server: KaggleServer, odd: dict[str, Any], read: dict[str, Any]
) -> None:
    server.faults["ListSubmissions"] = refuse(200, {"submissions": [row(**odd), row(ref=8)]})
    found = submissions.latest(SLUG)
    assert found == ([replace(SOUND, **read), replace(SOUND, ref=8)], False, 0)


@pytest.mark.parametrize("name", ["status", "publicScore", "description"])
@pytest.mark.parametrize("before", ["", " " * 25])
def test_no_part_of_a_secret_is_shown_where_the_list_quotes_it(
    server: KaggleServer, monkeypatch: pytest.MonkeyPatch, name: str, before: str
) -> None:
    key = "5ec2e7" * 10
    monkeypatch.setenv("KAGGLE_USERNAME", "tester")
    monkeypatch.setenv("KAGGLE_KEY", key)
    server.faults["ListSubmissions"] = refuse(200, {"submissions": [row(**{name: [f"{before}{key}"]})]})
    [found] = submissions.latest(SLUG).submissions
    assert found.odd == f"{name} ['{before}***']"


def test_rows_that_are_about_no_submission_are_counted(server: KaggleServer) -> None:
    rows = [row(ref=None), row(ref="x"), row(ref=1.5), row(ref=True), row(ref="7" * 5000), "row", None, [], row()]
    server.faults["ListSubmissions"] = refuse(200, {"submissions": rows})
    found = submissions.latest(SLUG)
    assert found == ([SOUND], False, 8)
    assert found.warnings() == ["8 rows of Kaggle's list are left out, as unreadable"]


@pytest.mark.parametrize("answer", [{"submissions": 5}, {"submissions": {"ref": 7}}, [], "none", 7])
def test_a_list_that_is_none_is_not_believed(server: KaggleServer, answer: Any) -> None:
    server.faults["ListSubmissions"] = lambda handler, _: handler.reply_json(answer)
    with pytest.raises(client.NoAnswerError, match="cannot read"):
        submissions.latest(SLUG)


def test_an_old_submission_is_found_on_a_later_page_of_the_list(server: KaggleServer) -> None:
    made_already(server)
    for number in range(250):
        server.submit(f"[cafe{number}] newer")
    found = submissions.find(SLUG, "0123456789ab".__eq__, timeout=PLENTY)
    assert ([submission.ref for submission in found.submissions], found.more) == ([1000], False)
    assert server.calls["ListSubmissions"] == 3


def test_the_list_is_followed_to_a_bound_and_it_is_said_when_it_is_reached(server: KaggleServer) -> None:
    for number in range(submissions.MOST + 1):
        server.submit(f"[cafe{number}] many")
    found = submissions.latest(SLUG)
    assert (found.submissions[0].ref, found.submissions[-1].ref, len(found.submissions)) == (2000, 1001, 1000)
    assert found.warnings() == ["only the last 1,000 submissions were asked for: Kaggle lists more"]
    server.submissions.pop()
    assert submissions.latest(SLUG).warnings() == []


def test_a_list_whose_next_page_is_always_the_same_ends(server: KaggleServer) -> None:
    server.faults["ListSubmissions"] = refuse(200, {"submissions": [row()] * 100, "nextPageToken": "again"})
    assert submissions.latest(SLUG).more
    server.faults["ListSubmissions"] = refuse(200, {"submissions": [], "nextPageToken": "again"})
    assert submissions.latest(SLUG) == ([], True, 0)


def test_while_the_score_is_awaited_only_the_first_page_is_asked_for(server: KaggleServer) -> None:
    for number in range(150):
        server.submit(f"[cafe{number}] older")
    server.looks_until_scored = 0
    assert submissions.wait_for_score(made_already(server), timeout=PLENTY).finished
    assert server.calls["ListSubmissions"] == 1


@pytest.mark.parametrize("odd", [["None", "0.95"], ["0.95", {}], [None, "0.95", "NaN"]])
def test_teams_without_a_score_have_no_place_on_the_leaderboard(server: KaggleServer, odd: list[Any]) -> None:
    rows = [{"teamId": 1, "score": score, "submissionDate": "soon"} for score in odd]
    server.faults["GetLeaderboard"] = refuse(200, {"submissions": [*rows, "row"]})
    assert submissions.rank(Submission(SLUG, 1, "", "COMPLETE", 0.9, None)) == (2, 2)


@pytest.mark.parametrize("call", ["StartSubmissionUpload", "PUT", "CreateSubmission"])
def test_a_file_that_changes_between_two_tries_is_not_sent(server: KaggleServer, csv: Path, call: str) -> None:
    server.faults[call] = once(refuse(503, "<html>busy</html>"))
    checks = iter([True, False])
    with pytest.raises(InputError, match=r"submission\.csv: changed after it was checked, and is not sent"):
        submissions.submit(csv, SLUG, "a test", unique_id=ID, is_unchanged=lambda: next(checks), timeout=PLENTY)
    assert server.submissions == []


@pytest.mark.parametrize("limits", [{"numAllowedNow": "none"}, {"numToday": [1]}, {"numToday": 2.5}])
def test_limits_that_are_no_numbers_are_not_believed(server: KaggleServer, csv: Path, limits: dict[str, Any]) -> None:
    server.faults["GetSubmissionLimits"] = refuse(200, limits)
    message = str(failure_of(server, csv))
    assert "cannot read" in message
    assert "Nothing was uploaded" in message


def test_a_number_of_a_submission_may_be_sent_as_a_text(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = submit_and(refuse(200, {"message": "done", "ref": "1000"}))
    made = submissions.submit(csv, SLUG, "a test", unique_id=ID, is_unchanged=always, timeout=PLENTY)
    assert (made.ref, len(server.submissions)) == (1000, 1)


def test_the_start_of_processes_takes_nothing_of_the_time_of_a_submission(
    server: KaggleServer, csv: Path, virtual_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine where each start takes longer than the submission may."""

    def start_late(child: subprocess.Popen[str]) -> str:
        with client.CLOCK.standing_still():
            virtual_time.skipped += 2 * PLENTY
            return start(child)

    start = client._start_of_output
    monkeypatch.setattr(client, "_start_of_output", start_late)
    assert submissions.submit(csv, SLUG, "a test", unique_id=ID, is_unchanged=always, timeout=PLENTY).ref == 1000


def test_what_the_server_says_after_an_upload_is_shown_without_credentials(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = refuse(200, {"message": f"took {SECRET} and Bearer xyz"})
    message = str(failure_of(server, csv))
    assert "took *** and ***" in message
