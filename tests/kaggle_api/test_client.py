"""The real `kaggle` client against a server on loopback, in the same child processes as in use."""

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from kaggle_server import (
    SECRET,
    SLUG,
    Fault,
    KaggleServer,
    echo_credentials,
    hang_up,
    once,
    pausing,
    refuse,
    say_nothing,
    stall_after,
    submit_and,
)

from kaggle_tools.competition import CARVANA
from kaggle_tools.errors import LeaderboardError
from kaggle_tools.kaggle_api import client

CSV = b"img,rle_mask\na_01.jpg,1 1\n"
ID = "cafe00112233"
PLENTY = 30.0
"""Seconds that a call never needs, even on a busy machine."""


@pytest.fixture(autouse=True)
def no_secret_in_the_output(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever happens, neither the credentials nor a signed address reach the terminal."""
    yield
    shown = "".join(capfd.readouterr())
    assert SECRET not in shown
    assert "signature" not in shown


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more try, and two looks at the list, soon after each other."""
    monkeypatch.setattr(client, "RETRY_PAUSES", (0.1,))
    monkeypatch.setattr(client, "SETTLING_PAUSES", (0.1, 0.2))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "submission.csv"
    path.write_bytes(CSV)
    return path


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks at the score, which then take no time."""
    taken: list[float] = []
    clock = SimpleNamespace(sleep=taken.append, monotonic=time.monotonic)
    monkeypatch.setattr(client, "time", clock)
    return taken


def zipped(**contents: bytes) -> bytes:
    """The bytes of a zip file; `a__b` names the file `a/b.jpg`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("__", "/") + ".jpg", content)
    return buffer.getvalue()


def offer_data(server: KaggleServer) -> None:
    """Everything that Carvana's page offers, each archive with bytes of its own."""
    server.files = {archive.name: zipped(**{archive.name[:-4]: b"x" * 50}) for archive in CARVANA.archives}


def made_already(server: KaggleServer) -> client.Submission:
    """A submission that the server knows from before."""
    description = "[0123456789ab] a test"
    return client.Submission(SLUG, server.submit(description), description)


def failure_of(server: KaggleServer, csv: Path, slug: str = SLUG, timeout: float = PLENTY) -> LeaderboardError:
    """The error that `submit` ends with, in time and without the credentials."""
    started = time.monotonic()
    with pytest.raises(LeaderboardError) as caught:
        client.submit(csv, slug, "a test", unique_id=ID, timeout=timeout)
    assert time.monotonic() - started < timeout + 3
    assert SECRET not in str(caught.value)
    assert "signature" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_submission_is_uploaded_and_scored(server: KaggleServer, csv: Path, pauses: list[float]) -> None:
    made = client.submit(csv, SLUG, "5 folds, hflip", unique_id=ID, timeout=PLENTY)
    scored = client.wait_for_score(made, timeout=PLENTY)
    assert [submission["content"] for submission in server.submissions] == [CSV]
    assert server.submissions[0]["description"] == f"[{ID}] 5 folds, hflip"
    assert not made.finished
    assert (scored.ref, scored.status) == (made.ref, "COMPLETE")
    assert (scored.public_score, scored.private_score) == (0.99612, 0.99587)
    assert server.calls["ListSubmissions"] == 2
    assert pauses == [1, 2]


def test_a_token_serves_as_well_as_a_key(server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    assert client.submit(csv, SLUG, "by token", timeout=PLENTY, unique_id="feed").ref == 1000
    assert server.submissions[0]["description"] == "[feed] by token"


@pytest.mark.usefixtures("pauses")
def test_kaggles_reason_for_rejecting_a_file_is_returned(server: KaggleServer) -> None:
    server.looks_until_scored = 0
    server.verdict = {"status": "ERROR", "errorDescription": "ERROR: Unable to find 7 required key values"}
    judged = client.wait_for_score(made_already(server), timeout=PLENTY)
    assert (judged.status, judged.public_score) == ("ERROR", None)
    assert judged.error == "ERROR: Unable to find 7 required key values"


def test_waiting_ends_at_the_deadline_with_the_submission_unfinished(server: KaggleServer) -> None:
    server.looks_until_scored = 100
    made = made_already(server)
    started = time.monotonic()
    waited = client.wait_for_score(made, timeout=3)
    assert time.monotonic() - started < 4
    assert (waited.ref, waited.finished) == (made.ref, False)


def test_waiting_outlives_a_look_that_fails(server: KaggleServer, pauses: list[float]) -> None:
    server.looks_until_scored = 0
    server.faults["ListSubmissions"] = once(refuse(503, "<html>busy</html>"))
    assert client.wait_for_score(made_already(server), timeout=PLENTY).public_score == 0.99612
    assert pauses == [1, 2]


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
    scored = client.Submission(SLUG, 1, "", "COMPLETE", public, private)
    assert client.rank(scored) == place


@pytest.mark.parametrize("fault", [refuse(403, {"code": 403, "message": "no"}), hang_up, refuse(200, {})])
def test_no_rank_is_no_failure(server: KaggleServer, fault: Fault) -> None:
    server.faults["GetLeaderboard"] = fault
    assert client.rank(client.Submission(SLUG, 1, "", "COMPLETE", 0.99, None)) is None


@pytest.mark.parametrize(
    ("description", "unique_id", "message"),
    [("[cafe-2] my [best] one", "cafe-2", "my [best] one"), ("by hand", "", "by hand"), ("[a]b", "", "[a]b")],
)
def test_the_id_stands_in_brackets_before_the_message(description: str, unique_id: str, message: str) -> None:
    submission = client.Submission(SLUG, 1, description)
    assert (submission.unique_id, submission.message) == (unique_id, message)


def test_without_credentials_the_message_says_how_to_get_them(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    message = str(failure_of(server, csv))
    assert "https://www.kaggle.com/settings" in message
    assert "kaggle.json" in message
    assert "KAGGLE_API_TOKEN" in message
    assert not server.calls


def test_a_wrong_key_is_named_as_such(server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", f"{SECRET}-old")
    message = str(failure_of(server, csv))
    assert "HTTP 401" in message
    assert "make new ones at https://www.kaggle.com/settings" in message
    assert not server.submissions


def test_a_stale_token_that_hides_a_good_key_is_pointed_out(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "stale")
    assert "KAGGLE_API_TOKEN or in .kaggle/access_token is used before kaggle.json" in str(failure_of(server, csv))


def test_rules_not_accepted_names_their_page(server: KaggleServer, csv: Path) -> None:
    said = "You must accept this competition's rules before you'll be able to submit."
    server.faults["GetSubmissionLimits"] = refuse(403, {"error": {"code": 403, "message": said}})
    message = str(failure_of(server, csv))
    assert "You must accept this competition's rules" in message
    assert f"https://www.kaggle.com/c/{SLUG}/rules" in message
    assert server.calls["StartSubmissionUpload"] == 0


def test_an_unknown_competition_is_named(server: KaggleServer, csv: Path) -> None:
    message = str(failure_of(server, csv, slug="carvanna"))
    assert "HTTP 404" in message
    assert "Competition not found" in message
    assert "https://www.kaggle.com/c/carvanna must open" in message


def test_a_used_up_day_is_refused_before_the_upload(server: KaggleServer, csv: Path) -> None:
    made_already(server)
    server.left_today = 0
    assert "00:00 UTC" in str(failure_of(server, csv))
    assert server.calls["StartSubmissionUpload"] == 0


def test_an_account_without_a_team_may_make_its_first_submission(server: KaggleServer, csv: Path) -> None:
    server.left_today = 0  # what Kaggle says of an account that has no team yet
    assert client.submit(csv, SLUG, "the first", unique_id=ID, timeout=PLENTY).ref


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
def test_what_fails_once_is_tried_again(server: KaggleServer, csv: Path, call: str) -> None:
    server.faults[call] = once(refuse(503, "<html>busy</html>"))
    assert client.submit(csv, SLUG, "a test", unique_id=ID, timeout=PLENTY).ref == 1000
    assert (server.calls[call], len(server.submissions)) == (2, 1)


def test_a_submission_that_the_list_shows_late_is_not_made_twice(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = submit_and(hang_up)
    server.faults["ListSubmissions"] = once(refuse(200, {"submissions": []}))
    assert client.submit(csv, SLUG, "a test", unique_id=ID, timeout=PLENTY).ref == 1000
    assert (len(server.submissions), server.calls["ListSubmissions"]) == (1, 2)


@pytest.mark.parametrize("deaf", [refuse(503, ""), refuse(403, {"code": 403, "message": "no"}), say_nothing])
def test_nothing_is_submitted_anew_where_the_list_cannot_be_asked(server: KaggleServer, csv: Path, deaf: Fault) -> None:
    server.faults["CreateSubmission"] = submit_and(hang_up)
    server.faults["ListSubmissions"] = deaf
    failure = failure_of(server, csv, timeout=9)
    assert isinstance(failure, client.UnknownOutcomeError)
    assert f"looks first for {ID}" in str(failure)
    assert (len(server.submissions), server.calls["CreateSubmission"]) == (1, 1)


def test_the_pauses_grow_and_end_with_the_deadline(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr(client, "RETRY_PAUSES", (1, 2, 20, 30))
    server.faults["GetSubmissionLimits"] = refuse(503, "busy")
    assert "Nothing was uploaded" in str(failure_of(server, csv, timeout=15))
    assert pauses == [1, 2]


@pytest.mark.parametrize("lost", [hang_up, refuse(200, {})], ids=["hang up", "{}"])
def test_a_submission_whose_confirmation_was_lost_is_found(server: KaggleServer, csv: Path, lost: Fault) -> None:
    server.faults["CreateSubmission"] = submit_and(lost)
    made = client.submit(csv, SLUG, "found again", unique_id=ID, timeout=PLENTY)
    assert (made.ref, made.description) == (1000, server.submissions[0]["description"])
    assert len(server.submissions) == 1


def test_a_submission_is_found_although_its_confirmation_never_ends(server: KaggleServer, csv: Path) -> None:
    server.faults["CreateSubmission"] = submit_and(say_nothing)
    started = time.monotonic()
    made = client.submit(csv, SLUG, "silence", unique_id=ID, timeout=9)
    assert time.monotonic() - started < 9
    assert made.ref == 1000
    assert len(server.submissions) == 1


def test_another_submission_is_not_taken_for_the_lost_one(server: KaggleServer, csv: Path) -> None:
    made_already(server)
    server.faults["CreateSubmission"] = hang_up
    failure = failure_of(server, csv)
    assert "list does not show the submission" in str(failure)
    assert len(server.submissions) == 1


@pytest.mark.parametrize("status", [200, 500])
def test_a_page_instead_of_an_answer_is_recognised(server: KaggleServer, csv: Path, status: int) -> None:
    server.faults["GetSubmissionLimits"] = refuse(status, "<html>We are down for maintenance</html>")
    message = str(failure_of(server, csv))
    assert "try again in a few minutes" in message.lower()
    assert "<html>" not in message
    assert "Nothing was uploaded" in message


def test_silence_before_the_upload_ends_at_the_deadline(server: KaggleServer, csv: Path) -> None:
    server.faults["GetSubmissionLimits"] = say_nothing
    message = str(failure_of(server, csv, timeout=2))
    assert "no answer within 2 seconds" in message
    assert "Nothing was uploaded" in message
    assert server.calls["StartSubmissionUpload"] == 0


def test_silence_of_the_storage_ends_at_the_deadline(server: KaggleServer, csv: Path) -> None:
    server.faults["PUT"] = say_nothing
    assert "no answer within" in str(failure_of(server, csv, timeout=6))
    assert not server.submissions


def test_a_server_that_is_not_there_is_named_as_such(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    message = str(failure_of(server, csv))
    assert "Connection refused" in message
    assert "Is the network up?" in message


@pytest.mark.parametrize("kind", ["KAGGLE_KEY", "KAGGLE_API_TOKEN"])
def test_credentials_that_the_server_echoes_are_struck_out(
    server: KaggleServer, csv: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(kind, SECRET)
    monkeypatch.setenv("VERBOSE", "1")
    server.faults["GetSubmissionLimits"] = echo_credentials
    assert "cannot parse ***" in str(failure_of(server, csv))


def test_an_empty_file_is_not_sent(server: KaggleServer, csv: Path) -> None:
    csv.write_bytes(b"")
    assert "the file is empty" in str(failure_of(server, csv))
    assert not server.calls


def test_the_data_is_downloaded_without_what_comes_on_request(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    server.page_size = 3
    paths = client.download(CARVANA, tmp_path / "zips")
    assert [path.name for path in paths] == [archive.name for archive in CARVANA.archives if not archive.on_request]
    assert all(path.read_bytes() == server.files[path.name] for path in paths)
    assert sorted(path.name for path in (tmp_path / "zips").iterdir()) == sorted(path.name for path in paths)
    assert server.calls["ListDataFiles"] == 3


def test_only_what_is_missing_or_wrong_is_downloaded_again(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    for name, content in server.files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "train_hq.zip").unlink()
    (tmp_path / "test.zip").write_bytes(server.files["test.zip"][:-1])
    paths = client.download(CARVANA, tmp_path, high_quality=True)
    assert server.calls["DownloadDataFile"] == 2
    assert all(path.read_bytes() == server.files[path.name] for path in paths)
    assert len(paths) == len(CARVANA.archives)


def test_an_archive_that_kaggle_does_not_list_is_named_before_anything_is_fetched(
    server: KaggleServer, tmp_path: Path
) -> None:
    offer_data(server)
    del server.files["train_masks.zip"]
    with pytest.raises(LeaderboardError, match=r"does not list train_masks\.zip; what it lists: metadata\.csv\.zip, "):
        client.download(CARVANA, tmp_path)
    assert server.calls["DownloadDataFile"] == 0


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_may_be_listed_without_zip_and_come_either_way(
    server: KaggleServer, tmp_path: Path, packed: bool
) -> None:
    offer_data(server)
    for name, content in server.files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "metadata.csv.zip").unlink()
    del server.files["metadata.csv.zip"]
    server.files["metadata.csv"] = b"id,year\n" * 20
    if packed:
        server.sent_as["metadata.csv"] = ("metadata.csv.zip", zipped(metadata=server.files["metadata.csv"]))
    for _ in range(2):
        paths = client.download(CARVANA, tmp_path)
    assert paths[3].name == ("metadata.csv.zip" if packed else "metadata.csv")
    assert zipfile.is_zipfile(paths[3]) == packed
    assert server.calls["DownloadDataFile"] == 1


def test_a_download_that_stands_still_is_given_up_and_then_continued(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    for name in server.files:
        if name != "train.zip":
            (tmp_path / name).write_bytes(server.files[name])
    server.files["train.zip"] = os.urandom(3 * 2**20)
    server.faults["GET"] = stall_after(2 * 2**20)
    with pytest.raises(LeaderboardError, match=r"send train\.zip\. What has arrived is kept"):
        client.download(CARVANA, tmp_path, patience=2)
    assert not (tmp_path / "train.zip").exists()
    del server.faults["GET"]
    assert client.download(CARVANA, tmp_path)[0].read_bytes() == server.files["train.zip"]
    assert server.ranges == [f"bytes={2 * 2**20}-"]
    assert not (tmp_path / ".train.zip.part").exists()


def test_a_download_that_is_slow_but_moves_is_not_given_up(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    for name in server.files:
        if name != "train.zip":
            (tmp_path / name).write_bytes(server.files[name])
    server.files["train.zip"] = os.urandom(4 * 2**20)
    server.faults["GET"] = pausing(2**20, 0.8)
    started = time.monotonic()
    assert client.download(CARVANA, tmp_path, patience=2)[0].read_bytes() == server.files["train.zip"]
    assert time.monotonic() - started > 2


def test_a_download_of_another_size_than_listed_does_not_get_its_name(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    server.sent_as["train.zip"] = ("train.zip", b"short")
    with pytest.raises(LeaderboardError, match=r"train\.zip: Kaggle lists \d+ bytes but sent 5"):
        client.download(CARVANA, tmp_path / "zips")
    assert list((tmp_path / "zips").iterdir()) == []


def test_downloading_before_the_rules_are_accepted_names_their_page(server: KaggleServer, tmp_path: Path) -> None:
    offer_data(server)
    server.faults["DownloadDataFile"] = refuse(403, {"code": 403, "message": "You must accept the rules"})
    with pytest.raises(LeaderboardError, match=rf"https://www\.kaggle\.com/c/{SLUG}/rules"):
        client.download(CARVANA, tmp_path / "zips")
    assert not (tmp_path / "zips").exists()


def test_neither_kaggle_nor_torch_is_imported_by_the_module() -> None:
    check = "import sys, kaggle_tools.kaggle_api.client; print({'kaggle', 'requests', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
