from pathlib import Path

import pytest
from known_competitions import CARVANA
from unfinished_runs import NOON, progress, write_unfinished_run

from kaggle_tools.report.places import live_place, place_of, remove_live
from kaggle_tools.report.writing import write_progress, write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """One fold is finished, another one is being trained."""
    return write_unfinished_run(tmp_path / "run", {1: progress(3, 10)}, {0: {"b_01": (3, 0)}})


def test_pages_lie_with_what_they_show() -> None:
    one, other = Path("runs/one"), Path("runs/other")
    assert place_of([one], None) == one / "report.html"
    assert place_of([one, other], None) == one / "comparison.html"
    assert place_of([one], Path("pred")) == Path("pred/report.html")


def test_how_far_a_run_is_replaces_itself_but_not_the_page_of_finished_folds(run: Path) -> None:
    for _ in range(2):
        assert write_progress(run, CARVANA, since=NOON) == run / "report.html"
    assert write_report(None, CARVANA, [run]) == run / "report.html"
    whole = (run / "report.html").read_text()
    assert write_progress(run, CARVANA, since=NOON) == run / "progress.html"
    assert (run / "report.html").read_text() == whole
    link = '<a href="report.html">report.html</a>'
    assert link in (run / "progress.html").read_text()
    assert link not in write_progress(run, CARVANA, run.parent / "elsewhere.html").read_text()


def test_a_page_of_whatever_kind_is_replaced_as_long_as_no_fold_is_finished(tmp_path: Path) -> None:
    begun = write_unfinished_run(tmp_path / "begun", {0: progress(3, 10)})
    (begun / "report.html").write_text("by an older version")
    assert live_place(begun) == begun / "report.html"


def test_the_page_of_a_training_that_is_over_is_removed_once_or_was_never_there(run: Path) -> None:
    (run / "progress.html").touch()
    for _ in range(2):
        remove_live(run)
        assert not (run / "progress.html").exists()
