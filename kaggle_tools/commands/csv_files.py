"""`check` and `score`: what is in a CSV, without sending it."""

from pathlib import Path
from typing import Annotated

import typer

from kaggle_tools import cli


def score(
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION.csv", help="Plain, .gz or .zip.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="A CSV of true run lengths, or a folder of masks.")],
    per_image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every photo's score to this CSV.", show_default="no")
    ] = None,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Score a submission whose true masks are known."""
    from kaggle_tools.submission.score import score_submission
    from kaggle_tools.system.files import write_text

    spec = cli.competition_named(competition)
    table, unscored = score_submission(submission, truth, spec)
    if per_image:
        write_text(per_image, table.to_csv(index=False, lineterminator="\n"))
    means = table[["score", "dice", "iou"]].mean()
    without = f", {unscored:,} without a known truth left out" if unscored else ""
    print(f"{len(table):,} photos{without}")
    print(f"{spec.score_name} (the competition's score) {means['score']:.5f}")
    print(f"Dice {means['dice']:.5f}, IoU {means['iou']:.5f}")


def check(
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION.csv", help="Plain, .gz or .zip.")],
    sample: Annotated[Path, typer.Option(metavar="FILE", help="The competition's sample submission.")],
    force: Annotated[bool, typer.Option("--force", help="Accept it even if all masks are full, or all blank.")] = False,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Check whether Kaggle would accept a submission, without sending it."""
    from kaggle_tools.submission.check import check_submission

    report = check_submission(submission, sample, cli.competition_named(competition), allow_degenerate=force)
    for warning in report.warnings():
        print(f"warning: {warning}")
    print(f"{submission}: {report.rows:,} masks, nothing wrong")
