"""The folder of predicted masks: what is in it, and whether it may be continued.

PRED/masks/<stem>.png           one bit a pixel, of the photo's own size; beside the pixels what is known of it
PRED/probabilities/<stem>.png   where asked for: the probabilities that the threshold was applied to, 8 bits a pixel
PRED/overlays/<stem>.jpg        where asked for: the photo with the outline of its mask
PRED/run.json                   what made them, and how many there are: a `Record`
PRED/photos.csv                 image,file,area,expected_dice,border_width,agreement,expected_score: the most
                                doubtful first
PRED/report.html                the page to look at
PRED/submission.csv             the checked submission; beside it `submission.csv.gz`, which is uploaded

Knows nothing of torch.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import stem_and_class
from kaggle_tools.competitions.named import require_recorded_classes
from kaggle_tools.data.checks.names import require_usable
from kaggle_tools.data.fingerprint import sha256_of, sha256_of_all
from kaggle_tools.data.images import image_size, read_notes, read_texts
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.results.records.masks import NOTES, PHOTO_COLUMNS, RECORD_FILE, MaskedPhoto, Record
from kaggle_tools.results.scores import NOT_RECORDED
from kaggle_tools.system.files import deny_links, locked, read_csv, read_json, remove_left_behind, write_csv, write_json
from kaggle_tools.system.json_values import changes_of

PHOTOS_FILE = "photos.csv"
REPORT_FILE, SUBMISSION_FILE = "report.html", "submission.csv"
BATCH_SIZE, PRECISION = "batch_size", "precision"
PHOTO_SHA256 = "photo_sha256"
"""What a mask, and a map of probabilities, notes of the photo that it was made of: the SHA-256 of the photo's file."""
LOCK_SECONDS = 30.0
"""How long to wait for a killed command's processes to let go of the folder."""


@dataclass(frozen=True)
class Outputs:
    """What is written of each photo beside its mask."""

    probabilities: bool = False
    overlays: bool = False

    def paths(self, pred: Path, stem: str) -> list[Path]:
        """The files of a photo; the mask last, as it is written last."""
        extra = ((probability_path, self.probabilities), (overlay_path, self.overlays))
        return [*(path_of(pred, stem) for path_of, wanted in extra if wanted), mask_path(pred, stem)]


def masks_folder(pred: Path) -> Path:
    """Where the masks are."""
    return pred / "masks"


def mask_path(pred: Path, stem: str) -> Path:
    """Where the mask of a photo is."""
    return masks_folder(pred) / f"{stem}.png"


def probability_path(pred: Path, stem: str) -> Path:
    """Where the probabilities of a photo are."""
    return pred / "probabilities" / f"{stem}.png"


def overlay_path(pred: Path, stem: str) -> Path:
    """Where the photo with its mask's outline is."""
    return pred / "overlays" / f"{stem}.jpg"


def is_complete(pred: Path, stem: str, outputs: Outputs) -> bool:
    """Whether all files of a photo are there."""
    return all(path.exists() for path in outputs.paths(pred, stem))


def held(pred: Path, process: int = 0) -> AbstractContextManager[None]:
    """Hold the folder while its masks are made, or become a CSV and are sent; raises an InputError as `locked` does."""
    return locked(pred, "masks photos into it, or submits its masks", LOCK_SECONDS, name=f".process{process}.lock")


@contextmanager
def begun(pred: Path, record: Record, process: int = 0) -> Iterator[None]:
    """Hold the folder while masks are made; of several processes that share the work, number 0 writes the record.

    What the record says of scores may change when the folder is continued; its settings may not.

    Raises:
        InputError: other settings or models made the masks that are there, or nobody knows what did, or another
            command is at work in the folder, or it holds something else.
    """
    from kaggle_tools.results.run_folder import require_own_folder  # loads pandas, which `submit` does without

    require_own_folder(pred, RECORD_FILE, [Path(record.photos)] if record.photos else [])
    with held(pred, process):
        path, masks = pred / RECORD_FILE, masks_folder(pred)
        has_masks = any(masks.glob("*.png"))
        if has_masks and not path.exists():
            raise InputError(f"{masks}: holds masks of unknown origin; give another --out")
        if path.exists():  # a batch size that was too large for the first batch may be corrected
            _require_same(pred, record, may_differ=set() if has_masks else {BATCH_SIZE})
        _remove_left_behind(pred)
        if process == 0 and not has_masks:
            write_json(path, record.to_json())
        yield


def photo_note(photo_sha256: str) -> dict[str, str]:
    """The note of the photo that a mask or a map was made of; none where that is not known, which is an empty text."""
    return {PHOTO_SHA256: photo_sha256} if photo_sha256 else {}


def noted_photo(path: Path) -> str:
    """The SHA-256 of the photo that a mask or a map of probabilities was made of.

    Empty where the file notes none, as those of older versions and those that someone edited, or where there is none.

    Raises:
        InputError: it is not an image.
    """
    return read_texts(path).get(PHOTO_SHA256, "") if path.exists() else ""


def is_of_other_photo(mask: Path, photo: Path, hash_of: Callable[[Path], str] = sha256_of) -> bool:
    """Whether a mask notes another photo than the one that is there; not so where one of them is missing.

    `hash_of` gives the SHA-256 of the photo, as it may be known from another of its masks.

    Raises:
        InputError: the photo or the mask cannot be read.
    """
    noted = noted_photo(mask) if photo.exists() else ""
    return noted not in ("", hash_of(photo) if noted else "")


def photos_now(photos: Sequence[Photo]) -> list[str]:
    """The SHA-256 of the photos that are there now.

    Raises:
        InputError: one cannot be read.
    """
    paths = list(dict.fromkeys(photo.path for photo in photos))  # once, however many masks a photo has
    hashes = dict(zip(paths, sha256_of_all(paths, "photos compared with those of the masks"), strict=True))
    return [hashes[photo.path] for photo in photos]


def forget_outdated(
    pred: Path, photos: Sequence[Photo], now: Callable[[Sequence[Photo]], Sequence[str]] = photos_now
) -> list[str]:
    """Delete what was made of other photos than these, and return their stems.

    `now` gives the SHA-256 of photos as they are, empty where it is not known. Of masks that do not note their photo
    those go whose size is another one; one that someone edited stays.

    Raises:
        InputError: a photo, or what was made of it, cannot be read.
    """
    noted = {photo: hashes for photo in photos if (hashes := _noted_photos(pred, photo.stem))}
    known = zip(noted.items(), now(list(noted)), strict=True)
    changed = {photo.stem for (photo, hashes), current in known if current and hashes != {current}}
    changed |= {photo.stem for photo in photos if photo not in noted and _has_other_size(pred, photo)}
    for stem in changed:  # the mask last: until it is gone, all is found again
        for path in Outputs(probabilities=True, overlays=True).paths(pred, stem):
            path.unlink(missing_ok=True)
    return sorted(changed)


def finish(pred: Path, record: Record, photos: Sequence[Photo]) -> int:
    """Record what is known of the masks of these photos, of those that are there, and return how many are."""
    masked = [photo for photo in photos if mask_path(pred, photo.stem).exists()]
    rows = sorted((_row(pred, photo) for photo in masked), key=lambda row: (-row.doubt, row.image))
    has_last = any(row.expected_truth is not None for row in rows)  # else the table is as it was before there was one
    columns = PHOTO_COLUMNS if has_last else PHOTO_COLUMNS[:-1]
    write_csv(pred / PHOTOS_FILE, columns, [[getattr(row, name) for name in columns] for row in rows])
    sizes = Counter(photo.size for photo in masked)
    by_size = {f"{height}x{width}": count for (height, width), count in sorted(sizes.items())}
    write_json(pred / RECORD_FILE, replace(record, count=len(masked), sizes=by_size).to_json())
    return len(masked)


def read_record(pred: Path) -> Record:
    """The contents of `run.json`.

    Raises:
        InputError: it is missing or damaged, or a link leads out of the folder.
    """
    deny_links(pred)
    return read_json(pred / RECORD_FILE, f"is {pred} a folder that `infer --out` made?", Record.from_json)


def record_if_begun(pred: Path) -> Record | None:
    """With what the folder was begun, where it was.

    Raises:
        InputError: the record is damaged.
    """
    return read_record(pred) if (pred / RECORD_FILE).exists() else None


def read_photos(pred: Path) -> list[MaskedPhoto]:
    """The rows of `photos.csv`, the most doubtful first.

    Raises:
        InputError: it is missing, as the folder is not finished, or damaged.
    """
    path = pred / PHOTOS_FILE
    again = "run `infer` again"
    first = "run `infer` to its end first"
    photos = read_csv(path, PHOTO_COLUMNS, _parsed, newer=2, if_missing=first, if_damaged=again)
    require_usable(path, [photo.image for photo in photos], f"the table is damaged; {again}")
    return photos


def photo_files(pred: Path) -> dict[str, Path]:
    """The photo of each mask in a finished folder, by its stem.

    Raises:
        InputError: the folder is not finished.
    """
    return {row.image: row.file for row in read_photos(pred)}


def photo_below(folder: Path, photo: MaskedPhoto, competition: Competition) -> Path | None:
    """Where a masked photo is in this folder: the competition's data, or any photos; None where it is not there."""
    stem = stem_and_class(photo.image, competition)[0]
    paths = (folder / competition.test_photos.format(stem=stem), folder / photo.file.name)
    return next((path for path in paths if path.is_file()), None)


def confident_photos(pred: Path, competition: Competition, confidence: float, data: Path) -> list[Photo]:
    """The photos with their predicted masks, of those with at least this expected score, in the order of their stems.

    Of several classes each mask of a photo must have it.

    Of what a mask's probabilities promise, what these promised too much on the runs' held-out photos is taken off. The
    photos are taken from the folder `data`, or from where they were masked, if they are still the same.

    Raises:
        InputError: the folder is not finished, of another competition, or holds no such photo; or a photo is not the
            one that its mask was made of, or only its path is known.
    """
    record = read_record(pred)
    if record.competition != competition.slug:
        raise InputError(f"{pred}: holds masks of {record.competition}, not of {competition.slug}")
    excess = (record.expected or NOT_RECORDED).excess or 0.0
    require_recorded_classes(pred, competition)
    expected = {row: 1 - row.doubt - excess for row in read_photos(pred)}
    sure = sorted((row for row in expected if expected[row] >= confidence), key=lambda row: row.image)
    if not sure:
        best = min(1.0, max(expected.values(), default=0.0))
        raise InputError(
            f"--extra-confidence {confidence}: no mask in {pred} has an expected {competition.score_name} as high as "
            f"that; the best has {best:.4f}"
        )
    named = {row.image: photo_below(data, row, competition) for row in sure}
    files = {row.image: named[row.image] or row.file for row in sure}
    require_known(pred, {stem: file for stem, file in files.items() if named[stem] is None})
    _require_none_changed(
        pred, [stem for stem, file in named.items() if file and is_of_other_photo(mask_path(pred, stem), file)]
    )
    return [
        _with_masks(pred, competition, stem, files[names[0]])
        for stem in dict.fromkeys(stem_and_class(name, competition)[0] for name in files)
        if files.keys() >= {*(names := competition.names_of(stem))}
    ]


def require_known(pred: Path, photos: Mapping[str, Path], path_of: Callable[[Path, str], Path] = mask_path) -> None:
    """Check that each of these photos, whose paths are only recorded, has the SHA-256 that its mask or map notes.

    A table that a stranger wrote might name any picture of this machine, but who notes its SHA-256 has it already.

    Raises:
        InputError: a photo is another one, or none is noted, or it cannot be read; the photo is named.
    """
    noted = {stem: noted_photo(path_of(pred, stem)) for stem in photos}
    unknown = [stem for stem in photos if not noted[stem]]
    if unknown:
        found = (
            f"{counted(len(unknown), 'photo is', 'photos are')} "
            f"known by their paths alone, without their SHA-256: {first_few(unknown)}"
        )
        raise InputError(f"{pred}: {found}; run `infer` again, into another folder")
    now = sha256_of_all([*photos.values()], "photos compared with those of the masks")
    _require_none_changed(pred, [stem for stem, current in zip(photos, now, strict=True) if noted[stem] != current])


def _with_masks(pred: Path, competition: Competition, stem: str, path: Path) -> Photo:
    """A photo with its predicted masks."""
    size = image_size(path)
    targets = [Photo(name, path, size, mask_path(pred, name)) for name in competition.names_of(stem)]
    return Photo(stem, path, size, of_classes=tuple(targets)) if competition.classes else targets[0]


def _remove_left_behind(pred: Path) -> None:
    """Remove what killed commands left beside masks, probabilities and overlays."""
    for path in Outputs(probabilities=True, overlays=True).paths(pred, ""):
        if path.parent.is_dir():
            remove_left_behind(path.parent)


def _noted_photos(pred: Path, stem: str) -> set[str]:
    return {noted_photo(path_of(pred, stem)) for path_of in (mask_path, probability_path)} - {""}


def _has_other_size(pred: Path, photo: Photo) -> bool:
    path = mask_path(pred, photo.stem)
    return path.exists() and bool(read_notes(path)) and image_size(path) != photo.size


def _require_none_changed(pred: Path, changed: list[str]) -> None:
    if changed:
        found = (
            f"{counted(len(changed), 'mask is', 'masks are')} "
            f"of other photos than those that are there now: {first_few(changed)}"
        )
        raise InputError(f"{pred}: {found}; run `infer` again, which makes them anew")


def _row(pred: Path, photo: Photo) -> MaskedPhoto:
    notes = read_notes(mask_path(pred, photo.stem)).items()
    known = {name: value for name, value in notes if name in NOTES and _is_possible(name, value)}
    return MaskedPhoto(image=photo.stem, file=photo.path.resolve(), **known)


def _parsed(image: str, file: str, *numbers: str) -> MaskedPhoto:
    known = {name: float(number) for name, number in zip(NOTES, numbers, strict=False) if number}
    odd = [name for name, value in known.items() if not _is_possible(name, value)] + ["file"] * ("\0" in file)
    if odd:
        raise ValueError(f"{odd[0]} of {image} cannot be")
    return MaskedPhoto(image=image, file=Path(file), **known)


def _is_possible(note: str, value: float) -> bool:
    return 0 <= value <= (math.inf if note == "border_width" else 1)


def _require_same(pred: Path, record: Record, may_differ: set[str]) -> None:
    begun, now = read_record(pred).settings(), record.settings()
    compared = [name for name in now if name not in may_differ and (name in begun or name != PRECISION)]
    changes = [change for name in compared for change in changes_of(name, begun.get(name), now[name])]
    if changes:
        raise InputError(f"{pred}: begun with other settings ({'; '.join(changes)}). Give those, or another --out.")
