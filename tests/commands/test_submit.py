import contextlib
import errno
import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import Result
from finished_runs import network
from kaggle_server import (
    SECRET,
    SLUG,
    Fault,
    Handler,
    KaggleServer,
    after,
    and_then_fail,
    echo_credentials,
    hang_up,
    once,
    refuse,
    reset,
    reset_halfway,
    say_nothing,
    submit_and,
)
from known_competitions import CARVANA
from PIL import Image
from typer.testing import CliRunner
from virtual_time import VirtualTime

from kaggle_tools import cli
from kaggle_tools.commands.submit import submit
from kaggle_tools.competitions.toml_file import as_recorded
from kaggle_tools.data.images import write_mask
from kaggle_tools.errors import InputError
from kaggle_tools.kaggle_api import client, ledger, submissions
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.results import pred_folder
from kaggle_tools.results.records.masks import Record
from kaggle_tools.results.scores import Estimate, ExpectedScore, ValidatedRun
from kaggle_tools.system import version

ROOT = Path(__file__).resolve().parents[2]
APP = cli.app_of(submit)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A competition's data with three photos to be masked."""
    folder = tmp_path / "data"
    (folder / "test").mkdir(parents=True)
    stems = ["a_01", "a_02", "b_01"]
    (folder / "sample_submission.csv").write_text("".join(["img,rle_mask\n", *(f"{stem}.jpg,1 1\n" for stem in stems)]))
    for stem in stems:
        Image.new("RGB", (30, 20)).save(folder / "test" / f"{stem}.jpg")
    return folder


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    """A folder that holds nothing but masks."""
    for number, stem in enumerate(["a_01", "a_02", "b_01"]):
        mask = np.zeros((20, 30), dtype=bool)
        mask[2 : 10 + number, 3:25] = True
        write_mask(tmp_path / "pred" / "masks" / f"{stem}.png", mask)
    return tmp_path / "pred"


def submit(*arguments: Any) -> Result:
    return CliRunner().invoke(APP, list(map(str, arguments)))


def refusal(*arguments: Any) -> str:
    error = submit(*arguments).exception
    assert isinstance(error, InputError)
    return str(error)


def test_a_dry_run_leaves_the_csv_and_says_what_is_in_it(pred: Path, data: Path, ledger_path: Path) -> None:
    write_mask(pred / "masks" / "a_02.png", np.zeros((20, 30), dtype=bool))
    result = submit(pred, "--data", data, "--dry-run")
    csv, packed = pred / "submission.csv", pred / "submission.csv.gz"
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-7:] == [
        "Carvana Image Masking: 3 masks, 1 of them blank",
        "warning: 1 of 3 masks is blank, where every photo has foreground",
        f"{csv}: {csv.stat().st_size:,} bytes",
        f"{packed}: {packed.stat().st_size:,} bytes",
        f"expected leaderboard score: unavailable, as {pred} does not record the out-of-fold scores of its models",
        f"no public score so far in {ledger_path}",
        "dry run: nothing was sent",
    ]
    assert csv.read_text().splitlines()[2] == "a_02.jpg,"
    assert sorted(path.name for path in pred.iterdir()) == [
        ".process0.lock",
        "masks",
        "submission.csv",
        "submission.csv.gz",
    ]


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ([0.9957, 0.9965], " (95 % interval 0.99570 to 0.99650)"),
        ([0.0, 0.9965], " (95 % interval 0.00000 to 0.99650)"),
        (None, " (one group of photos: no interval)"),
    ],
)
def test_the_expected_score_is_printed_beside_the_best_public_score_so_far(
    pred: Path, data: Path, ledger_path: Path, interval: list[float] | None, shown: str
) -> None:
    record = {"competition": CARVANA.slug, "estimate": {"score": 0.99612, "interval": interval}}
    (pred / "run.json").write_text(json.dumps(record))
    for name, slug, score in (("a", SLUG, 0.95), ("b", SLUG, 0.97), ("c", "another", 0.99), ("d", SLUG, None)):
        ledger.intend(ledger_path, Entry(name, slug, ""))
        ledger.note(ledger_path, Entry(name, slug, ""), Submission(slug, 1, "", "COMPLETE", public_score=score))
    said = submit(pred, "--data", data, "--dry-run").output.splitlines()
    assert said[-3:-1] == [
        f"expected leaderboard score: 0.99612{shown}, from the out-of-fold photos",
        "best public score so far: 0.97",
    ]


def test_a_submission_needs_no_data_beside_the_sample(pred: Path, data: Path) -> None:
    for path in (pred / "masks").iterdir():
        write_mask(path, np.eye(1280, 1918, dtype=bool))
    result = submit(pred, "--sample", data / "sample_submission.csv", "--dry-run")
    assert result.exit_code == 0, result.output


def test_a_submission_needs_either_the_data_or_the_sample(pred: Path, data: Path) -> None:
    assert refusal(pred, "--dry-run").startswith("give either --data DIR or --sample FILE")
    assert refusal(pred, "--dry-run", "--data", data, "--sample", data / "sample_submission.csv").startswith(
        "give either"
    )


def test_missing_masks_are_refused_by_the_script_with_one_line(pred: Path, data: Path) -> None:
    (pred / "masks" / "a_02.png").unlink()
    done = run_script("submit.py", str(pred), "--data", str(data), "--dry-run")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {pred / 'masks'}: 1 of 3 masks is missing: a_02.png; "
        "run `infer` on all photos of the sample submission first"
    ]
    assert not (pred / "submission.csv").exists()


def test_masks_of_another_size_than_their_photos_are_refused(pred: Path, data: Path) -> None:
    write_mask(pred / "masks" / "b_01.png", np.ones((20, 31), dtype=bool))
    assert "b_01.png (is 31x20, its photo 30x20)" in refusal(pred, "--data", data, "--dry-run")


def test_only_full_masks_are_refused_unless_forced(pred: Path, data: Path) -> None:
    for path in (pred / "masks").iterdir():
        write_mask(path, np.ones((20, 30), dtype=bool))
    assert "all 3 masks are full" in refusal(pred, "--data", data, "--dry-run")
    assert submit(pred, "--data", data, "--dry-run", "--force").exit_code == 0


def test_a_submission_must_have_a_message(pred: Path, data: Path) -> None:
    assert refusal(pred, "--data", data).startswith("give -m")
    assert refusal(pred, "--data", data, "-m", " \n").startswith("give -m")
    assert not (pred / "submission.csv").exists()


def test_the_competition_is_read_from_the_record_of_the_masks(pred: Path, data: Path) -> None:
    (pred / "run.json").write_text('{"competition": "unheard-of"}')
    assert "unheard-of: not known" in refusal(pred, "--data", data, "--dry-run")
    (pred / "run.json").write_text(json.dumps({"competition": CARVANA.slug}))
    assert submit(pred, "--data", data, "--dry-run", "--competition", CARVANA.slug).exit_code == 0
    message = refusal(pred, "--data", data, "--dry-run", "--competition", "another")
    assert message.startswith("these belong to different competitions")


def test_masks_of_unusual_size_are_refused_where_their_photos_are_not_at_hand(pred: Path, data: Path) -> None:
    sample = data / "sample_submission.csv"
    assert "a_01.png (is 30x20, its photo 1918x1280)" in refusal(pred, "--sample", sample, "--dry-run")
    assert submit(pred, "--sample", sample, "--dry-run", "--force").exit_code == 0


def test_a_drawn_demo_is_not_sent(pred: Path, data: Path) -> None:
    (data / "demo.json").touch()
    assert refusal(pred, "--data", data, "-m", "mine").startswith(f"{data}: a drawn demo, which Kaggle does not know")
    assert submit(pred, "--data", data, "--dry-run").exit_code == 0


def test_where_kaggle_takes_notebooks_only_nothing_is_asked_or_sent_and_a_dry_run_works(
    pred: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaggle_tools.kaggle_api.submit_once.submit_once", None)
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(as_recorded(replace(CARVANA, notebooks_only=True))))
    said = (
        "Carvana Image Masking takes notebooks only, and no CSV from elsewhere. Make a notebook at Kaggle with RUN "
        "as a dataset, run `infer` there, write submission.csv with `submit --dry-run`, and submit the notebook"
    )
    refused = refusal(pred, "--data", data, "-m", "mine", "--force", "--competition", spec)
    assert refused == f"{said}; docs/notebooks.md has the cells. Here --dry-run writes and checks the CSV"
    assert not (pred / "submission.csv").exists()
    result = submit(pred, "--data", data, "--dry-run", "--competition", spec)
    assert (result.exit_code, result.output.splitlines()[0]) == (0, f"warning: {said}")
    assert result.output.splitlines()[-1] == "dry run: nothing was sent"
    assert (pred / "submission.csv").exists()


def test_masks_that_are_refused_leave_no_csv_to_be_uploaded(pred: Path, data: Path) -> None:
    assert submit(pred, "--data", data, "--dry-run").exit_code == 0
    for path in (pred / "masks").iterdir():
        write_mask(path, np.zeros((20, 30), dtype=bool))
    assert "all 3 masks are blank" in refusal(pred, "--data", data, "--dry-run")
    assert not list(pred.glob("*.csv*"))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_record_of_the_masks_is_named(pred: Path, data: Path, content: str) -> None:
    (pred / "run.json").write_text(content)
    assert "run.json: damaged" in refusal(pred, "--data", data, "--dry-run")


def number(entry: Entry) -> int | None:
    """Kaggle's number of the submission, if the ledger knows it."""
    return entry.submission.ref if entry.submission else None


def description(server: KaggleServer) -> str:
    """That of the first submission at Kaggle."""
    return str(server.submissions[0]["description"])


class Ended(NamedTuple):
    code: int
    said: str
    """On both streams, by the client's processes too."""


Run = Callable[..., Ended]


@pytest.fixture
def run(
    pred: Path,
    data: Path,
    server: KaggleServer,
    virtual_time: VirtualTime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Submits the masks to the server, without second tries, and looks for secrets in all that comes of it."""
    monkeypatch.setattr(client, "RETRY_PAUSES", ())
    monkeypatch.setattr(submissions, "SETTLING_PAUSES", (1, 3))
    server.looks_until_scored = 0

    def submit_masks(*options: Any, timeout: float = 60, message: str = "mine", folder: Path = pred) -> Ended:
        arguments = [folder, "--data", data, "-m", message, "--timeout", timeout, *options]
        monkeypatch.setattr("sys.argv", ["submit.py", *map(str, arguments)])
        started = client.CLOCK.now()
        with pytest.raises(SystemExit) as ended:
            cli.run(APP)
        assert client.CLOCK.now() - started < timeout + 3
        said = "".join(capfd.readouterr())
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".gz"]
        for secret in (SECRET, "signature"):
            assert secret not in said
            assert not any(secret.encode() in content for content in written)
        assert "Traceback" not in said
        return Ended(int(str(ended.value.code)), said)

    return submit_masks


def test_the_compressed_csv_is_sent_and_its_score_printed_and_noted(
    run: Run, pred: Path, server: KaggleServer, ledger_path: Path
) -> None:
    validated = ValidatedRun("unet", (0, 1), "Dice", Estimate(0.9961, None))
    record = Record(
        competition=CARVANA.slug,
        models=(network("unet", fold=0), network("unet", fold=1)),
        tta="hflip",
        threshold=0.5,
        cross_validation=(validated,),
        expected=ExpectedScore(None, "…"),
    )
    (pred / "run.json").write_text(json.dumps(record.to_json()))
    ended = run()
    assert ended.code == 0, ended.said
    assert ended.said.splitlines()[-4:] == [
        f"submitted as 1000: https://www.kaggle.com/c/{SLUG}/submissions",
        f"noted in {ledger_path}",
        "public score 0.99612, private score 0.99587",
        "that would be rank 4 of 4",
    ]
    assert gzip.decompress(server.submissions[0]["content"]) == (pred / "submission.csv").read_bytes()
    (entry,) = ledger.read(ledger_path)
    assert server.submissions[0]["description"] == f"[{entry.id}] mine"
    csv_sha256 = hashlib.sha256((pred / "submission.csv").read_bytes()).hexdigest()
    assert entry.id == hashlib.sha256(f"{SLUG} {csv_sha256}".encode()).hexdigest()[:12]
    assert (entry.sha256, entry.pred, entry.runs) == (csv_sha256, str(pred), ("unet",))
    assert (entry.cross_validation, entry.threshold, entry.tta) == ((validated,), 0.5, "hflip")
    assert entry.commit == version.commit()
    assert entry.submission == Submission(SLUG, 1000, f"[{entry.id}] mine", "COMPLETE", 0.99612, 0.99587)


def test_before_a_submission_kaggle_is_asked_for_its_list_and_for_what_is_left_of_the_day(
    run: Run, server: KaggleServer
) -> None:
    assert run().code == 0
    asked = [method for method in server.calls if method != "IntrospectToken"]
    assert asked[:5] == ["ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "PUT", "CreateSubmission"]
    made = ("GetSubmissionLimits", "StartSubmissionUpload", "PUT", "CreateSubmission")
    assert [server.calls[method] for method in made] == [1, 1, 1, 1]


@pytest.mark.usefixtures("starved")
def test_on_a_starved_machine_a_submission_is_made_and_scored(run: Run, server: KaggleServer) -> None:
    ended = run()
    assert ended.code == 0, ended.said
    assert "public score 0.99612" in ended.said
    assert len(server.submissions) == 1


def test_the_same_command_finds_its_own_submission(run: Run, server: KaggleServer, ledger_path: Path) -> None:
    assert run().code == 0
    server.faults = {"ListSubmissions": say_nothing}  # the ledger knows it all
    again = run()
    assert again.code == 0
    assert "was submitted before, as 1000" in again.said
    assert "public score 0.99612" in again.said
    assert (len(server.submissions), len(ledger.read(ledger_path))) == (1, 1)


@pytest.mark.parametrize("lost", ["everything", "what came after the upload"])
def test_without_its_ledger_a_submission_is_found_in_kaggles_list(
    run: Run, server: KaggleServer, ledger_path: Path, lost: str
) -> None:
    assert run().code == 0
    first = ledger_path.read_text().splitlines(keepends=True)[0]
    ledger_path.write_text("" if lost == "everything" else first)
    again = run()
    assert again.code == 0
    assert "was submitted before, as 1000" in again.said
    assert len(server.submissions) == 1
    assert [(number(entry), entry.public_score) for entry in ledger.read(ledger_path)] == [(1000, 0.99612)]


@pytest.mark.parametrize(
    ("what", "known"),
    [
        ("another message", "to the ledger"),
        ("another folder", "to the ledger"),
        ("another message", "to Kaggle alone"),  # which knows nothing of folders
    ],
)
def test_the_same_csv_from_elsewhere_is_refused_unless_forced(
    run: Run, server: KaggleServer, pred: Path, ledger_path: Path, what: str, known: str
) -> None:
    assert run().code == 0
    if known == "to Kaggle alone":
        ledger_path.unlink()
    copied = shutil.copytree(pred, pred.parent / "copied")
    other = {"message": "better"} if what == "another message" else {"folder": copied}
    refused = run(**other)
    assert refused.code == 1
    assert "error: the same CSV was submitted before: 1000, 'mine', from " in refused.said
    assert len(server.submissions) == 1
    for _ in range(2):  # the same forced command finds its own submission too
        assert run("--force", **other).code == 0
        assert len(server.submissions) == 2
    csv_id = server.submissions[0]["description"][1:13]
    assert server.submissions[1]["description"] == f"[{csv_id}-2] {other.get('message', 'mine')}"


def test_without_waiting_the_same_command_shows_the_score_later(
    run: Run, server: KaggleServer, ledger_path: Path
) -> None:
    ended = run("--no-wait")
    assert ended.code == 0
    assert "`python -m kaggle_tools submissions` will pick the score up" in ended.said
    assert [entry.submission for entry in ledger.read(ledger_path)] == [Submission(SLUG, 1000, description(server))]
    assert "public score 0.99612" in run().said
    assert len(server.submissions) == 1


def test_no_score_in_time_is_no_failure(run: Run, server: KaggleServer) -> None:
    server.looks_until_scored = 1000
    ended = run()
    assert ended.code == 0
    assert "has not scored it yet; `python -m kaggle_tools submissions` will" in ended.said


def test_a_submission_that_kaggle_cannot_score_is_a_failure_and_can_be_repeated_by_force(
    run: Run, server: KaggleServer, ledger_path: Path
) -> None:
    server.verdict = {"status": "ERROR", "errorDescription": "bad row 5"}
    for _ in range(2):
        ended = run()
        assert ended.code == 1
        assert (
            "error: Kaggle could not score the submission: bad row 5. To submit the same CSV again: --force"
            in ended.said
        )
    assert len(server.submissions) == 1
    (entry,) = ledger.read(ledger_path)
    assert entry.submission
    assert (entry.submission.status, entry.submission.error) == ("ERROR", "bad row 5")
    server.verdict = {"status": "COMPLETE", "publicScore": "0.5"}
    assert "public score 0.5, private score not shown" in run("--force").said
    assert len(server.submissions) == 2


def test_scores_that_kaggle_does_not_show_are_no_failure(run: Run, server: KaggleServer) -> None:
    server.verdict = {"status": "COMPLETE"}
    ended = run()
    assert (ended.code, ended.said.splitlines()[-1]) == (0, "public score not shown, private score not shown")


def test_a_rank_that_kaggle_does_not_show_is_left_out(run: Run, server: KaggleServer) -> None:
    server.faults["GetLeaderboard"] = refuse(403, {"code": 403, "message": "no"})
    ended = run()
    assert (ended.code, ended.said.splitlines()[-1]) == (0, "public score 0.99612, private score 0.99587")


def test_an_unknown_status_while_waiting_only_delays_the_score(run: Run, server: KaggleServer) -> None:
    server.verdict = {"status": "ESCALATED"}
    server.looks_until_scored = 0
    assert run().code == 0
    server.submissions[0]["verdict"] = {"status": "COMPLETE", "publicScore": "0.5"}
    assert "public score 0.5" in run().said
    assert len(server.submissions) == 1


def limits(**limits: Any) -> Fault:
    return refuse(200, limits)


NO_RULES = refuse(403, {"code": 403, "message": "You must accept this competition's rules"})
USED_UP = "Submission not allowed: Your team has used its daily Submission allowance (5) today"
CALLS = ["ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload", "PUT", "CreateSubmission"]
NO_SCORE = "will pick the score up"

FAULTS: dict[str, tuple[str, Fault, str]] = {
    **{f"rules not accepted, said by {call}": (call, NO_RULES, f"c/{SLUG}/rules") for call in CALLS[:3]},
    "unknown competition": (
        "ListSubmissions",
        refuse(404, {"error": {"code": 404, "message": "Not found"}}),
        "HTTP 404",
    ),
    "wrong slug, as 403": (
        "ListSubmissions",
        refuse(403, {"code": 403, "message": "Permission 'competitions.participate' was denied"}),
        "'competitions.participate' was denied",
    ),
    "day used up": ("GetSubmissionLimits", limits(numToday=5, numAllowedNow=0), "00:00 UTC. Nothing was uploaded"),
    "all used up": ("GetSubmissionLimits", limits(numAllowedNow=0, limitedByTotal=True), "none will be added"),
    "day used up, nested": ("CreateSubmission", refuse(400, {"error": {"code": 400, "message": USED_UP}}), USED_UP),
    "day used up, flat": ("CreateSubmission", refuse(400, {"code": 400, "message": USED_UP}), USED_UP),
    **{f"PUT {status}": ("PUT", refuse(status, "<html>no</html>"), "upload of") for status in (403, 404, 500, 503)},
    "{} from CreateSubmission": ("CreateSubmission", refuse(200, {}), "confirmed no submission"),
    **{
        f"HTML from {call}": (call, refuse(200, "<html>Maintenance</html>"), "cannot read")
        for call in CALLS
        if call != "PUT"
    },
    **{
        f"500 of broken JSON from {call}": (call, refuse(500, '{"code": 5'), "HTTP 500")
        for call in CALLS
        if call != "PUT"
    },
    **{f"{call} hangs up": (call, hang_up, "connection to Kaggle failed") for call in CALLS if call != "PUT"},
    **{f"{call} is reset": (call, reset, "connection to Kaggle failed") for call in CALLS if call != "PUT"},
    # The kaggle package tries an upload again by itself, for minutes.
    "PUT hangs up": ("PUT", hang_up, "no answer within"),
    "PUT is reset": ("PUT", reset, "no answer within"),
    **{f"{call} is reset halfway": (call, reset_halfway, "") for call in CALLS},
    **{f"silence of {call}": (call, say_nothing, "no answer within") for call in CALLS},
    "echoed credentials": ("GetSubmissionLimits", echo_credentials, "cannot parse ***"),
}
PATIENT = ("PUT hangs up", "PUT is reset")
"""While these last, the kaggle package is at work, so that real time passes."""


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_in_time_and_the_same_command_then_submits_once(
    run: Run, server: KaggleServer, ledger_path: Path, name: str
) -> None:
    call, fault, message = FAULTS[name]
    server.faults[call] = fault
    ended = run(timeout=3 if name in PATIENT else 60)
    assert ended.code == 1, ended.said
    assert "error: " in ended.said
    assert message in ended.said
    assert len(server.submissions) == 0
    server.faults.clear()
    assert run().code == 0
    assert len(server.submissions) == 1
    assert [entry.public_score for entry in ledger.read(ledger_path)] == [0.99612]


@pytest.mark.parametrize("lost", [hang_up, reset, refuse(200, {}), refuse(503, "busy"), say_nothing])
@pytest.mark.parametrize("listed", [True, False])
def test_a_submission_whose_confirmation_was_lost_is_made_once(
    run: Run, server: KaggleServer, ledger_path: Path, lost: Fault, listed: bool
) -> None:
    server.faults["CreateSubmission"] = submit_and(lost)
    if not listed:  # once it is asked for after the upload
        server.faults["GetSubmissionLimits"] = and_then_fail("ListSubmissions", refuse(503, "busy"))
    ended = run()
    assert ended.code == (0 if listed else 1), ended.said
    server.faults.clear()
    assert run().code == 0
    assert len(server.submissions) == 1
    assert [entry.public_score for entry in ledger.read(ledger_path)] == [0.99612]


def test_a_forced_submission_that_is_listed_late_is_not_made_again(
    run: Run, server: KaggleServer, ledger_path: Path
) -> None:
    """The list shows an older submission of the same CSV at once, but the new one only at the second look."""
    assert run().code == 0
    server.faults["CreateSubmission"] = submit_and(hang_up)
    server.faults["GetSubmissionLimits"] = and_then_fail("ListSubmissions", refuse(503, "busy"))
    assert run("--force", message="again").code == 1
    server.faults.clear()
    late = server.submissions.pop()

    def first_without_it(handler: Handler, request: Any) -> None:
        handler.answer("ListSubmissions", request)
        server.submissions.append(late)

    server.faults["ListSubmissions"] = once(first_without_it)
    ended = run("--force", message="again")
    assert ended.code == 0, ended.said
    assert [submission["ref"] for submission in server.submissions] == [1000, 1001]
    noted = [(entry.message, number(entry)) for entry in ledger.read(ledger_path)]
    assert noted == [("mine", 1000), ("again", 1001)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"KAGGLE_KEY": None}, "https://www.kaggle.com/settings"),
        ({"KAGGLE_KEY": "wrong"}, "HTTP 401"),
        ({"KAGGLE_API_TOKEN": "stale"}, "is used before kaggle.json"),
        ({"http_proxy": "http://127.0.0.1:9"}, "Connection refused"),
    ],
    ids=["no credentials", "wrong key", "stale token", "no server"],
)
def test_wrong_credentials_and_no_connection_are_named_and_the_same_command_then_submits(
    run: Run, server: KaggleServer, monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], message: str
) -> None:
    with monkeypatch.context() as patched:
        for name, value in change.items():
            patched.setenv(name, value) if value else patched.delenv(name)
        ended = run()
        assert (ended.code, len(server.submissions)) == (1, 0)
        assert message in ended.said
    assert run().code == 0
    assert len(server.submissions) == 1


def test_a_list_with_odd_rows_is_no_reason_not_to_submit(run: Run, server: KaggleServer) -> None:
    server.submit("made elsewhere")
    server.submissions[0]["verdict"] = {"status": "ESCALATED", "publicScore": "None"}
    server.submissions.append({"ref": None, "description": "", "date": "", "looks": 0})
    ended = run()
    assert ended.code == 0, ended.said
    assert "warning: 1 row of Kaggle's list is left out, as unreadable" in ended.said
    assert len(server.submissions) == 3


def test_the_same_csv_is_found_behind_many_newer_submissions_without_the_ledger(
    run: Run, server: KaggleServer, ledger_path: Path
) -> None:
    assert run().code == 0
    ledger_path.unlink()
    for number in range(120):
        server.submit(f"newer {number}")
    ended = run()
    assert ended.code == 0
    assert "was submitted before, as 1000" in ended.said
    assert len(server.submissions) == 121


def test_it_is_said_when_not_all_submissions_were_searched_for_the_same_csv(
    run: Run, server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "MOST", 100)
    monkeypatch.setattr(submissions.latest, "__kwdefaults__", {"most": 100, "timeout": 60})
    for number in range(101):
        server.submit(f"older {number}")
    ended = run()
    assert ended.code == 0
    assert "warning: only the last 100 submissions were asked for: Kaggle lists more" in ended.said


def test_a_csv_that_changes_while_another_try_is_awaited_is_not_sent(
    run: Run, server: KaggleServer, pred: Path, virtual_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the ledger says was sent, Kaggle must have."""

    def change_meanwhile(seconds: float) -> None:
        (pred / "submission.csv.gz").write_bytes(gzip.compress(b"img,rle_mask\na_01.jpg,1 1\n"))
        sleep(seconds)

    monkeypatch.setattr(client, "RETRY_PAUSES", (2, 8))
    server.faults["StartSubmissionUpload"] = once(refuse(503, "<html>busy</html>"))
    sleep = virtual_time.sleep
    monkeypatch.setattr(virtual_time, "sleep", change_meanwhile)
    ended = run()
    assert ended.code == 1
    assert "submission.csv.gz: changed after it was checked, and is not sent; run the same command again" in ended.said
    assert server.submissions == []
    monkeypatch.setattr(virtual_time, "sleep", sleep)
    assert run().code == 0
    assert gzip.decompress(server.submissions[0]["content"]) == (pred / "submission.csv").read_bytes()


@pytest.mark.parametrize("options", [["--dry-run"], ["-m", "mine"]], ids=str)
def test_a_command_that_finds_the_masks_in_use_says_so_and_changes_nothing(
    pred: Path, data: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    assert submit(pred, "--data", data, "--dry-run").exit_code == 0
    before = (pred / "submission.csv").stat()
    monkeypatch.setattr(pred_folder, "LOCK_SECONDS", 0.1)
    with pred_folder.held(pred):
        message = refusal(pred, "--data", data, *options)
    assert message.startswith(f"{pred}: another command masks photos into it, or submits its masks")
    assert (pred / "submission.csv").stat() == before


def test_the_masks_are_held_from_their_csv_to_the_end_of_the_upload_but_not_while_the_score_is_awaited(
    run: Run, server: KaggleServer, pred: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pred_folder, "LOCK_SECONDS", 0)
    held = {}

    def look_and_answer(handler: Handler, request: Any) -> None:
        method = handler.path.rpartition("/")[2] if handler.command == "POST" else handler.command
        held.setdefault(method, is_held(pred))
        handler.store(request) if method == "PUT" else handler.answer(method, request)

    server.faults |= dict.fromkeys(
        ["StartSubmissionUpload", "PUT", "CreateSubmission", "GetLeaderboard"], look_and_answer
    )
    assert run().code == 0
    assert held == {"StartSubmissionUpload": True, "PUT": True, "CreateSubmission": True, "GetLeaderboard": False}


def is_held(pred: Path) -> bool:
    try:
        with pred_folder.held(pred):
            return False
    except InputError:
        return True


def test_a_missing_folder_of_masks_is_not_made(pred: Path, data: Path) -> None:
    assert "no such folder" in refusal(pred.parent / "none", "--data", data, "--dry-run")
    assert not (pred.parent / "none").exists()


@pytest.mark.parametrize("event", ["submitted", "scored"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), InputError("in use")], ids=str)
def test_a_full_disk_after_the_upload_does_not_hide_that_the_submission_was_made(
    run: Run, server: KaggleServer, ledger_path: Path, monkeypatch: pytest.MonkeyPatch, event: str, error: Exception
) -> None:
    def append_or_fail(path: Path, wanted: str, *arguments: Any) -> None:
        if wanted == event:
            raise error
        append(path, wanted, *arguments)

    append = ledger.append
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "append", append_or_fail)
        ended = run()
    assert ended.code == 0, ended.said
    assert f"the submission was made, as 1000: https://www.kaggle.com/c/{SLUG}/submissions" in ended.said
    assert f"could not be noted: {error}" in ended.said
    assert "public score 0.99612" in ended.said
    assert (f"noted in {ledger_path}" in ended.said) == (event == "scored")
    assert run().code == 0
    assert len(server.submissions) == 1
    assert [(number(entry), entry.public_score) for entry in ledger.read(ledger_path)] == [(1000, 0.99612)]


def test_without_room_for_a_line_before_the_upload_nothing_is_sent(
    run: Run, server: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger, "append", fail)
    ended = run()
    assert ended.code == 1
    assert "No space left on device" in ended.said
    assert (server.calls["StartSubmissionUpload"], server.submissions) == (0, [])


def test_what_the_ledger_leaves_out_is_said_before_a_submission(
    run: Run, server: KaggleServer, ledger_path: Path
) -> None:
    ledger_path.parent.mkdir(exist_ok=True)
    ledger_path.write_text("half a li\n")
    ended = run()
    assert ended.code == 0
    assert f"warning: {ledger_path}: 1 damaged line is left out: line 1" in ended.said


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_token_with_a_line_break_is_never_printed(
    run: Run, server: KaggleServer, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET + end)
    ended = run()  # which looks for the secret
    assert ended.code == 1
    assert "error: the variable KAGGLE_API_TOKEN: the token ends with a line break" in ended.said
    assert not server.calls


def command(pred: Path, data: Path, notes: Path) -> list[str]:
    """`submit.py` in a process of its own, with shorter pauses between the looks at Kaggle's list."""
    script = (
        "import runpy, sys\n"
        "from kaggle_tools.kaggle_api import submissions\n"
        "submissions.SETTLING_PAUSES = (0.5, 1.5, 3)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    options = (pred, "--data", data, "-m", "mine", "--ledger", notes)
    return [sys.executable, "-c", script, "submit.py", *map(str, options)]


def finish(command: list[str], server: KaggleServer, notes: Path) -> None:
    """Run the command to its end, after which there must be one submission and one row."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "public score 0.99612" in done.stdout
    assert len(server.submissions) == 1
    assert [entry.public_score for entry in ledger.read(notes)] == [0.99612]


SECONDS = 2.0
"""How long Kaggle takes for a call, whose command was killed meanwhile: longer than a first look at the list."""


@pytest.mark.parametrize("call", [pytest.param("PUT", marks=pytest.mark.slow), "CreateSubmission"])
def test_a_submission_killed_while_kaggle_handles_a_call_is_made_once(
    pred: Path, data: Path, server: KaggleServer, ledger_path: Path, call: str
) -> None:
    """The client must end as well, and what it has asked for may take effect seconds later."""
    server.faults[call] = after(SECONDS)
    with subprocess.Popen(command(pred, data, ledger_path), cwd=ROOT, stdout=subprocess.DEVNULL) as killed:
        while not server.calls[call]:
            time.sleep(0.01)
        killed.kill()
    del server.faults[call]
    if call == "PUT":
        time.sleep(2 * SECONDS)
        assert server.calls["CreateSubmission"] == 0
    finish(command(pred, data, ledger_path), server, ledger_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_submission_killed_at_a_random_moment_is_made_once(
    pred: Path, data: Path, server: KaggleServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Each time from the start: killed once at a random moment (`--kills` times), then run to its end."""
    server.faults["CreateSubmission"] = after(0.5)  # so that a kill can come between the request and its effect
    moments = random.Random(0)
    started = time.monotonic()
    finish(command(pred, data, tmp_path / "whole.jsonl"), server, tmp_path / "whole.jsonl")
    takes = time.monotonic() - started
    for kill in range(1 + pytestconfig.getoption("--kills")):
        server.submissions.clear()
        notes = tmp_path / f"{kill}.jsonl"
        with subprocess.Popen(command(pred, data, notes), cwd=ROOT, stdout=subprocess.DEVNULL) as killed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                killed.wait(timeout=moments.uniform(0, takes))
            killed.kill()
        finish(command(pred, data, notes), server, notes)


@pytest.mark.parametrize("what", ["--help", "a dry run"])
def test_submitting_never_imports_torch(pred: Path, data: Path, what: str) -> None:
    arguments = ["--help"] if what == "--help" else [str(pred), "--data", str(data), "--dry-run"]
    watched = (
        "import runpy, sys\n"
        f"sys.argv = ['submit.py', *{arguments}]\n"
        "try:\n"
        "    runpy.run_path('submit.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'cv2', 'pandas'} & sys.modules.keys()))\n"
    )
    done = run_script("-c", watched)
    loaded = "[]" if what == "--help" else "['cv2']"
    assert done.stdout.splitlines()[-1] == f"0 {loaded}", done.stderr


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_masks_that_were_made_of_other_photos_are_named(pred: Path, data: Path) -> None:
    def noting(mask: str, photo: str) -> None:
        content = (data / "test" / f"{photo}.jpg").read_bytes()
        notes = {"photo_sha256": hashlib.sha256(content).hexdigest()}
        write_mask(pred / "masks" / f"{mask}.png", np.eye(20, 30, dtype=bool), notes)

    for number, stem in enumerate(["a_01", "a_02", "b_01"]):
        Image.new("RGB", (30, 20), (100 * number, 0, 0)).save(data / "test" / f"{stem}.jpg")
    noting("a_01", photo="a_01")
    assert "other photos" not in submit(pred, "--data", data, "--dry-run").output  # the two others note none
    noting("a_01", photo="a_02")
    noting("a_02", photo="a_01")
    noting("b_01", photo="b_01")
    warning = (
        f"warning: 2 masks were made of other photos than those in {data}: a_01, a_02; "
        "if photos were replaced or masks exchanged, run `infer` again"
    )
    assert warning in submit(pred, "--data", data, "--dry-run").output.splitlines()
    (data / "test" / "a_01.jpg").unlink()
    (data / "test" / "a_02.jpg").unlink()
    assert "other photos" not in submit(pred, "--data", data, "--dry-run", "--force").output
