"""The folder of predicted masks: what is in it, and whether it may be continued.

PRED/masks/<stem>.png   one bit a pixel, of the photo's own size
PRED/run.json           what made them: runs, TTA, threshold, sizes, count
PRED/photos.csv         image,file,area,expected_dice: the most doubtful first

Knows nothing of torch.
"""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaggle_tools.competition import Competition
from kaggle_tools.errors import InputError, require
from kaggle_tools.files import read_json, replacing, write_json
from kaggle_tools.images import Photo, image_size, read_notes

RECORD_FILE, PHOTOS_FILE = "run.json", "photos.csv"
PHOTO_COLUMNS = ["image", "file", "area", "expected_dice"]
COUNT = "count"


def mask_path(pred: Path, stem: str) -> Path:
    """Where the mask of a photo is."""
    return pred / "masks" / f"{stem}.png"


def begin(pred: Path, settings: dict[str, Any]) -> None:
    """Record what makes the masks, or check that the same made those that are there already.

    Raises:
        InputError: other settings or models did, or masks of unknown origin are there.
    """
    path = pred / RECORD_FILE
    if not path.exists():
        if any((pred / "masks").glob("*.png")):
            raise InputError(f"{pred / 'masks'}: holds masks of unknown origin; give another --out")
        write_json(path, {**settings, COUNT: None})
        return
    begun = read_record(pred)
    changes = [
        f"{name} was {begun.get(name)}, now {settings[name]}"
        for name in settings
        if begun.get(name) != json.loads(json.dumps(settings[name]))
    ]
    if changes:
        raise InputError(f"{pred}: begun with other settings ({'; '.join(changes)}). Give those, or another --out.")


def finish(pred: Path, settings: dict[str, Any], photos: Sequence[Photo]) -> None:
    """Record that the masks of all these photos are there, and what is known of each."""
    rows = [
        {"image": photo.stem, "file": str(photo.path.resolve()), **read_notes(mask_path(pred, photo.stem))}
        for photo in photos
    ]
    rows.sort(key=lambda row: (row.get("expected_dice", 0.0), row["image"]))  # none in a mask that someone has edited
    with replacing(pred / PHOTOS_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, PHOTO_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    sizes = Counter(photo.size for photo in photos)
    by_size = {f"{height}x{width}": count for (height, width), count in sorted(sizes.items())}
    write_json(pred / RECORD_FILE, {**settings, COUNT: len(photos), "sizes": by_size})


def confident_photos(pred: Path, competition: Competition, expected_dice: float) -> list[Photo]:
    """The photos with their predicted masks, of those with at least this expected Dice, in the order of their stems.

    Raises:
        InputError: the folder is not finished, of another competition, or holds no such photo.
    """
    slug = read_record(pred)["competition"]
    require(slug == competition.slug, f"{pred}: holds masks of {slug}, not of {competition.slug}")
    expected = {
        (row["image"], row["file"]): float(row["expected_dice"] or 0) for row in _read_photos(pred / PHOTOS_FILE)
    }
    sure = sorted(photo for photo, dice in expected.items() if dice >= expected_dice)
    best = max(expected.values(), default=0)
    require(bool(sure), f"{pred}: no mask has an expected Dice of {expected_dice}; the best has {best:.4f}")
    return [Photo(stem, Path(file), image_size(Path(file)), mask_path(pred, stem)) for stem, file in sure]


def _read_photos(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            require(rows.fieldnames == PHOTO_COLUMNS, f"{path}: not a table of {','.join(PHOTO_COLUMNS)}")
            return list(rows)
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run infer.py to its end first") from error


def read_record(pred: Path) -> dict[str, Any]:
    """The contents of `run.json`.

    Raises:
        InputError: it is missing or damaged.
    """
    path = pred / RECORD_FILE
    record = read_json(path, if_missing=f"is {pred} a folder that infer.py --out made?")
    require("competition" in record, f"{path}: damaged (no competition in it)")
    return record
