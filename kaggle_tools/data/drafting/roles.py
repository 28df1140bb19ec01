"""Which files of a data folder are what: photos, masks, test photos, the sample submission."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from kaggle_tools.data.drafting.ids import Ids, ids_of_sample, ids_of_training, is_blank
from kaggle_tools.data.drafting.inventory import Csv, Images, Inventory
from kaggle_tools.data.drafting.mask_files import MaskFiles, are_masks, with_mask_files
from kaggle_tools.errors import InputError, counted, first_few

Item = TypeVar("Item")

SEVERAL = 3
"""So many masks of the same single pixel are hardly masks."""
SOME = 500
"""So many training photos are looked at, where that is enough."""


@dataclass(frozen=True)
class Roles:
    """Which files are what."""

    photos: Images
    masks: MaskFiles | None
    """Their masks; None where these are run lengths alone."""
    test: Images
    sample: Csv
    ids: Ids
    """How the sample names masks."""
    run_lengths: Csv | None
    """The training masks as run lengths, where there is such a table."""
    in_table: Ids
    """How that table names masks."""

    @cached_property
    def stems(self) -> list[str]:
        """Of the training photos."""
        return sorted(self.photos.by_name)

    @cached_property
    def stem_of(self) -> dict[str, str]:
        """The stem of the photo of each training mask, by the id that the sample would give the mask."""
        return {mask_id: stem for stem in self.stems for mask_id in self.ids.of(stem)}

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """The run lengths of training masks, of all rows about each, by the same ids."""
        return self._table[0]

    @property
    def without_photo(self) -> list[str]:
        """The ids in the table of run lengths of which no photo is there, or no such class, as the table has them."""
        return self._table[1]

    def is_blank(self, text: str) -> bool:
        """Whether the table holds this for a mask without foreground."""
        return is_blank(text) or text == self.marker

    @cached_property
    def marker(self) -> str | None:
        """What several masks are that is at most one pixel, so that it may stand for a blank one, if there is such."""
        alone = [texts[0] for texts in self.texts.values() if len(texts) == 1]  # several rows are objects of a mask
        counts = Counter(text for text in alone if not is_blank(text))
        found = [text for text, count in counts.items() if count >= SEVERAL and text.split()[1:] in ([], ["0"], ["1"])]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _table(self) -> tuple[dict[str, list[str]], list[str]]:
        ours: dict[str, str] = {}
        for stem in self.stems:
            ours |= zip(self.in_table.of(stem), self.ids.of(stem), strict=True)
        texts: dict[str, list[str]] = defaultdict(list)
        others: dict[str, None] = {}
        for row in self.run_lengths.whole_rows if self.run_lengths else ():
            mask_id = self.in_table.of_row(row)
            if mask_id in ours:
                texts[ours[mask_id]].append(row[self.in_table.rle_at])
            else:
                others[mask_id] = None
        return texts, [*others]


def evenly(items: Sequence[Item], most: int) -> list[Item]:
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
    if pair := with_mask_files(found, test, ids):
        photos, masks = pair
        table, in_table = _run_lengths(found.tables, sample, photos, ids) or (None, ids)
        return Roles(photos, masks, test, sample, ids, table, in_table)
    for photos in sorted(found.images, key=lambda images: (images.suffix != test.suffix, -len(images.files))):
        named = _run_lengths(found.tables, sample, photos, ids) if photos is not test else None
        if named and not are_masks(photos):
            return Roles(photos, None, test, sample, ids, *named)
    there = first_few([f"{counted(len(group.files), 'file')} {group.pattern()}" for group in found.images])
    each = f"each of {counted(len(ids.classes), 'class', 'classes')}" if ids.classes else "each"
    lacking = f"no training photos with a mask of the same name for {each}, and no table with their run lengths"
    blank = ". A blank mask needs a file too, all black" if len(found.images) > 2 else ""
    raise InputError(f"{found.folder}: {lacking}; there are {there}{blank}")


def _sample(found: Inventory) -> Csv:
    named = [
        table for table in found.tables if "sample" in table.name.lower() and len(table.header) in (2, 3) and table.rows
    ]
    if not named:
        there = first_few([table.name for table in found.tables])
        raise InputError(
            f"{found.folder}: no sample submission of two or three columns among the tables ({there}); download it, or "
            "write one by hand, as the Evaluation page says, called sample_submission.csv"
        )
    return named[0]


def _test_photos(found: Inventory, sample: Csv) -> tuple[Images, Ids]:
    """The images that the ids of the sample submission name, and how it names them."""
    named = [(len(group.files), group, ids) for group in found.images if (ids := ids_of_sample(sample, group))]
    if not named:
        such = first_few(sorted(sample.first_column), 1)
        raise InputError(
            f"{found.folder}: no images that the ids of {sample.name} name, such as {such}; unpack the test photos, or "
            "where Kaggle does not give them away, write the file by hand: docs/competitions.md"
        )
    _, group, ids = max(named, key=lambda one: one[0])
    return group, ids


def _run_lengths(tables: Sequence[Csv], sample: Csv, photos: Images, ids: Ids) -> tuple[Csv, Ids] | None:
    """A table of training masks, best one with the columns of the sample submission, and how it names them."""
    column = sample.header[ids.rle_at]
    for table in sorted(tables, key=lambda table: (table.header != sample.header, column not in table.header)):
        if table is not sample and (in_table := ids_of_training(table, sample, photos, ids)):
            return table, in_table
    return None
