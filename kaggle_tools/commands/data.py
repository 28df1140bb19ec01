"""`download`, `unpack`, `demo-data`: from nothing to a data folder."""

from pathlib import Path
from typing import Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.options import parse_size


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
    """Download a competition's data from Kaggle and unpack it. The same command continues an interrupted download."""
    from kaggle_tools.kaggle_api.download import download as fetch

    spec = cli.competition_named(competition)
    to = to or Path("data") / spec.slug
    zips = to / "zips"
    fetch(spec, zips, high_quality=high_quality)
    unpack(zips, to, competition)
    print(f"{zips} may be deleted now")


def unpack(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the competition's zip files.")],
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that becomes the data folder.")],
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Unpack a competition's zip files that were downloaded by other means."""
    from kaggle_tools.data import archives

    wanted = cli.competition_named(competition).archives
    found = archives.find(source, wanted)
    if missing := archives.missing(found, wanted):
        print(f"warning: {source} lacks {', '.join(missing)}")
    for file, archive in found:
        written = archives.unpack(file, to, archive.into)
        print(f"{file.name}: {written:,} files unpacked" if written else f"{file.name}: was unpacked before")


def demo_data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that becomes the data folder.")],
    train_groups: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Groups with masks (a group is one car with all its photos).",
            show_default="enough for the demo",
        ),
    ] = None,
    test_groups: Annotated[
        int | None,
        typer.Option(min=1, help="Groups to be masked.", show_default="enough for the demo"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Size of the photos in pixels.", show_default="the size that suits the demo"),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same photos.")] = 0,
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Draw a small competition in Kaggle's layout, and the true masks of its test photos for `score`."""
    from kaggle_tools.demo.draw import draw_competition

    spec = cli.competition_named(competition)
    height_width = parse_size("--size", size) if size else None
    demo = draw_competition(
        folder, spec, train_groups=train_groups, test_groups=test_groups, size=height_width, seed=seed
    )
    print(f"{folder}: {len(demo.train_stems):,} photos with masks, {len(demo.test_stems):,} to be masked")
    print(f"{demo.hidden_truth}: their true masks, for `score` alone")
