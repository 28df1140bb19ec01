"""What Kaggle lists and what the ledger notes, brought together."""

import errno
import html
from pathlib import Path

import pytest
from click.testing import Result
from kaggle_server import SECRET, SLUG, KaggleServer, say_nothing
from typer.testing import CliRunner

from kaggle_tools.__main__ import app
from kaggle_tools.kaggle_api import ledger
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.results.scores import Estimate, ExpectedScore

pytestmark = pytest.mark.usefixtures("no_secret_in_the_output")

NOTED = Entry("cafe00112233", SLUG, "5 folds", pred="/preds/a", expected=ExpectedScore(Estimate(0.99, None)))


def submissions(*options: object) -> Result:
    return CliRunner().invoke(app, ["submissions", *map(str, options)])


@pytest.fixture
def submitted(server: KaggleServer, ledger_path: Path) -> KaggleServer:
    """A submission at Kaggle that is in the ledger without its number, and one that was made by hand."""
    server.looks_until_scored = 0
    ledger.intend(ledger_path, NOTED)
    server.submit("[cafe00112233] 5 folds")
    server.submit("by hand")
    return server


def test_the_scores_that_kaggle_lists_are_picked_up_and_noted_once(submitted: KaggleServer, ledger_path: Path) -> None:
    for _ in range(2):
        result = submissions()
        assert result.exit_code == 0, result.output
        assert result.output.count("0.99612") == 2
        assert "+0.00612" in result.output
        assert SECRET not in result.output
    (entry,) = ledger.read(ledger_path)
    assert entry.submission == Submission(SLUG, 1000, "[cafe00112233] 5 folds", "COMPLETE", 0.99612, 0.99587)
    assert len(ledger_path.read_text().splitlines()) == 3


def test_submissions_made_elsewhere_are_shown_and_marked_but_not_noted(
    submitted: KaggleServer, ledger_path: Path
) -> None:
    assert submissions().output.count("made elsewhere") == 1
    assert len(ledger.read(ledger_path)) == 1


def test_with_the_option_offline_kaggle_is_not_asked(submitted: KaggleServer) -> None:
    result = submissions("--offline")
    assert result.exit_code == 0
    assert "not at Kaggle, as far as is known" in result.output
    assert not submitted.calls


def test_without_credentials_what_is_noted_is_shown(
    submitted: KaggleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    result = submissions("--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "5 folds" in result.output
    assert "5 folds" in (tmp_path / "page.html").read_text()
    said = " ".join((result.output + capfd.readouterr().err).split())
    assert "https://www.kaggle.com/settings" in said
    assert "Shown is what is noted here." in said
    assert not submitted.calls


def test_where_kaggle_refuses_what_is_noted_is_shown_before_the_error(
    submitted: KaggleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", f"{SECRET}-old")
    result = submissions()
    assert result.exit_code == 1
    assert "5 folds" in result.output
    assert "HTTP 401" in str(result.exception)


def test_without_any_submission_the_table_is_empty(server: KaggleServer, ledger_path: Path) -> None:
    result = submissions()
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == f"nothing is noted in {ledger_path} yet"


def test_submissions_to_other_competitions_are_left_out(ledger_path: Path) -> None:
    ledger.append(ledger_path, "intended", "beef", {"slug": "roof-tiles", "message": "tiles"})
    assert "beef" not in submissions("--offline").output


def test_the_plot_of_submissions_is_written_to_the_file_that_is_named(submitted: KaggleServer, tmp_path: Path) -> None:
    result = submissions("--plot", tmp_path / "plot.png")
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'plot.png'}: 1 submission" in result.output
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_another_ledger_can_be_named(submitted: KaggleServer, tmp_path: Path) -> None:
    assert f"noted in {tmp_path / 'other.jsonl'}" in submissions("--ledger", tmp_path / "other.jsonl").output


@pytest.mark.usefixtures("virtual_time")
def test_a_list_of_submissions_that_never_comes_is_given_up_in_time(submitted: KaggleServer) -> None:
    submitted.faults["ListSubmissions"] = say_nothing
    assert "no answer within 60 seconds" in str(submissions().exception)


def test_an_odd_row_of_kaggles_list_hides_no_other_and_is_shown_as_such(
    submitted: KaggleServer, ledger_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    submitted.submissions[0]["verdict"] = {"status": "COMPLETE", "publicScore": "None"}
    submitted.submit("odd")
    submitted.submissions[2] |= {"verdict": {"status": "ESCALATED"}, "date": None}
    submitted.submissions.append({"ref": "none", "description": "", "date": "", "looks": 0})
    result = submissions("--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    for shown in (result.output, html.unescape((tmp_path / "page.html").read_text())):
        assert shown.count("0.99612") >= 1
        assert "unclear: Kaggle lists publicScore 'None'" in " ".join(shown.split())
        assert "unclear: Kaggle lists status 'ESCALATED'" in " ".join(shown.split())
    assert "warning: 1 row of Kaggle's list is left out, as unreadable" in result.output + capfd.readouterr().err
    assert len(ledger.read(ledger_path)) == 1


def test_what_the_ledger_leaves_out_is_said(ledger_path: Path) -> None:
    ledger.intend(ledger_path, NOTED)
    with ledger_path.open("a") as file:
        file.write("half a li\n")
    assert f"warning: {ledger_path}: 1 damaged line is left out: line 2" in submissions("--offline").output


def test_scores_are_shown_although_the_ledger_cannot_be_written(
    submitted: KaggleServer, ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(ledger, "append", fail)
    result = submissions()
    assert result.exit_code == 0, result.output
    assert result.output.count("0.99612") == 2
    assert "the submission was made, as 1000" in result.output
    assert "could not be noted: [Errno 30] Read-only file system" in result.output


@pytest.mark.usefixtures("starved")
def test_on_a_starved_machine_the_scores_are_picked_up(submitted: KaggleServer) -> None:
    result = submissions()
    assert result.exit_code == 0, result.exception
    assert result.output.count("0.99612") == 2
