"""Which parts a page has, and where it is written."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.report.graphics.pictures import reasons
from kaggle_tools.report.page import Page, write_page
from kaggle_tools.report.parts.comparison import comparison_part
from kaggle_tools.report.parts.masks import masks_part
from kaggle_tools.report.parts.progress import has_begun, progress_part
from kaggle_tools.report.parts.run import run_part
from kaggle_tools.report.parts.submissions import submissions_part
from kaggle_tools.report.places import LIVE_FILE, live_place, place_of
from kaggle_tools.results import run_folder
from kaggle_tools.results.comparison import comparable_neighbours, compare
from kaggle_tools.system.files import locked
from kaggle_tools.system.output import warn

WAIT_SECONDS = 600.0
"""How long other pages of the same run may take."""

LEARNING = ("learning", "Learning curves")
COMPARISON = (("comparison", "Runs side by side"),)
RUN = (
    ("trust", "Can it be trusted?"),
    ("photos", "Where it fails"),
    ("scores", "Photo by photo"),
    ("all", "All held-out photos"),
    ("probabilities", "Threshold and calibration"),
    LEARNING,
    ("made", "How it was made"),
)
PROGRESS = (("folds", "The folds"), ("photos", "Held-out photos"), LEARNING)
MASKS, UNUSUAL, SHEET = ("predictions", "Masks"), ("unusual", "Unusual areas"), ("sheet", "Contact sheet")
DOUBT = ("doubt", "Where they are doubtful")
SUBMISSIONS = (("submissions", "All submissions"),)
"""The sections of each part: their anchors and headings."""


def write_report(
    out: Path | None,
    competition: Competition,
    runs: Sequence[Path],
    pred: Path | None = None,
    data: Path | None = None,
) -> Path:
    """Write the page of a run, of several beside each other, of masks, or of both, and return where it is.

    Of several runs the best is shown in depth. A single run is held against those beside it in its folder, as far
    as they held out the same photos. Of one that has no finished fold yet, the page says how far it is. `data` is where
    the photos are, if not where they were trained on, or masked.

    Raises:
        InputError: there is nothing to show, a run has no finished fold, the runs cannot be compared, or files are
            damaged.
    """
    if not runs and not pred:
        raise InputError("give the folder of a run, several to compare, or --pred PRED")
    if out and (not out.name or out.is_dir()):
        raise InputError(f"--out {out}: is a folder; name a file in it")
    if data and not data.is_dir():
        raise InputError(f"--data {data}: no such folder")
    if len(runs) == 1 and not pred and is_unfinished(runs[0]):
        return write_progress(runs[0], competition, out)
    # Folds of one run may end at the same time on several machines: the last page must be that of all.
    with locked(runs[0], run_folder.WRITES, WAIT_SECONDS) if runs and not out else nullcontext():
        beside = _beside(runs)
        compared = compare(beside, competition) if len(beside) > 1 else None
        shown = compared.best if compared and len(runs) > 1 else 0
        run = run_part(runs[shown], competition, data) if runs else None
        masks = masks_part(pred, competition, data) if pred else None
        named = [one.resolve().name for one in runs] + ([f"masks in {pred.resolve().name}"] if pred else [])
        out = out or place_of(runs, pred)
        if out.is_dir():
            raise InputError(f"{out}: is a folder, where the page shall be; move it away, or give --out FILE")
        page = Page(
            title=first_few(named),
            kind=_kind(competition),
            line="; ".join(part.line for part in (run, masks) if part),
            contents=[
                *(COMPARISON if compared and len(runs) > 1 else ()),
                *(section for section in RUN if run and (run.learning_plots or section != LEARNING)),
                *(COMPARISON if compared and len(runs) == 1 else ()),
                *((MASKS, DOUBT, *((UNUSUAL,) if competition.has_groups else ()), SHEET) if masks else ()),
            ],
            comparison=comparison_part(compared, shown, data, of_one=len(runs) == 1) if compared else None,
            run=run,
            masks=masks,
        )
        write_page(out, page)
        _say_not_shown(page, data)
    return out


def _say_not_shown(page: Page, data: Path | None) -> None:
    """Say which photos the page lacks, for each reason how many."""
    parts = [part.galleries for part in (page.comparison, page.run, page.masks) if part]
    shown = {
        (picture.stem, picture.errors): picture for of_part in parts for one in of_part for picture in one.pictures
    }
    for count, reason in reasons(shown.values()):
        elsewhere = "" if data else "; if the photos have moved, name their folder by `report --data DIR`"
        warn(f"{counted(count, 'photo')} cannot be shown on the page, such as {reason}{elsewhere}")


def is_unfinished(run: Path) -> bool:
    """Whether there is nothing to show of a run but how far it is."""
    return has_begun(run) and not run_folder.finished_folds(run)


def write_progress(
    run: Path,
    competition: Competition,
    out: Path | None = None,
    *,
    since: float | None = None,
    asked: Sequence[int] | None = None,
) -> Path:
    """Write the page of a run that is not finished, and return where it is: beside that of finished folds.

    `since` is a time, in seconds since 1970, after which folds that are being trained have said so; `asked` are the
    folds that are to be trained, where that is known.

    Raises:
        InputError: files are damaged.
    """
    out = out or live_place(run)
    part = progress_part(run, competition, since, asked)
    shown = {"folds": True, "photos": bool(part.shots), "learning": bool(part.learning_plots)}
    page = Page(
        title=run.resolve().name,
        kind=_kind(competition),
        line=part.line,
        contents=[(anchor, heading) for anchor, heading in PROGRESS if shown[anchor]],
        progress=part,
        beside=run_folder.REPORT_FILE if out == run / LIVE_FILE else "",
    )
    write_page(out, page)
    return out


def write_submissions(out: Path, competition: Competition, entries: Sequence[Entry]) -> None:
    """Write the page of all submissions."""
    page = Page(
        title="Submissions",
        kind=_kind(competition),
        line="Cross-validation against leaderboard",
        contents=SUBMISSIONS,
        submissions=submissions_part(entries),
    )
    write_page(out, page)


def _kind(competition: Competition) -> str:
    return f"kaggle_tools, {competition.title}"


def _beside(runs: Sequence[Path]) -> list[Path]:
    return [*runs, *comparable_neighbours(runs[0])] if len(runs) == 1 else list(runs)
