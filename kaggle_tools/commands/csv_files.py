"""`check` and `score`: what is in a CSV, without sending it."""

from pathlib import Path
from typing import Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import counted
from kaggle_tools.system.output import say, warn


def score(
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION.csv", help="Plain, .gz or .zip.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="A CSV of true run lengths, or a folder of masks.")],
    per_image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every photo's score to this CSV.", show_default="no")
    ] = None,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Score a submission whose true masks are known."""
    from kaggle_tools.competitions.named import competition_named
    from kaggle_tools.submission.score import score_submission
    from kaggle_tools.system.files import write_text

    spec = competition_named(competition)
    table, unscored, whole = score_submission(submission, truth, spec)
    if per_image:
        write_text(per_image, table.to_csv(index=False, lineterminator="\n"))
    means = table[["dice", "iou"]].mean()
    without = f", {unscored:,} without a known truth left out" if unscored else ""
    say(f"{counted(len(table), 'mask' if spec.classes else 'photo')}{without}")
    say(f"{spec.score_name} (the competition's score) {whole:.5f}")
    say(", ".join(f"{name} {means[column]:.5f}" for name, column in spec.further_scores.items()))


def check(
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION.csv", help="Plain, .gz or .zip.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The competition's data: its sample submission lists the ids, its photos say how large masks are.",
        ),
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of --data: the competition's sample submission.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Accept it even if all masks are full, or blank, or the sample submission's."),
    ] = False,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Check whether Kaggle would accept a submission, without sending it."""
    from kaggle_tools.commands.submit import listed_ids
    from kaggle_tools.competitions.named import competition_named
    from kaggle_tools.submission.check import check_submission
    from kaggle_tools.submission.write import size_of_photos

    spec = competition_named(competition)
    size_of = size_of_photos(data, spec) if data else None
    ids = listed_ids(data, sample, spec)
    report = check_submission(submission, ids, spec, size_of=size_of, data=data, allow_degenerate=force)
    for warning in report.warnings(spec):
        warn(warning)
    found = "nothing that Kaggle would refuse" if report.numbering else "nothing wrong"
    say(f"{submission}: {counted(report.rows, 'mask')}, {found}")
