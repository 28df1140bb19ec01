"""From a folder of masks to a place on the leaderboard: encode, check, compress, upload, wait for the score.

kaggle-tools submit PRED --data data/carvana -m "U-Net, 5 folds, hflip"
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import InputError, LeaderboardError, counted, first_few
from kaggle_tools.options import finite
from kaggle_tools.system.output import say, warn

if TYPE_CHECKING:
    from kaggle_tools.competitions.competition import Competition
    from kaggle_tools.kaggle_api.client import Deadline
    from kaggle_tools.kaggle_api.ledger import Entry
    from kaggle_tools.kaggle_api.submissions import Submission
    from kaggle_tools.kaggle_api.submit_once import Made
    from kaggle_tools.results.records.masks import Record
    from kaggle_tools.submission.write import Written


def submit(
    pred: Annotated[Path, typer.Argument(metavar="PRED", help="Folder with masks/<stem>.png, as `infer` writes it.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The competition's data: its sample submission lists the ids. Each mask must have its photo's size, "
            "if the folder holds the test photos.",
        ),
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of --data: a CSV that lists the ids to be submitted.")
    ] = None,
    message: Annotated[
        str,
        typer.Option(
            "-m",
            "--message",
            metavar="TEXT",
            help="What Kaggle shows beside the score; required unless --dry-run is given.",
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write and check the CSV, but send nothing.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the score.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Submit even if all masks are full, or blank, or the sample submission's, or of unusual size, or the "
            "same CSV was submitted from elsewhere or without success.",
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            callback=finite,
            help="The longest that the upload and the score may take, in seconds.",
        ),
    ] = 3600,
    ledger: cli.LedgerOption = None,
    slug: cli.RecordedCompetitionOption = None,
) -> None:
    """Turn the masks of PRED into a checked CSV, submit it to Kaggle and print its score.

    Writes PRED/submission.csv, its compressed form, and a line for each step of the submission into the ledger.
    Run again, the same command finds its own submission instead of making another.
    """
    if not message.strip() and not dry_run:
        raise InputError('give -m "…": Kaggle shows it beside the score, so say what made these masks')
    from kaggle_tools.competitions.named import agreed_competition
    from kaggle_tools.kaggle_api.client import Deadline
    from kaggle_tools.kaggle_api.ledger import default_path
    from kaggle_tools.kaggle_api.submit_once import entry_of, submit_once
    from kaggle_tools.results.pred_folder import SUBMISSION_FILE, held, masks_folder
    from kaggle_tools.submission.write import write_checked

    record, path = recorded(pred), ledger or default_path()
    competition = agreed_competition(slug, {pred: record.competition} if record else {}, to_score=False)
    if competition.notebooks_only:
        point_to_notebooks(competition, dry_run=dry_run)
    if not dry_run and not force:
        refuse_demo(data)
    ids = listed_ids(data, sample, competition)
    if not pred.is_dir():
        raise InputError(f"{pred}: no such folder; `infer` writes it")
    with held(pred):  # so that what is sent is what was checked
        written = write_checked(masks_folder(pred), ids, pred / SUBMISSION_FILE, competition, data=data, force=force)
        print_written(written, competition)
        warn_of_other_photos(written.of_other_photos, data)
        entry = entry_of(pred, written.csv, record, competition, message)
        say(f"expected leaderboard score: {expected(entry)}")
        print_noted(path, competition)
        if dry_run:
            say("dry run: nothing was sent")
            return
        deadline = Deadline.after(timeout)
        made = submit_once(written.packed, entry, path, force=force, timeout=deadline.left)
    print_made(made, path)
    submission = made.submission if no_wait else scored(made, path, deadline)
    print_score(submission, deadline)


def recorded(pred: Path) -> "Record | None":
    """What PRED/run.json says of the masks; None in a folder that holds nothing but masks.

    Raises:
        InputError: it is damaged, or a link leads out of the folder.
    """
    from kaggle_tools.results.pred_folder import read_record
    from kaggle_tools.results.records.masks import RECORD_FILE
    from kaggle_tools.system.files import deny_links

    if (pred / RECORD_FILE).exists():
        return read_record(pred)
    deny_links(pred)
    return None


def refuse_demo(data: Path | None) -> None:
    """Keep masks of drawn photos, whose ids Kaggle does not know, from using up a submission.

    Raises:
        InputError: `data` is a drawn demo.
    """
    from kaggle_tools.demo.draw import SETTINGS_FILE

    if data and (data / SETTINGS_FILE).exists():
        raise InputError(f"{data}: a drawn demo, which Kaggle does not know; use --dry-run, then `score`")


def point_to_notebooks(competition: "Competition", *, dry_run: bool) -> None:
    """Say what to do where Kaggle takes the outputs of notebooks alone.

    Raises:
        InputError: the CSV was to be sent.
    """
    advice = (
        f"{competition.title} takes notebooks only, and no CSV from elsewhere. Make a notebook at Kaggle with RUN as "
        "a dataset, run `infer` there, write submission.csv with `submit --dry-run`, and submit the notebook"
    )
    if not dry_run:
        raise InputError(f"{advice}; docs/notebooks.md has the cells. Here --dry-run writes and checks the CSV")
    warn(advice)


def listed_ids(data: Path | None, sample: Path | None, competition: "Competition") -> Path:
    """The sample submission, whose ids are to be submitted.

    Raises:
        InputError: not exactly one of the two options is given.
    """
    if sample and not data:
        return sample
    if data and not sample:
        return data / competition.sample_submission
    raise InputError("give either --data DIR or --sample FILE: it lists the ids to be submitted")


def print_written(written: "Written", competition: "Competition") -> None:
    """Print what is in the CSV, and the sizes of the two files."""
    report = written.report
    say(f"{competition.title}: {counted(report.rows, 'mask')}, {report.blank:,} of them blank")
    for warning in [*report.warnings(competition), *written.ambiguous_masks()]:
        warn(warning)
    for path in (written.csv, written.packed):
        say(f"{path}: {path.stat().st_size:,} bytes")


def warn_of_other_photos(others: list[str], data: Path | None) -> None:
    """Say which masks were made of other photos than those that are in the data folder, where masks note theirs."""
    if others:
        found = (
            f"{counted(len(others), 'mask was', 'masks were')} "
            f"made of other photos than those in {data}: {first_few(others)}"
        )
        warn(f"{found}; if photos were replaced or masks exchanged, run `infer` again")


def expected(entry: "Entry") -> str:
    """The score that the out-of-fold photos predict for the masks, or why it is not known, in words."""
    if entry.expected.estimate is None:
        return f"unavailable, as {entry.expected.unavailable}"
    score, interval = entry.expected.estimate
    known = "95 % interval {:.5f} to {:.5f}".format(*interval) if interval else "one group of photos: no interval"
    return f"{score:.5f} ({known}), from the out-of-fold photos"


def print_noted(path: Path, competition: "Competition") -> None:
    """Print the best public score of the ledger, and what of it cannot be read."""
    from kaggle_tools.kaggle_api.ledger import best_public_score, left_out

    best = best_public_score(path, competition.slug)
    say(f"no public score so far in {path}" if best is None else f"best public score so far: {best}")
    for warning in left_out(path):
        warn(warning)


def print_made(made: "Made", path: Path) -> None:
    """Print where Kaggle shows the submission, and where it is noted, if it is."""
    from kaggle_tools.kaggle_api.submissions import page_of

    how = "was submitted before, as" if made.before else "submitted as"
    say(f"{how} {made.submission.ref}: {page_of(made.submission.slug)}")
    if made.noted:
        say(f"noted in {path}")


def scored(made: "Made", path: Path, deadline: "Deadline") -> "Submission":
    """The submission once Kaggle has scored it, which is noted, or as it is when the time is up.

    Raises:
        LeaderboardError: Kaggle refused to list the submissions.
    """
    from kaggle_tools.kaggle_api.submissions import wait_for_score
    from kaggle_tools.kaggle_api.submit_once import note_if_possible

    submission = wait_for_score(made.submission, timeout=deadline.left)
    note_if_possible(path, made.entry, submission)
    return submission


def print_score(submission: "Submission", deadline: "Deadline") -> None:
    """Print what Kaggle says, which may be that there is no score yet.

    Raises:
        LeaderboardError: Kaggle could not score the file.
    """
    from kaggle_tools.kaggle_api.submissions import rank

    if submission.status == "ERROR":
        reason = submission.error or "it does not say why"
        raise LeaderboardError(
            f"Kaggle could not score the submission: {reason}. To submit the same CSV again: --force"
        )
    if submission.odd:
        warn(f"not all that Kaggle lists of the submission is understood: {submission.odd}")
    if not submission.finished:
        say("Kaggle has not scored it yet; `python -m kaggle_tools submissions` will pick the score up")
        return
    both = (submission.public_score, submission.private_score)
    public, private = ("not shown" if score is None else score for score in both)
    say(f"public score {public}, private score {private}")
    if found := rank(submission, timeout=deadline.left):
        say(f"that would be rank {found.place:,} of {found.of:,}")
