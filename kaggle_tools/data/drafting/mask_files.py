"""The training masks that are files: of few colours, and named after their photos, or after these and classes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaggle_tools.data.drafting.ids import Ids
from kaggle_tools.data.drafting.inventory import Images, Inventory
from kaggle_tools.data.images import has_few_colours

FEW_COLOURS = 16
"""Photos have thousands."""


@dataclass(frozen=True)
class MaskFiles:
    """One for each mask of the training photos."""

    pattern: str
    """Their names below the data folder: `masks/{stem}_mask.gif`, or with classes `masks/{class}/{stem}.png`."""
    by_id: dict[str, Path]
    """The files by the ids of the masks."""


def with_mask_files(found: Inventory, test: Images, ids: Ids) -> tuple[Images, MaskFiles] | None:
    """Training photos for all of whose masks there are files: if several, those most like the test photos."""
    files = {path.relative_to(found.folder).as_posix(): images for images in found.images for path in images.files}
    pairs = [
        (photos.suffix == test.suffix, len(photos.files), photos, masks)
        for photos in found.images
        if photos is not test and (masks := _masks_of(photos, files, found, ids)) and not are_masks(photos)
    ]
    return max(pairs, key=lambda pair: pair[:2])[2:] if pairs else None


def are_masks(images: Images) -> bool:
    """Whether the first few images have few colours.

    Raises:
        InputError: one of them cannot be read.
    """
    return all(has_few_colours(path, FEW_COLOURS) for path in images.files[:3])


def _masks_of(photos: Images, files: Mapping[str, Images], found: Inventory, ids: Ids) -> MaskFiles | None:
    """The masks of these photos: all files of the folders in which they lie, and nothing else."""
    for pattern in _patterns(photos, files, ids.classes):
        if not all(name in files for _, name in _named(pattern, photos, ids)):
            continue
        names = dict(_named(pattern, photos, ids))
        folders = {(files[name].folder, files[name].suffix): files[name] for name in names.values()}.values()
        if sum(len(images.files) for images in folders) == len(names) and all(map(are_masks, folders)):
            return MaskFiles(pattern, {mask_id: found.folder / name for mask_id, name in names.items()})
    return None


def _named(pattern: str, photos: Images, ids: Ids) -> Iterator[tuple[str, str]]:
    """The id of each mask, and what its file is called by the pattern."""
    for stem in photos.by_name:
        for mask_id, of_class in zip(ids.of(stem), ids.classes or ("",), strict=True):
            yield mask_id, pattern.replace("{class}", of_class).replace("{stem}", stem)


def _patterns(photos: Images, files: Mapping[str, Images], classes: Sequence[str]) -> Iterator[str]:
    """What the names of files that begin with the name of one photo can be patterns for: for each place of a class."""
    stem = max(photos.by_name)  # with which no other photo's name begins
    for name, images in files.items():
        folder, _, file = name.rpartition("/")
        if images is photos or not file.startswith(stem):
            continue
        before, after = f"{folder}/" if folder else "", file.removeprefix(stem)
        if not classes:
            yield f"{before}{{stem}}{after}"
            continue
        yield from (f"{one}{{stem}}{after}" for one in _with_class(before, classes[0]))
        yield from (f"{before}{{stem}}{one}" for one in _with_class(after, classes[0]))


def _with_class(text: str, of_class: str) -> Iterator[str]:
    """The text with `{class}` in one place where the class stands, for each of these."""
    for place in re.finditer(re.escape(of_class), text):
        yield f"{text[: place.start()]}{{class}}{text[place.end() :]}"
