"""Where pages lie, if nobody says otherwise.

What a page of finished folds shows is not replaced by one that says how far further folds are: that lies beside it.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kaggle_tools.results import pred_folder, run_folder

LIVE_FILE = "progress.html"
LIVE_MARK = '<meta name="kaggle-tools-page" content="progress">'
"""In the head of a page that says how far a run is."""
HEAD = 4096
"""Bytes of a page, among which the mark is."""


def place_of(runs: Sequence[Path], pred: Path | None) -> Path:
    """Where the page of runs, or of masks, lies: with what it shows."""
    if pred:
        return pred / pred_folder.REPORT_FILE
    return runs[0] / (run_folder.REPORT_FILE if len(runs) == 1 else run_folder.COMPARISON_FILE)


def live_place(run: Path) -> Path:
    """Where the page lies that says how far a run is: that of finished folds stays."""
    page = run / run_folder.REPORT_FILE
    return run / LIVE_FILE if page.exists() and run_folder.finished_folds(run) and not _is_live(page) else page


def remove_live(run: Path) -> None:
    """Remove the page beside that of finished folds, as the training is over."""
    with suppress(OSError):  # a folder that takes no writes is named where a page is written
        (run / LIVE_FILE).unlink(missing_ok=True)


def _is_live(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return LIVE_MARK.encode() in file.read(HEAD)
    except OSError:
        return False
