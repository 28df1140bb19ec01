"""The folder of predicted masks: what is in it, and whether it may be continued.

PRED/masks/<stem>.png           one bit a pixel, of the photo's own size
PRED/probabilities/<stem>.png   where asked for: the probabilities from which the mask was cut, 8 bits a pixel
PRED/overlays/<stem>.jpg        where asked for: the photo with the outline of its mask
PRED/run.json                   what made them: runs, TTA, threshold, sizes, count
PRED/photos.csv                 image,file,area,expected_dice,border_width,agreement: the most doubtful first

Knows nothing of torch.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kaggle_tools.competition import Competition
from kaggle_tools.data.images import image_size, read_notes
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, require
from kaggle_tools.system.files import locked, read_json, replacing, write_json

RECORD_FILE, PHOTOS_FILE = "run.json", "photos.csv"
NUMBERS = ["area", "expected_dice", "border_width", "agreement"]
PHOTO_COLUMNS = ["image", "file", *NUMBERS]
MASKS = "masks"
PathOf = Callable[[Path, str], Path]
"""Where something about a photo is, from PRED and the photo's stem."""
COUNT, BATCH_SIZE = "count", "batch_size"
NOTHING: Mapping[str, Any] = MappingProxyType({})
LOCK_SECONDS = 30.0
"""How long to wait for a killed command's processes to let go of the folder."""


def mask_path(pred: Path, stem: str) -> Path:
    """Where the mask of a photo is."""
    return pred / MASKS / f"{stem}.png"


def probability_path(pred: Path, stem: str) -> Path:
    """Where the probabilities of a photo are."""
    return pred / "probabilities" / f"{stem}.png"


def overlay_path(pred: Path, stem: str) -> Path:
    """Where the photo with its mask's outline is."""
    return pred / "overlays" / f"{stem}.jpg"


def outputs(probabilities: bool, overlays: bool) -> tuple[PathOf, ...]:
    """What there is to be for each photo, by where it is; the mask last, as it is written last."""
    extra = ((probability_path, probabilities), (overlay_path, overlays))
    return (*(path_of for path_of, wanted in extra if wanted), mask_path)


def is_complete(pred: Path, stem: str, wanted: Sequence[PathOf]) -> bool:
    """Whether all that is wanted of a photo is there."""
    return all(path_of(pred, stem).exists() for path_of in wanted)


@contextmanager
def begun(pred: Path, settings: dict[str, Any], process: int = 0, known: Mapping[str, Any] = NOTHING) -> Iterator[None]:
    """Hold the folder while masks are made; of several processes that share the work, number 0 writes the record.

    `known` is recorded with the settings, but may change when the folder is continued.

    Raises:
        InputError: other settings or models made the masks that are there, or nobody knows what did, or another
            command is at work in the folder.
    """
    with locked(pred, "masks photos into it", LOCK_SECONDS, name=f".process{process}.lock"):
        path = pred / RECORD_FILE
        has_masks = any((pred / MASKS).glob("*.png"))
        require(path.exists() or not has_masks, f"{pred / MASKS}: holds masks of unknown origin; give another --out")
        if path.exists():  # a batch size that was too large for the first batch may be corrected
            _require_same(pred, {name: settings[name] for name in settings if has_masks or name != BATCH_SIZE})
        if process == 0 and not has_masks:
            write_json(path, {**settings, **known, COUNT: None})
        yield


def finish(pred: Path, settings: dict[str, Any], photos: Sequence[Photo], known: Mapping[str, Any] = NOTHING) -> int:
    """Record what is known of the masks of these photos, of those that are there, and return how many are."""
    masked = [photo for photo in photos if mask_path(pred, photo.stem).exists()]
    rows = [
        {"image": photo.stem, "file": str(photo.path.resolve()), **read_notes(mask_path(pred, photo.stem))}
        for photo in masked
    ]
    rows.sort(key=lambda row: (row.get("expected_dice", 0.0), row["image"]))  # none in a mask that someone has edited
    with replacing(pred / PHOTOS_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, PHOTO_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    sizes = Counter(photo.size for photo in masked)
    by_size = {f"{height}x{width}": count for (height, width), count in sorted(sizes.items())}
    write_json(pred / RECORD_FILE, {**settings, **known, COUNT: len(masked), "sizes": by_size})
    return len(masked)


def recorded_batch_size(pred: Path) -> int | None:
    """With which batch size the folder was begun, where it was: the bits of a mask may depend on it.

    Raises:
        InputError: the record is damaged.
    """
    return read_record(pred).get(BATCH_SIZE) if (pred / RECORD_FILE).exists() else None


def runs_in(record: dict[str, Any]) -> list[str]:
    """The names of the runs whose networks made the masks, through blends as well."""
    named = [model["run"] for model in record.get("models", [])]
    named += [run for blended in record.get("blend", []) for run in runs_in(blended)]
    return list(dict.fromkeys(named))


def photo_files(pred: Path) -> dict[str, Path]:
    """The photo of each mask in a finished folder, by its stem.

    Raises:
        InputError: the folder is not finished.
    """
    return {row["image"]: Path(row["file"]) for row in read_photos(pred)}


def confident_photos(pred: Path, competition: Competition, expected_dice: float) -> list[Photo]:
    """The photos with their predicted masks, of those with at least this expected Dice, in the order of their stems.

    Raises:
        InputError: the folder is not finished, of another competition, or holds no such photo.
    """
    slug = read_record(pred)["competition"]
    require(slug == competition.slug, f"{pred}: holds masks of {slug}, not of {competition.slug}")
    expected = _expected_dice(pred)
    sure = sorted(photo for photo, dice in expected.items() if dice >= expected_dice)
    best = max(expected.values(), default=0)
    require(bool(sure), f"{pred}: no mask has an expected Dice of {expected_dice}; the best has {best:.4f}")
    return [Photo(stem, Path(file), image_size(Path(file)), mask_path(pred, stem)) for stem, file in sure]


def _require_same(pred: Path, settings: dict[str, Any]) -> None:
    begun = read_record(pred)
    now = json.loads(json.dumps(settings))  # as the record has it, with lists for tuples
    changes = [change for name in now for change in _changes(name, begun.get(name), now[name])]
    if changes:
        raise InputError(f"{pred}: begun with other settings ({'; '.join(changes)}). Give those, or another --out.")


def _changes(name: str, before: Any, now: Any) -> Iterator[str]:
    """What differs, named as deep as both go alike: `models[0].sha256 was …, now …`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            yield from _changes(f"{name}.{key}", before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for at, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _changes(f"{name}[{at}]", old, new)
    elif before != now:
        yield f"{name} was {_short(before)}, now {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _expected_dice(pred: Path) -> dict[tuple[str, str], float]:
    """By photo, its stem and its file; 0 for a mask that someone has edited."""
    return {(row["image"], row["file"]): row["expected_dice"] or 0.0 for row in read_photos(pred)}


def read_photos(pred: Path) -> list[dict[str, Any]]:
    """The rows of `photos.csv`, the most doubtful first; a number is None where the mask's file holds none.

    Raises:
        InputError: it is missing, as the folder is not finished, or damaged.
    """
    path = pred / PHOTOS_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            require(table.fieldnames == PHOTO_COLUMNS, f"{path}: not a table of {','.join(PHOTO_COLUMNS)}")
            rows: list[dict[str, Any]] = list(table)
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; run infer.py to its end first") from error
    require(all(None not in row.values() for row in rows), f"{path}: damaged (a line breaks off); run infer.py again")
    try:
        return [row | {name: float(row[name]) if row[name] else None for name in NUMBERS} for row in rows]
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); run infer.py again") from error


def read_record(pred: Path) -> dict[str, Any]:
    """The contents of `run.json`.

    Raises:
        InputError: it is missing or damaged.
    """
    path = pred / RECORD_FILE
    record = read_json(path, if_missing=f"is {pred} a folder that infer.py --out made?")
    require("competition" in record, f"{path}: damaged (no competition in it)")
    return record
