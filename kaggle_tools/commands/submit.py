"""From a folder of masks to a place on the leaderboard: encode, check, compress, upload, wait for the score.

python submit.py PRED --data data/carvana -m "U-Net, 5 folds, hflip"
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import InputError, LeaderboardError
from kaggle_tools.system.files import sha256

if TYPE_CHECKING:
    from kaggle_tools.competition import Competition
    from kaggle_tools.kaggle_api.ledger import Entry
    from kaggle_tools.results.provenance import Record


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
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Submit even if all masks are full, or all blank, or of unusual size, or the same CSV was "
            "submitted from elsewhere or without success.",
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="The longest that the upload and the score may take, in seconds."),
    ] = 3600,
    ledger: cli.LedgerOption = None,
    slug: cli.RecordedCompetitionOption = None,
) -> None:
    """Turn the masks of PRED into a checked CSV, submit it to Kaggle and print its score.

    Writes PRED/submission.csv, its compressed form, and a line for each step of the submission into the ledger.
    Run again, the same command finds its own submission instead of making another.
    """
    if not message and not dry_run:
        raise InputError('give -m "…": Kaggle shows it beside the score, so say what made these masks')
    from kaggle_tools.kaggle_api.ledger import default_path

    record, path = recorded(pred), ledger or default_path()
    competition = cli.agreed_competition(slug, {pred: record.competition} if record else {})
    if not dry_run and not force:
        refuse_demo(data)
    packed = prepare(pred, competition, data, sample, force)
    entry = entry_for(pred, record, competition, message)
    print_estimate(entry, path)
    if dry_run:
        print("dry run: nothing was sent")
    else:
        send(packed, entry, path, timeout, force=force, wait=not no_wait)


def recorded(pred: Path) -> "Record | None":
    """What PRED/run.json says of the masks; None in a folder that holds nothing but masks.

    Raises:
        InputError: it is damaged.
    """
    from kaggle_tools.results import pred_folder

    return pred_folder.read_record(pred) if (pred / pred_folder.RECORD_FILE).exists() else None


def refuse_demo(data: Path | None) -> None:
    """Keep masks of drawn photos, whose ids Kaggle does not know, from using up a submission.

    Raises:
        InputError: `data` is a drawn demo.
    """
    from kaggle_tools.demo.draw import SETTINGS_FILE

    if data and (data / SETTINGS_FILE).exists():
        raise InputError(f"{data}: a drawn demo, which Kaggle does not know; use --dry-run, then `score`")


def prepare(pred: Path, competition: "Competition", data: Path | None, sample: Path | None, force: bool) -> Path:
    """Write and check PRED/submission.csv, say what is in it, and return its compressed form.

    Raises:
        InputError: the options, the masks or what they make are not fit to be submitted.
    """
    from kaggle_tools.submission.check import check_submission
    from kaggle_tools.submission.write import compress, compressed_path, size_of_photos, write_submission

    csv, ids = pred / "submission.csv", listed_ids(data, sample, competition)
    lookup = size_of_photos(data, competition.test_photos) if data else lambda _: None
    usual = None if force else competition.photo_size
    compressed_path(csv).unlink(missing_ok=True)  # it is of the masks as they were before
    sizes = write_submission(pred / "masks", ids, csv, competition, size_of=lambda stem: lookup(stem) or usual)
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


def entry_for(pred: Path, record: "Record | None", competition: "Competition", message: str) -> "Entry":
    """What the ledger is to know of the submission."""
    from kaggle_tools.kaggle_api.ledger import Entry
    from kaggle_tools.kaggle_api.submit_once import id_of
    from kaggle_tools.results.provenance import Record
    from kaggle_tools.results.scores import ExpectedScore
    from kaggle_tools.system.version import commit

    csv_sha256 = sha256(pred / "submission.csv")
    record = record or Record(competition=competition.slug)
    unknown = ExpectedScore(None, f"{pred} does not record the out-of-fold scores of its networks")
    return Entry(
        id=id_of(competition.slug, csv_sha256),
        slug=competition.slug,
        message=message,
        sha256=csv_sha256,
        pred=str(pred.resolve()),
        runs=record.runs,
        cross_validation=[run.to_json() for run in record.cross_validation],
        estimate=(record.expected or unknown).to_json(),
        threshold=record.threshold,
        tta=record.tta,
        tta_scales=list(record.tta_scales),
        commit=commit(),
    )


def print_estimate(entry: "Entry", path: Path) -> None:
    """Print what score is to be expected, and the best one so far."""
    from kaggle_tools.kaggle_api.ledger import read

    if "score" in entry.estimate:
        low, high = entry.estimate.get("interval") or (None, None)
        interval = (
            f" (95 % interval {low:.5f} to {high:.5f})" if low is not None else " (one group of photos: no interval)"
        )
        print(f"expected leaderboard score: {entry.estimate['score']:.5f}{interval}, from the out-of-fold photos")
    else:
        print(f"expected leaderboard score: unavailable, as {entry.estimate['unavailable']}")
    scores = [other.public_score for other in read(path) if other.slug == entry.slug and other.public_score is not None]
    print(f"best public score so far: {max(scores)}" if scores else f"no public score so far in {path}")


def send(packed: Path, entry: "Entry", path: Path, timeout: float, *, force: bool, wait: bool) -> None:
    """Submit the CSV, unless the same command has done so before, and print what becomes of it.

    Raises:
        InputError: the same CSV was submitted from another folder or under another message.
        LeaderboardError: Kaggle did not take it, or cannot score it.
    """
    from kaggle_tools.kaggle_api import submit_once

    deadline = time.monotonic() + timeout
    entry, before = submit_once.submit_once(packed, entry, path, force=force, timeout=timeout)
    how = "was submitted before, as" if before else "submitted as"
    print(f"{how} {entry.ref}: https://www.kaggle.com/c/{entry.slug}/submissions")
    print(f"noted in {path}")
    if wait:
        entry = submit_once.wait_for_score(path, entry, timeout=deadline - time.monotonic())
    print_score(entry, deadline)


def print_score(entry: "Entry", deadline: float) -> None:
    """Print what Kaggle says, which may be that there is no score yet.

    Raises:
        LeaderboardError: Kaggle could not score the file.
    """
    from kaggle_tools.kaggle_api import submit_once

    if entry.status == "ERROR":
        reason = entry.error or "it does not say why"
        raise LeaderboardError(
            f"Kaggle could not score the submission: {reason}. To submit the same CSV again: --force"
        )
    if not entry.status:
        print("Kaggle has not scored it yet; `python -m kaggle_tools submissions` will pick the score up")
        return
    scores = [f"{score}" if score is not None else "not shown" for score in (entry.public_score, entry.private_score)]
    print(f"public score {scores[0]}, private score {scores[1]}")
    place = submit_once.rank(entry, timeout=deadline - time.monotonic())
    if place:
        print(f"that would be rank {place[0]:,} of {place[1]:,}")
