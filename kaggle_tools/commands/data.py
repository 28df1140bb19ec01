"""`download`, `unpack`, `draft`, `demo-data`: from nothing to a data folder, and to the file that describes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaggle_tools import cli
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.options import parse_size
from kaggle_tools.system.json_values import MalformedError
from kaggle_tools.system.output import say, warn

if TYPE_CHECKING:
    from kaggle_tools.competitions.competition import Competition


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
    from kaggle_tools.competitions.named import competition_named
    from kaggle_tools.kaggle_api.download import download as fetch

    spec = competition_named(competition)
    to = to or Path("data") / spec.slug
    zips = to / "zips"
    fetch(spec, zips, high_quality=high_quality)
    unpack_and_say(zips, to, spec)
    say(f"{zips} may be deleted now")


def unpack(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC", help='Folder with the competition\'s zip files, or the zip file of "Download All".'
        ),
    ],
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that becomes the data folder.")],
    competition: cli.CompetitionOption = cli.DEFAULT_SLUG,
) -> None:
    """Unpack a competition's zip files that were downloaded by other means."""
    from kaggle_tools.competitions.named import competition_named
    from kaggle_tools.data.archives import lacking

    spec = competition_named(competition)
    unpack_and_say(source, to, spec)
    if names := lacking(to, spec.archives):
        raise InputError(f"{to}: still lacks what is in {', '.join(names)}; put that into {source} and unpack again")


def unpack_and_say(source: Path, to: Path, spec: "Competition") -> None:
    """Unpack all archives that are there, and print what became of each."""
    from kaggle_tools.data.archives import unpack_all

    for name, (written, kept, left_out) in unpack_all(source, to, spec.archives, spec.slug):
        say(f"{name}: {counted(written, 'file')} unpacked" if written else f"{name}: was unpacked before")
        if kept:
            warn(
                f"{to}: {counted(len(kept), 'file differs', 'files differ')} "
                f"from those in {name} and stay as they are: {first_few(kept)}; "
                "to have the archive's, remove them and unpack again"
            )
        if left_out:
            warn(
                f"{name}: {counted(len(left_out), 'file does', 'files do')} "
                f"not belong in it and were left out: {first_few(left_out)}"
            )


def draft(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with what Kaggle delivered, unpacked.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="The file to write.", show_default="SLUG.toml")
    ] = None,
    slug: Annotated[
        str | None,
        typer.Option(help="The last part of the competition's address at Kaggle.", show_default="the folder's name"),
    ] = None,
) -> None:
    """Draft the file that describes a competition from its data, for --competition FILE.toml."""
    from kaggle_tools.competitions.toml_file import as_slug, competition_of, parse_slug
    from kaggle_tools.data.drafting.as_toml import as_toml
    from kaggle_tools.data.drafting.conclusions import Finding, findings
    from kaggle_tools.data.drafting.inventory import inventory_of
    from kaggle_tools.data.drafting.roles import roles_in
    from kaggle_tools.system.files import write_text

    name = as_slug(data.resolve().name) if slug is None else parse_slug("--slug", slug)
    path = out or Path(f"{name}.toml")
    if path.exists():
        raise InputError(f"{path}: is there already; give another --out")
    try:
        inventory = inventory_of(data)
        fields = findings(roles_in(inventory), inventory, name)
        if slug is not None:
            fields["slug"] = Finding(name, "seen", "--slug")
        competition_of({field: found.value for field, found in fields.items()})
    except MalformedError as error:
        raise InputError(f"{data}: {error}") from error
    write_text(path, as_toml(fields, str(data)))
    for field, found in fields.items():
        say(f"{field} = {found.value!r}: {found.how}, {found.why}")
    guessed = [field for field, found in fields.items() if found.how == "guessed"]
    if numbering := [field for field in guessed if field in ("rle_order", "rle_first")]:
        warn(f"{' and '.join(numbering)}: a wrong guess makes all masks of a submission wrong, and no check may see it")
    say(f"{path}: look up {', '.join(guessed)}; then train with --competition {path}")


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
    from kaggle_tools.competitions.named import competition_named
    from kaggle_tools.demo.draw import draw_competition

    spec = competition_named(competition)
    height_width = parse_size("--size", size) if size else None
    demo = draw_competition(
        folder, spec, train_groups=train_groups, test_groups=test_groups, size=height_width, seed=seed
    )
    say(f"{folder}: {counted(len(demo.train_stems), 'photo')} with masks, {len(demo.test_stems):,} to be masked")
    say(f"{demo.hidden_truth}: their true masks, for `score` alone")
