"""`python -m kaggle_tools COMMAND`: everything around training, inference and submission."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import require

if TYPE_CHECKING:
    from rich.table import Table

    from kaggle_tools.competition import Competition

app = cli.new_app()

TURNED = 6
"""So many runs at most stand beside each other; more of them beneath each other."""
WIDE = 200
"""Characters in a line of a table that does not go to a terminal."""


@app.callback(no_args_is_help=True)
def commands() -> None:
    """Download the data, draw a demo, blend predictions, check and score a submission, look at runs and submissions."""


@app.command()
def download(
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that becomes the data folder.", show_default="data/SLUG"),
    ] = None,
    high_quality: Annotated[
        bool, typer.Option("--high-quality", help="Also the larger archives that come only on request.")
    ] = False,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Download a competition's data from Kaggle and unpack it. Interrupted, the same command goes on."""
    from kaggle_tools.kaggle_api import client

    spec = cli.competition_named(competition)
    to = to or Path("data") / spec.slug
    zips = to / "zips"
    client.download(spec, zips, high_quality=high_quality)
    unpack_into(zips, to, spec)
    print(f"{zips} may be deleted now")


@app.command()
def unpack(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the competition's zip files.")],
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that becomes the data folder.")],
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Unpack a competition's zip files that were downloaded by other means."""
    unpack_into(source, to, cli.competition_named(competition))


def unpack_into(source: Path, to: Path, spec: "Competition") -> None:
    """Unpack all of the competition's archives that lie in `source`."""
    from kaggle_tools.data import archives

    found = archives.find(source, spec.archives)
    missing = [archive.name for archive in spec.archives if not archive.on_request]
    missing = [name for name in missing if name not in {archive.name for _, archive in found}]
    if missing:
        print(f"warning: {source} lacks {', '.join(missing)}")
    for file, archive in found:
        written = archives.unpack(file, to, archive.into)
        print(f"{file.name}: {written:,} files unpacked" if written else f"{file.name}: was unpacked before")


@app.command("demo-data")
def demo_data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that becomes the data folder.")],
    train_groups: Annotated[
        int | None,
        typer.Option(min=1, help="Groups (cars, each of 16 photos) with masks.", show_default="12 cars, 240 salt"),
    ] = None,
    test_groups: Annotated[
        int | None,
        typer.Option(min=1, help="Groups to be masked.", show_default="4 cars, 80 salt"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Size of the photos in pixels.", show_default="cars 320x479, salt 101x101"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same photos.")] = 0,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Draw a small competition in Kaggle's layout, with the truth about its test photos aside."""
    from kaggle_tools.demo.draw import draw_competition

    spec = cli.competition_named(competition)
    height_width = cli.parse_size("--size", size) if size else None
    demo = draw_competition(
        folder, spec, train_groups=train_groups, test_groups=test_groups, size=height_width, seed=seed
    )
    print(f"{folder}: {len(demo.train_stems):,} photos with masks, {len(demo.test_stems):,} to be masked")
    print(f"{demo.hidden_truth}: their true masks, for `score` alone")


@app.command()
def blend(
    preds: Annotated[
        list[Path], typer.Argument(metavar="PRED...", help="Folders that infer.py made with --save-probabilities.")
    ],
    out: Annotated[Path, typer.Option(metavar="PRED", help="Folder of the masks; an interrupted one is continued.")],
    weights: Annotated[
        str | None, typer.Option(metavar="2,1,…", help="How much each PRED counts.", show_default="all alike")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Foreground from this probability on.")] = 0.5,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read probabilities.")] = cli.DEFAULT_WORKERS,
    save_probabilities: Annotated[
        bool, typer.Option("--save-probabilities", help="Keep the mean probabilities.")
    ] = False,
    overlays: Annotated[bool, typer.Option("--overlays", help="Draw the outlines on the photos, to look at.")] = False,
) -> None:
    """Mask photos by the mean of probabilities that were predicted before, on other days or machines."""
    counts = cli.parse_numbers("--weights", weights) if weights else (1.0,) * len(preds)
    require(len(counts) == len(preds), f"--weights {weights}: {len(preds)} folders need {len(preds)} weights")
    require(0 < threshold < 1, f"--threshold {threshold}: must be between 0 and 1")

    from kaggle_tools.inference import blend
    from kaggle_tools.results import pred_folder

    outputs = pred_folder.outputs(save_probabilities, overlays)
    masks = blend.blend(preds, counts, out, outputs, threshold=threshold, workers=workers)
    print(f"{out}: {masks:,} masks")


@app.command()
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
    table = score_submission(submission, truth, spec)
    if per_image:
        write_text(per_image, table.to_csv(index=False, lineterminator="\n"))
    means = table[["score", "dice", "iou"]].mean()
    without = f", {table.attrs['unscored']:,} without a known truth left out" if table.attrs["unscored"] else ""
    print(f"{len(table):,} photos{without}")
    print(f"{spec.score_name} (the competition's score) {means['score']:.5f}")
    print(f"Dice {means['dice']:.5f}, IoU {means['iou']:.5f}")


@app.command()
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


@app.command()
def submissions(
    offline: Annotated[bool, typer.Option("--offline", help="Show what is noted, without asking Kaggle.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw cross-validation against leaderboard.", show_default="no"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page to look at.", show_default="no")
    ] = None,
    ledger: cli.LedgerOption = None,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Show all submissions, those made elsewhere too, with the scores that Kaggle lists now."""
    from kaggle_tools.kaggle_api import overview, submit_once
    from kaggle_tools.kaggle_api.ledger import default_path, read

    path, spec = ledger or default_path(), cli.competition_named(competition)
    noted = [entry for entry in read(path) if entry.slug == spec.slug]
    entries = noted if offline else submit_once.pick_up_scores(path, noted, spec.slug)
    show(overview.table(entries).for_terminal())
    print(f"noted in {path}" if path.exists() else f"nothing is noted in {path} yet")
    if plot:
        print(f"{plot}: {overview.plot(entries, plot):,} submissions")
    if html:
        from kaggle_tools.report.writing import write_submissions

        write_submissions(html, spec, entries)
        print(f"page: {html}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that train.py made.")],
    competition: cli.RecordedCompetitionOption = None,
) -> None:
    """Show runs side by side, on the same held-out photos; `report` makes a page of it."""
    from kaggle_tools.results import comparison

    compared = comparison.compare(runs, recorded_competition(competition, runs))
    table = comparison.table(compared)
    show(table.turned_for_terminal() if len(runs) <= TURNED else table.for_terminal())
    print(compared.in_words())


@app.command()
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Folders that train.py made; the best of several is shown in depth."),
    ] = None,
    pred: Annotated[
        Path | None, typer.Option(metavar="PRED", help="Masks that infer.py made, shown as well.", show_default="none")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page.",
            show_default="PRED/report.html, RUN/report.html, or of several comparison.html in the first",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the training photos are.", show_default="where they were in training"),
    ] = None,
    competition: cli.RecordedCompetitionOption = None,
) -> None:
    """Write a page to look at: how good, how sure, where it fails, whether better than others."""
    from kaggle_tools.report.writing import write_report

    runs = runs or []
    spec = recorded_competition(competition, runs, pred)
    print(f"page: {write_report(out, spec, runs, pred, data)}")


def recorded_competition(given: str | None, runs: list[Path], pred: Path | None = None) -> "Competition":
    """The competition that the runs, and the masks if there are any, record."""
    from kaggle_tools.results import pred_folder, run_folder

    recorded = {run: run_folder.read_settings(run)["competition"] for run in runs}
    if pred:
        recorded[pred] = pred_folder.read_record(pred)["competition"]
    return cli.agreed_competition(given, recorded)


def show(table: "Table") -> None:
    """Print a table: on a terminal in its width, elsewhere in one that breaks few lines."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


if __name__ == "__main__":
    cli.run(app)
