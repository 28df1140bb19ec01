"""The training masks that are files: of few colours, and named after their photos, or after these and classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from kaggle_tools.data.drafting.ids import Ids
from kaggle_tools.data.drafting.inventory import Images, Inventory

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
    pairs = [
        (photos.suffix == test.suffix, len(photos.files), photos, masks)
        for photos in found.images
        if photos is not test and not _are_masks(photos)
        if (masks := _masks_of(photos, [one for one in found.images if one not in (photos, test)], found, ids))
    ]
    return max(pairs, key=lambda pair: pair[:2])[2:] if pairs else None


def _masks_of(photos: Images, others: list[Images], found: Inventory, ids: Ids) -> MaskFiles | None:
    """The masks of these photos: all files of the folders in which they lie, and nothing else."""
    folder_of = {path.relative_to(found.folder).as_posix(): images for images in others for path in images.files}
    for pattern in _patterns(photos, folder_of, ids.classes):
        if not all(name in folder_of for _, name in _named(pattern, photos, ids)):
            continue
        names = dict(_named(pattern, photos, ids))
        folders = {folder_of[name].folder: folder_of[name] for name in names.values()}.values()
        if sum(len(images.files) for images in folders) == len(names) and all(map(_are_masks, folders)):
            return MaskFiles(pattern, {mask_id: found.folder / name for mask_id, name in names.items()})
    return None


def _named(pattern: str, photos: Images, ids: Ids) -> Iterator[tuple[str, str]]:
    """The id of each mask, and what its file is called by the pattern."""
    for stem in photos.by_name:
        for mask_id, of_class in zip(ids.of(stem), ids.classes or ("",), strict=True):
            yield mask_id, pattern.replace("{class}", of_class).replace("{stem}", stem)


def _patterns(photos: Images, names: dict[str, Images], classes: tuple[str, ...]) -> Iterator[str]:
    """What the names of the first photo's masks can be patterns for."""
    first = min(photos.by_name)
    for name, images in names.items():
        of_file = PurePosixPath(name).name.removesuffix(images.suffix)
        if not of_file.startswith(first):
            continue
        after = of_file.removeprefix(first)
        if not classes:
            yield str(PurePosixPath(images.folder, f"{{stem}}{after}{images.suffix}"))
            continue
        if classes[0] in after:
            yield str(PurePosixPath(images.folder, f"{{stem}}{after.replace(classes[0], '{class}')}{images.suffix}"))
        folders = PurePosixPath(images.folder).parts
        if classes[0] in folders:
            parts = ["{class}" if part == classes[0] else part for part in folders]
            yield str(PurePosixPath(*parts, f"{{stem}}{after}{images.suffix}"))


def _are_masks(images: Images) -> bool:
    """Whether the first few images have few colours."""
    for path in images.files[:3]:
        with Image.open(path) as image:
            if image.convert("RGB").getcolors(FEW_COLOURS) is None:
                return False
    return True
