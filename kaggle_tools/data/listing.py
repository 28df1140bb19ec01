"""Which photos and masks there are in a folder, and whether they fit each other; only the files' headers are read."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.checks.names import (
    PHOTO_SUFFIXES,
    files_by_stem,
    found_instead,
    photo_files,
    photos_below,
    refuse_other_spellings,
    require_usable_names,
)
from kaggle_tools.data.images import Size, image_size, read_mask, read_photo
from kaggle_tools.data.run_length_masks import mask_files
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.system.processes import CORES
from kaggle_tools.system.progress import track

UNREADABLE = "unreadable"
NAMED = 20
"""So many unreadable files are named at once."""


@dataclass(frozen=True)
class Photo:
    """A photo and, where it is known, its mask."""

    stem: str
    """The file name without its extension: by it a photo is known everywhere."""
    path: Path
    size: Size
    """(height, width) in pixels."""
    mask: Path | None = None
    of_classes: tuple["Photo", ...] = ()
    """Where there are several classes the photo for each of them, with its mask, and called by that mask's name."""

    @property
    def targets(self) -> tuple["Photo", ...]:
        """What is to be masked: the photo for each class, or where there is but one kind of mask the photo itself."""
        return self.of_classes or (self,)


def targets_of(photos: Iterable[Photo]) -> list[Photo]:
    """What is to be masked in all of these photos."""
    return [target for photo in photos for target in photo.targets]


def training_photos(competition: Competition, folder: Path) -> list[Photo]:
    """The training photos with their masks, in the order of their stems.

    Raises:
        InputError: no photos, or photos or masks that are missing, unpaired, unreadable or differ in size, or names
            that cannot be used; one message names the first few of each kind.
    """
    photos = _files_by_stem(folder, competition, competition.train_photos)
    masks = _masks_by_stem(folder, competition, photos)
    names = {name for stem in photos for name in competition.names_of(stem)}
    is_blank = ", which is all black where nothing is there" if competition.blank_usual or competition.classes else ""
    problems = {
        f"without a mask{is_blank} ({competition.train_masks})": sorted(names - masks.keys()),
        f"masks without a photo ({competition.train_photos})": sorted(masks.keys() - names),
        f"not named like {competition.stem_format}": sorted(stem for stem in photos if not _fits(competition, stem)),
    }
    pairs, unreadable, unequal = [], [], []
    whole = [stem for stem in sorted(photos) if masks.keys() >= {*competition.names_of(stem)}]
    for stem in whole:
        photo_size = _size_or_none(photos[stem])
        unreadable += [] if photo_size else [photos[stem].name]
        for name in competition.names_of(stem):
            mask_size = _size_or_none(masks[name])
            unreadable += [] if mask_size else [masks[name].name]
            if photo_size and mask_size and photo_size != mask_size:
                unequal.append(f"{name} ({_text(photo_size)} and {_text(mask_size)})")
        if photo_size:
            pairs.append(_photo(competition, stem, photos[stem], photo_size, masks))
    if unreadable:  # then all that cannot be read are named at once, not only those whose header is damaged
        groups = [(photos[stem], [masks[name] for name in competition.names_of(stem)]) for stem in whole]
        unreadable = _unreadable(groups)
    problems[UNREADABLE] = [*dict.fromkeys(unreadable)]  # a photo once, however many masks it has
    problems["whose photo and mask differ in size"] = unequal
    _refuse(folder, problems)
    return pairs


def photos_to_mask(competition: Competition, folder: Path) -> tuple[list[Photo], list[str]]:
    """The photos to be masked, in the order of their stems, and what is wrong with those that cannot be read.

    Raises:
        InputError: there are none, or their names cannot be used.
    """
    return _readable(competition, _files_by_stem(folder, competition, competition.test_photos))


def photos_in(folder: Path, competition: Competition | None = None) -> tuple[list[Photo], list[str]]:
    """All photos that lie directly in a folder, in the order of their stems, and what is wrong with the unreadable.

    `competition` says which classes there are to mask in them; without it there is but one kind of mask.

    Raises:
        InputError: there is no such folder, no photo in it, two differ only in their extension, or their names cannot
            be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = photo_files(folder.iterdir())
    if not paths:
        below = photos_below(folder)
        instead = f", but in {below} below it; subfolders are not searched, so give one of them" if below else ""
        raise InputError(f"{folder}: no photos ({', '.join(sorted(PHOTO_SUFFIXES))}) in it{instead}")
    by_stem = {path.stem: path for path in paths}
    if len(by_stem) < len(paths):
        twice = sorted({path.name for path in paths} - {path.name for path in by_stem.values()})
        raise InputError(f"{folder}: photos that differ only in their extension would share a mask: {first_few(twice)}")
    require_usable_names(folder, _names(competition, by_stem))
    return _readable(competition, by_stem)


def folders_of(photos: Iterable[Photo]) -> set[Path]:
    """The folders in which photos and their masks lie."""
    return {path.parent for photo in targets_of(photos) for path in (photo.path, photo.mask) if path}


def _masks_by_stem(folder: Path, competition: Competition, photos: dict[str, Path]) -> dict[str, Path]:
    """The files of the training masks, by their names."""
    if not competition.masks_are_run_lengths:
        return {
            f"{stem}{of_class}": path
            for of_class, pattern in competition.by_class(competition.train_masks).items()
            for stem, path in _files_by_stem(folder, competition, pattern).items()
        }
    sizes = {stem: size for stem, path in photos.items() if (size := _size_or_none(path))}
    unreadable = {stem: path for stem, path in photos.items() if stem not in sizes}
    files = mask_files(competition, folder / competition.train_masks, sizes, unreadable)
    return files | {name: path for stem, path in unreadable.items() for name in competition.names_of(stem)}


def _photo(competition: Competition | None, stem: str, path: Path, size: Size, masks: Mapping[str, Path]) -> Photo:
    """A photo with those of its masks that there are."""
    if not (competition and competition.classes):
        return Photo(stem, path, size, masks.get(stem))
    of_classes = (Photo(name, path, size, masks.get(name)) for name in competition.names_of(stem))
    return Photo(stem, path, size, of_classes=tuple(of_classes))


def _files_by_stem(folder: Path, competition: Competition, pattern: str) -> dict[str, Path]:
    by_stem = files_by_stem(folder, pattern)
    if not by_stem:
        instead = found_instead(folder, pattern) or (
            f"is {folder} the folder with the data of {competition.title}? For another competition, give --competition "
            "(from then on the run knows its own)"
        )
        raise InputError(f"{folder / pattern.replace('{stem}', '*')}: no such files; {instead}")
    require_usable_names(folder, _names(competition, by_stem))
    refuse_other_spellings(folder, pattern, list(by_stem.values()))
    return by_stem


def _names(competition: Competition | None, stems: Iterable[str]) -> list[str]:
    """What the masks of photos are called: of each photo the longest name."""
    return [max(competition.names_of(stem), key=len) if competition else stem for stem in stems]


def _readable(competition: Competition | None, paths: dict[str, Path]) -> tuple[list[Photo], list[str]]:
    photos, unreadable = [], []
    for stem in sorted(paths):
        try:
            photos.append(_photo(competition, stem, paths[stem], image_size(paths[stem]), {}))
        except InputError as error:
            unreadable.append(str(error))
    return photos, unreadable


def _size_or_none(path: Path) -> Size | None:
    try:
        return image_size(path)
    except InputError:
        return None


def _unreadable(groups: list[tuple[Path, list[Path]]]) -> list[str]:
    """The names of all photos and masks that cannot be decoded as a whole, from each photo with its masks."""
    with ThreadPoolExecutor(CORES) as pool:
        found = list(track(pool.map(lambda group: _damaged(*group), groups), len(groups), "damaged files looked for"))
    return [name for names in found for name in names]


def largest_size(photos: Sequence[Photo]) -> Size:
    """The (height, width) of the photo with the most pixels."""
    return max((photo.size for photo in photos), key=math.prod)


def _damaged(photo: Path, masks: Iterable[Path]) -> list[str]:
    names: list[str] = []
    readers: list[tuple[Path, Callable[[Path], object]]] = [(photo, read_photo), *((mask, read_mask) for mask in masks)]
    for path, read in readers:
        try:
            read(path)
        except InputError:
            names.append(path.name)
    return names


def _fits(competition: Competition, stem: str) -> bool:
    try:
        competition.group_and_view(stem)
    except ValueError:
        return False
    return True


def _refuse(folder: Path, problems: dict[str, list[str]]) -> None:
    found = [
        f"  {len(names):,} {what}: {first_few(names, NAMED if what == UNREADABLE else 3)}"
        for what, names in problems.items()
        if names
    ]
    if found:
        raise InputError("\n".join([f"{folder}: repair or remove these files first", *found]))


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
