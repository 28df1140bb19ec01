"""From a folder of masks to a place on the leaderboard: encode, check, compress, upload, wait for the score.

python submit.py PRED --data data/carvana -m "U-Net, 5 folds, hflip"
"""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import InputError, LeaderboardError
from kaggle_tools.files import sha256, write_json

if TYPE_CHECKING:
    from kaggle_tools.competition import Competition
    from kaggle_tools.leaderboard import Submission

app = cli.new_app()


@app.command(no_args_is_help=True)
def submit(
    pred: Annotated[
        Path, typer.Argument(metavar="PRED", help="The folder that holds masks/<stem>.png, as infer.py writes it.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The competition's data: its sample submission lists the ids, and where its test photos are there, "
            "each mask must have its photo's size.",
        ),
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of --data: a CSV that lists the ids to be submitted.")
    ] = None,
    message: Annotated[
        str,
        typer.Option(
            "-m", "--message", metavar="TEXT", help="What Kaggle shows beside the score; only --dry-run does without."
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write and check the CSV, but send nothing.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the score.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Submit even if all masks are full, or all blank.")] = False,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="The longest that the upload and the score may take, in seconds."),
    ] = 3600,
    slug: cli.RecordedCompetitionOption = None,
) -> None:
    """Turn the masks of PRED into a checked CSV, submit it to Kaggle and print its score.

    Writes PRED/submission.csv, its compressed form, and, once submitted, PRED/submitted.json with the score.
    """
    if not message and not dry_run:
        raise InputError('give -m "…": Kaggle shows it beside the score, so say what made these masks')
    competition = competition_of(pred, slug)
    packed = prepare(pred, competition, data, sample, force)
    if dry_run:
        print("dry run: nothing was sent")
    else:
        send(pred, packed, competition, message, timeout, wait=not no_wait)


def competition_of(pred: Path, slug: str | None) -> "Competition":
    """The competition that PRED/run.json records; a folder with nothing but masks may be for any.

    Raises:
        InputError: run.json is damaged, or names another competition than `slug`.
    """
    from kaggle_tools import pred_folder

    path = pred / pred_folder.RECORD_FILE
    recorded = {path: pred_folder.read_record(pred)["competition"]} if path.exists() else {}
    return cli.agreed_competition(slug, recorded)


def prepare(pred: Path, competition: "Competition", data: Path | None, sample: Path | None, force: bool) -> Path:
    """Write and check PRED/submission.csv, say what is in it, and return its compressed form.

    Raises:
        InputError: the options, the masks or what they make are not fit to be submitted.
    """
    from kaggle_tools.checking import check_submission
    from kaggle_tools.submission import compress, size_of_photos, write_submission

    csv, ids = pred / "submission.csv", listed_ids(data, sample, competition)
    photo_size = size_of_photos(data, competition.test_photos) if data else None
    sizes = write_submission(pred / "masks", ids, csv, competition, size_of=photo_size)
    try:
        report = check_submission(csv, ids, competition, size_of=sizes.get, allow_degenerate=force)
    except InputError:
        csv.unlink()  # what is called submission.csv has passed the check
        raise
    packed = compress(csv)
    print(f"{competition.title}: {report.rows:,} masks, {report.blank:,} of them blank")
    for warning in report.warnings():
        print(f"warning: {warning}")
    for path in (csv, packed):
        print(f"{path}: {path.stat().st_size:,} bytes")
    return packed


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


def send(pred: Path, packed: Path, competition: "Competition", message: str, timeout: float, *, wait: bool) -> None:
    """Upload the CSV and keep PRED/submitted.json up to date about what becomes of it.

    Raises:
        LeaderboardError: Kaggle did not take it, or cannot score it.
    """
    from kaggle_tools import leaderboard

    deadline = time.monotonic() + timeout
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "message": message,
        "sha256": sha256(pred / "submission.csv"),
    }
    submission = leaderboard.submit(packed, competition.slug, message, timeout=timeout)
    write_json(pred / "submitted.json", record | asdict(submission))
    print(f"submitted as {submission.ref}: https://www.kaggle.com/c/{competition.slug}/submissions")
    if wait:
        submission = leaderboard.wait_for_score(submission, timeout=deadline - time.monotonic())
        write_json(pred / "submitted.json", record | asdict(submission))
        print_score(submission)


def print_score(submission: "Submission") -> None:
    """Print what Kaggle says, which may be that there is no score yet.

    Raises:
        LeaderboardError: Kaggle could not score the file.
    """
    if submission.status == "ERROR":
        raise LeaderboardError(f"Kaggle could not score the submission: {submission.error or 'it does not say why'}")
    if not submission.finished:
        print("Kaggle took it but has not scored it yet; the page above will show the score")
        return
    print(f"public score {submission.public_score}, private score {submission.private_score}")


if __name__ == "__main__":
    cli.run(app)
