"""Which files of a data folder are what: photos, masks, test photos, the sample submission."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from kaggle_tools.data.drafting.inventory import Csv, Images, Inventory
from kaggle_tools.errors import InputError, counted, first_few

SOME = 500
"""So many training photos are looked at, where that is enough."""
FEW_COLOURS = 16
"""Photos have thousands."""


@dataclass(frozen=True)
class Roles:
    """Which files are what."""

    photos: Images
    masks: Images | None
    """Their masks; None where these are run lengths alone."""
    after: str
    """What follows the stem in the name of a mask, before the extension."""
    test: Images
    sample: Csv
    ids: "Ids"
    run_lengths: Csv | None
    """The training masks as run lengths, where there is such a table."""

    @property
    def stems(self) -> list[str]:
        """Of the training photos."""
        return sorted(self.photos.by_name)

    @property
    def some_stems(self) -> list[str]:
        """A few training photos, evenly spaced."""
        return evenly(self.stems, SOME)

    def texts(self) -> dict[str, str]:
        """The run lengths of training masks, by their ids; without those of which there are several."""
        rows = self.run_lengths.rows if self.run_lengths else ()
        known = [(self.ids.of_row(row), row[self.ids.rle_at]) for row in rows if len(row) == len(self.sample.header)]
        times = Counter(mask_id for mask_id, _ in known)
        return {mask_id: text for mask_id, text in known if times[mask_id] == 1}


@dataclass(frozen=True)
class Ids:
    """How tables name masks."""

    after: str
    """What follows the stem in an id, but for the class."""
    classes: tuple[str, ...] = ()
    """In the order in which the sample submission lists those of a photo; empty where there is one kind of mask."""
    class_at: int | None = None
    """Which column holds the class, if one does; else it follows in the id, behind a `_`."""
    rle_at: int = 1
    """Which column holds the run lengths."""

    def of(self, stem: str) -> list[str]:
        """The ids of a photo's masks; where a column holds the class, it follows behind a comma."""
        separator = "_" if self.class_at is None else ","
        return [f"{stem}{self.after}{separator}{one}" for one in self.classes] or [f"{stem}{self.after}"]

    def of_row(self, row: Sequence[str]) -> str:
        """Which mask a row is about."""
        return row[0] if self.class_at is None else f"{row[0]},{row[self.class_at]}"


def evenly(items: list[str], most: int) -> list[str]:
    """So many of them at most, evenly spaced."""
    at = np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)
    return [items[index] for index in at.tolist()]


def roles_in(found: Inventory) -> Roles:
    """Which files are what.

    Raises:
        InputError: there is no sample submission, or no photos of its ids, or no training photos with masks.
    """
    sample = _sample(found)
    test, ids = _test_photos(found, sample)
    if not ids.classes and (pair := _with_mask_files(found, test)):
        photos, masks, after = pair
        return Roles(photos, masks, after, test, sample, ids, _run_lengths(found.tables, sample, photos, ids))
    for photos in sorted(found.images, key=lambda images: images.suffix != test.suffix):
        table = _run_lengths(found.tables, sample, photos, ids)
        if photos is not test and table:
            return Roles(photos, None, "", test, sample, ids, table)
    if ids.classes:
        lacking = f"masks of {counted(len(ids.classes), 'class', 'classes')}, but no table like {sample.name} with them"
        raise InputError(f"{found.folder}: {lacking}; for files of masks write the file by hand: docs/competitions.md")
    there = first_few([f"{counted(len(group.files), 'file')} {group.pattern()}" for group in found.images])
    lacking = "no training photos with a mask of the same name for each, and no table with their run lengths"
    raise InputError(f"{found.folder}: {lacking}; there are {there}")


def _sample(found: Inventory) -> Csv:
    named = [
        table for table in found.tables if "sample" in table.name.lower() and len(table.header) in (2, 3) and table.rows
    ]
    if not named:
        there = first_few([table.name for table in found.tables])
        raise InputError(f"{found.folder}: no sample submission of two or three columns among the tables ({there})")
    return named[0]


def _test_photos(found: Inventory, sample: Csv) -> tuple[Images, Ids]:
    """The images that the ids of the sample submission name, and how it names them."""
    named = [
        (len(group.files), -len(after), group, ids)
        for group in found.images
        for after in ("", group.suffix)
        if (ids := _ids(sample, group, after))
    ]
    if not named:
        such = first_few(sorted(sample.first_column), 1)
        raise InputError(f"{found.folder}: no images that the ids of {sample.name} name, such as {such}")
    _, _, group, ids = max(named, key=lambda one: one[:2])
    return group, ids


def _ids(sample: Csv, photos: Images, after: str) -> Ids | None:
    """How the sample names the masks of these photos, if it names all of them."""
    first = min(photos.by_name) + after
    of_first = [row for row in sample.rows if row and row[0].startswith(first)]
    ways = [Ids(after)]
    if len(sample.header) == 3:
        whole = [row for row in of_first if len(row) == 3 and row[0] == first]
        ways = [Ids(after, tuple(row[at] for row in whole), at, 3 - at) for at in (1, 2)]
    elif endings := tuple(row[0].removeprefix(f"{first}_") for row in of_first if row[0].startswith(f"{first}_")):
        ways.append(Ids(after, endings))
    for ids in ways:
        listed = {ids.of_row(row) for row in sample.rows if len(row) == len(sample.header)}
        is_each_once = len(set(ids.classes)) == len(ids.classes)
        if is_each_once and all(listed.issuperset(ids.of(stem)) for stem in photos.by_name):
            return ids
    return None


def _with_mask_files(found: Inventory, test: Images) -> tuple[Images, Images, str] | None:
    """Photos and their masks: names that are alike, and masks of few colours."""
    pairs = [
        (photos.suffix == test.suffix, len(photos.files), photos, masks, after)
        for photos, masks in product(found.images, found.images)
        if photos is not masks and test not in (photos, masks)
        if (after := _follows(photos, masks)) is not None and _are_masks(masks) and not _are_masks(photos)
    ]
    return max(pairs, key=lambda pair: pair[:2])[2:] if pairs else None


def _follows(photos: Images, masks: Images) -> str | None:
    """What the names of masks have after those of the photos; None where they are not the same names."""
    if len(photos.files) != len(masks.files):
        return None
    first = min(photos.by_name)
    endings = {name.removeprefix(first) for name in masks.by_name if name.startswith(first)}
    return next((end for end in endings if {stem + end for stem in photos.by_name} == masks.by_name.keys()), None)


def _are_masks(images: Images) -> bool:
    """Whether the first few images have few colours."""
    for path in images.files[:3]:
        with Image.open(path) as image:
            if image.convert("RGB").getcolors(FEW_COLOURS) is None:
                return False
    return True


def _run_lengths(tables: Sequence[Csv], sample: Csv, photos: Images, ids: Ids) -> Csv | None:
    """The table that has the columns of the sample submission, about training photos."""
    wanted = {mask_id for stem in photos.by_name for mask_id in ids.of(stem)}
    alike = (table for table in tables if table is not sample and table.header == sample.header)
    of_rows = ((table, {ids.of_row(row) for row in table.rows if len(row) == len(table.header)}) for table in alike)
    return next((table for table, named in of_rows if wanted & named), None)
