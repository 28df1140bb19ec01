"""Mask photos with trained networks: runs and photos in, one PNG for each photo out.

The way of a photo: decoded, resized -> logits of every network in every flip -> probabilities, flipped
back and averaged -> its own size -> threshold -> mask file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaggle_tools import cli
from kaggle_tools.errors import InputError
from kaggle_tools.presets import Tta

if TYPE_CHECKING:
    from kaggle_tools.competition import Competition
    from kaggle_tools.prediction import Member

app = cli.new_app()


@app.command(no_args_is_help=True)
def infer(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders that train.py made; they are averaged.")
    ],
    out: Annotated[Path, typer.Option(metavar="PRED", help="Folder of the masks; an interrupted one is continued.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with the competition's data: its test photos.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of --data: any folder of photos.")] = None,
    fold: Annotated[
        list[int] | None,
        typer.Option(metavar="K", help="Use only this fold of the runs; may be repeated.", show_default="all folds"),
    ] = None,
    tta: Annotated[Tta, typer.Option(help="Flips over which probabilities are averaged.")] = "hflip",
    threshold: Annotated[
        str,
        typer.Option(metavar="auto|P", help="Foreground from this probability on; auto: the run's out-of-fold best."),
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that go through the network together.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load photos.")] = cli.DEFAULT_WORKERS,
    competition: cli.RecordedCompetitionOption = None,
) -> None:
    """Mask photos with trained networks, at the photos' own size."""
    from kaggle_tools import pred_folder
    from kaggle_tools.images import photos_in, photos_to_mask, write_mask
    from kaggle_tools.prediction import best_device, load_members, mask_notes, predict
    from kaggle_tools.progress import track

    members = load_members(runs, fold, best_device())
    spec = cli.agreed_competition(competition, {member.folder: member.card.competition for member in members})
    if data and not images:
        photos = photos_to_mask(spec, data)
    elif images and not data:
        photos = photos_in(images)
    else:
        raise InputError("give either --data DIR or --images DIR: where the photos are")
    cut = choose_threshold(threshold, runs, fold, spec, data)
    settings = {
        "competition": spec.slug,
        "photos": str((data or images or out).resolve()),
        "models": [describe(member) for member in members],
        "tta": tta,
        "threshold": cut,
    }
    pred_folder.begin(out, settings)
    missing = [photo for photo in photos if not pred_folder.mask_path(out, photo.stem).exists()]
    print(
        f"{len(missing):,} of {len(photos):,} photos to mask with {len(members)} models, TTA {tta}, threshold {cut:.4g}"
    )
    predictions = predict(members, missing, tta=tta, batch_size=batch_size, workers=workers)
    for photo, probability_HW in track(predictions, len(missing), "masks"):
        mask_HW = probability_HW >= cut
        notes = mask_notes(probability_HW, mask_HW)
        write_mask(pred_folder.mask_path(out, photo.stem), mask_HW.cpu().numpy(), notes)
    pred_folder.finish(out, settings, photos)
    print(f"{out}: {len(photos):,} masks")


def choose_threshold(
    given: str, runs: list[Path], folds: list[int] | None, spec: "Competition", data: Path | None
) -> float:
    """The threshold that is given, or the best on the out-of-fold photos where these can tell it.

    A mix of runs is mixed on its out-of-fold photos as well, if their probabilities were saved; their true
    masks are then looked for where the first run was trained, or else in `data`.

    Raises:
        InputError: it is neither `auto` nor a probability.
    """
    from kaggle_tools import run_folder
    from kaggle_tools.images import training_photos
    from kaggle_tools.out_of_fold import has_probabilities, mix_threshold
    from kaggle_tools.summary import summarise

    if given != "auto":
        return cli.parse_probability("--threshold", given)
    if len(runs) == 1 and run_folder.finished_folds(runs[0]):
        return summarise(runs[0], spec)["threshold"]
    if len(runs) > 1 and all(has_probabilities(run) for run in runs):
        trained_on = Path(run_folder.read_config(runs[0])["data"])
        photos = training_photos(spec, trained_on if trained_on.is_dir() else data or trained_on)
        models_per_run = [len(folds) if folds else len(run_folder.trained_folds(run)) for run in runs]
        return mix_threshold(runs, models_per_run, spec, photos)[0]
    why = "a mix of runs without --save-oof-probabilities" if len(runs) > 1 else f"no out-of-fold photos in {runs[0]}"
    print(f"threshold: {run_folder.DEFAULT_THRESHOLD}, as the best is not known for {why}")
    return run_folder.DEFAULT_THRESHOLD


def describe(member: "Member") -> dict[str, Any]:
    """What PRED/run.json says of a model: enough to know whether another one is the same."""
    from kaggle_tools.files import sha256
    from kaggle_tools.model import WEIGHTS_FILE

    return {
        "run": member.folder.resolve().parent.name,
        "fold": member.card.fold,
        "model": member.card.architecture.name,
        "image_size": member.card.image_size,
        "sha256": sha256(member.folder / WEIGHTS_FILE),
    }


if __name__ == "__main__":
    cli.run(app)
