"""The parts that a page has, put together and written."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from kaggle_tools.competition import Competition
from kaggle_tools.errors import first_few, require
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.report.page import write_page
from kaggle_tools.report.parts.comparison import comparison_part
from kaggle_tools.report.parts.masks import prediction_part
from kaggle_tools.report.parts.run import run_part
from kaggle_tools.report.parts.submissions import submissions_part
from kaggle_tools.results.comparison import comparable_neighbours, compare
from kaggle_tools.results.run_folder import WRITES
from kaggle_tools.system.files import locked

WAIT_SECONDS = 600.0
"""How long other pages of the same run may take."""
REPORT_FILE, COMPARISON_FILE = "report.html", "comparison.html"

SECTIONS = {
    "comparison": [("comparison", "Runs side by side")],
    "run": [
        ("trust", "Can it be trusted?"),
        ("photos", "Where it fails"),
        ("scores", "Photo by photo"),
        ("probabilities", "Threshold and calibration"),
        ("learning", "How it learned"),
        ("made", "How it was made"),
    ],
    "predictions": [("predictions", "Masks"), ("unusual", "Unusual areas"), ("sheet", "Contact sheet")],
    "submissions": [("submissions", "All submissions")],
}
"""What leads to each part's sections: their anchors, and words."""


def write_report(
    out: Path | None,
    competition: Competition,
    runs: Sequence[Path],
    pred: Path | None = None,
    data: Path | None = None,
) -> Path:
    """Write the page of a run, of several beside each other, of masks, or of both, and return where it is.

    Of several runs the best is shown in depth. A single run is held against those beside it in its folder, as far
    as they held out the same photos. `data` is where the photos are, if not where they were in the training.

    Raises:
        InputError: there is nothing to show, a run has no finished fold, the runs cannot be compared, or files are
            damaged.
    """
    require(bool(runs or pred), "name a RUN, several to compare, or --pred PRED: what the page shall show")
    require(out is None or (bool(out.name) and not out.is_dir()), f"--out {out}: is a folder; name a file in it")
    require(data is None or data.is_dir(), f"--data {data}: no such folder")
    # Folds of one run may end at the same time on several machines: the last page must be that of all.
    with locked(runs[0], WRITES, WAIT_SECONDS) if runs and not out else nullcontext():
        beside = _beside(runs)
        compared = compare(beside, competition) if len(beside) > 1 else None
        shown = compared.best if compared and len(runs) > 1 else 0
        run = run_part(runs[shown], competition, data) if runs else None
        predictions = prediction_part(pred, competition) if pred else None
        named = [one.resolve().name for one in runs] + ([f"masks in {pred.resolve().name}"] if pred else [])
        out = out or _default_path(runs, pred)
        _write(
            out,
            competition,
            title=first_few(named),
            line="; ".join(part.line for part in (run, predictions) if part),
            comparison=comparison_part(compared, shown, data) if compared else None,
            run=run,
            predictions=predictions,
        )
    return out


def write_submissions(out: Path, competition: Competition, entries: Sequence[Entry]) -> None:
    """Write the page of all submissions."""
    part = submissions_part(entries)
    _write(out, competition, title="Submissions", line="Cross-validation against leaderboard", submissions=part)


def _write(out: Path, competition: Competition, **values: object) -> None:
    parts = {name: values.pop(name, None) for name in SECTIONS}
    contents = [section for name, part in parts.items() if part for section in SECTIONS[name]]
    if not competition.has_groups:
        contents = [(anchor, heading) for anchor, heading in contents if anchor != "unusual"]
    write_page(out, kind=f"kaggle_tools, {competition.title}", contents=contents, **values, **parts)


def _beside(runs: Sequence[Path]) -> list[Path]:
    return [*runs, *comparable_neighbours(runs[0])] if len(runs) == 1 else list(runs)


def _default_path(runs: Sequence[Path], pred: Path | None) -> Path:
    if pred:
        return pred / REPORT_FILE
    return runs[0] / (REPORT_FILE if len(runs) == 1 else COMPARISON_FILE)
