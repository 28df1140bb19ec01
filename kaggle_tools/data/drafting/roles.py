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
    id_after: str
    """What follows the stem in an id."""
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
        times = Counter(row[0] for row in rows if row)
        return {row[0]: row[1] for row in rows if len(row) > 1 and times[row[0]] == 1}


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
    test, id_after = _test_photos(found, sample)
    if pair := _with_mask_files(found, test):
        photos, masks, after = pair
        return Roles(photos, masks, after, test, sample, id_after, _run_lengths(found.tables, sample, photos, id_after))
    for photos in sorted(found.images, key=lambda images: images.suffix != test.suffix):
        table = _run_lengths(found.tables, sample, photos, id_after)
        if photos is not test and table:
            return Roles(photos, None, "", test, sample, id_after, table)
    there = first_few([f"{counted(len(group.files), 'file')} {group.pattern()}" for group in found.images])
    lacking = "no training photos with a mask of the same name for each, and no table with their run lengths"
    raise InputError(f"{found.folder}: {lacking}; there are {there}")


def _sample(found: Inventory) -> Csv:
    named = [
        table for table in found.tables if "sample" in table.name.lower() and len(table.header) == 2 and table.rows
    ]
    if not named:
        there = first_few([table.name for table in found.tables])
        raise InputError(f"{found.folder}: no sample submission of two columns among the tables ({there})")
    return named[0]


def _test_photos(found: Inventory, sample: Csv) -> tuple[Images, str]:
    """The images that the ids of the sample submission name, and what follows the stem in an id."""
    ids = set(sample.first_column)
    named = [
        (len(group.files), -len(after), group, after)
        for group in found.images
        for after in ("", group.suffix)
        if all(stem + after in ids for stem in group.by_name)
    ]
    if not named:
        such = first_few(sorted(ids), 1)
        raise InputError(f"{found.folder}: no images that the ids of {sample.name} name, such as {such}")
    _, _, group, after = max(named, key=lambda one: one[:2])
    return group, after


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


def _run_lengths(tables: Sequence[Csv], sample: Csv, photos: Images, id_after: str) -> Csv | None:
    """The table that has the columns of the sample submission, about training photos."""
    ids = {stem + id_after for stem in photos.by_name}
    alike = (table for table in tables if table is not sample and table.header == sample.header)
    return next((table for table in alike if ids & set(table.first_column)), None)
