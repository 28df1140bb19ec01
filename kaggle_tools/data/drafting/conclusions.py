"""What the files of a competition say of its fields: each with whether it was seen, concluded or guessed, and why.

Nothing is guessed silently: what the files do not show stands in the draft as a guess, for a person to look up.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from kaggle_tools import rle
from kaggle_tools.data.drafting.inventory import Csv, Images, Inventory
from kaggle_tools.data.images import image_size, read_mask
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.rle import Order

How = Literal["seen", "concluded", "guessed"]
COMPARED = 500
"""So many masks are held against their run lengths, or decoded to learn something."""
FEW_COLOURS = 16
FIRSTS = (1, 0)


class Finding(NamedTuple):
    """The value of a field, and where it comes from."""

    value: Any
    how: How
    why: str


@dataclass(frozen=True)
class Roles:
    """Which files are what."""

    photos: Images
    masks: Images
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
        at = np.linspace(0, len(self.stems) - 1, min(COMPARED, len(self.stems))).astype(int)
        return [self.stems[index] for index in dict.fromkeys(at.tolist())]

    def texts(self) -> dict[str, str]:
        """The run lengths of training masks, by their ids."""
        rows = self.run_lengths.rows if self.run_lengths else ()
        return {row[0]: row[1] for row in rows if len(row) > 1}

    def mask(self, stem: str) -> Path:
        """The file of a training mask."""
        return self.masks.by_name[stem + self.after]


def roles_in(found: Inventory) -> Roles:
    """Which files are what.

    Raises:
        InputError: there is no sample submission, or no photos of its ids, or no training photos with masks.
    """
    sample = _sample(found)
    test, id_after = _test_photos(found, sample)
    photos, masks, after = _training(found, test)
    return Roles(photos, masks, after, test, sample, id_after, _run_lengths(found.tables, sample, photos, id_after))


def findings(roles: Roles, found: Inventory, slug: str) -> dict[str, Finding]:
    """The fields of the competition, in the order in which a file has them."""
    sizes = Counter(map(image_size, (*roles.photos.files, *roles.test.files)))
    stem_format, shared = _stem_format(roles)
    columns = f"header of {roles.sample.name}"
    fields = {
        "slug": Finding(slug, "guessed", "it must be the last part of the address at Kaggle"),
        "title": Finding(slug.replace("-", " ").title(), "guessed", "what people call it"),
        "train_photos": Finding(roles.photos.pattern(), "seen", f"{len(roles.photos.files):,} files with masks"),
        "train_masks": Finding(roles.masks.pattern(roles.after), "seen", f"{len(roles.masks.files):,} files"),
        "test_photos": Finding(roles.test.pattern(), "seen", f"{len(roles.test.files):,} files that the sample lists"),
        "sample_submission": Finding(roles.sample.name, "seen", f"{len(roles.sample.rows):,} ids"),
        "stem_format": Finding(stem_format, "concluded", shared),
        "id_pattern": Finding(f"{{stem}}{roles.id_after}", "seen", "ids are the names of the test photos"),
        "id_column": Finding(roles.sample.header[0], "seen", columns),
        "rle_column": Finding(roles.sample.header[1], "seen", columns),
        **_run_length_fields(roles),
        "score": Finding("Dice", "guessed", 'the Evaluation page says it: "Dice", "IoU" or "mean precision"'),
        **_blank_fields(roles),
    }
    if len(sizes) == 1:
        fields["photo_size"] = Finding([*next(iter(sizes))], "seen", f"all {sizes.total():,} photos")
    if metadata := _metadata(found.tables, roles):
        fields["metadata"] = Finding(metadata, "seen", "its first column names photos, or what several of them share")
    return fields


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


def _training(found: Inventory, test: Images) -> tuple[Images, Images, str]:
    """Photos and their masks: names that are alike, and masks of few colours."""
    pairs = [
        (photos.suffix == test.suffix, len(photos.files), photos, masks, after)
        for photos, masks in product(found.images, found.images)
        if photos is not masks and test not in (photos, masks)
        if (after := _follows(photos, masks)) is not None and _are_masks(masks) and not _are_masks(photos)
    ]
    if not pairs:
        there = first_few([f"{counted(len(group.files), 'file')} {group.pattern()}" for group in found.images])
        raise InputError(f"{found.folder}: no training photos with a mask of the same name for each; there are {there}")
    _, _, photos, masks, after = max(pairs, key=lambda pair: pair[:2])
    return photos, masks, after


def _follows(photos: Images, masks: Images) -> str | None:
    """What the names of masks have after those of the photos; None where they are not the same names."""
    if len(photos.files) != len(masks.files):
        return None
    first = min(photos.by_name)
    endings = {name.removeprefix(first) for name in masks.by_name if name.startswith(first)}
    return next((end for end in endings if {stem + end for stem in photos.by_name} == masks.by_name.keys()), None)


def _are_masks(images: Images) -> bool:
    """Whether the first few images have few colours."""
    from PIL import Image  # as PNG and GIF keep them; a photo in JPEG has thousands

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


def _stem_format(roles: Roles) -> tuple[str, str]:
    """How names are put together: groups are what several photos share before the last `_` or `-`."""
    stems = [*roles.stems, *roles.test.by_name]
    for separator in "_-":
        parts = [re.fullmatch(rf"(.+){separator}([^{separator}]+)", stem) for stem in stems]
        if not all(parts):
            continue
        sizes = Counter(part[1] for part in parts if part)
        views = {part[2] for part in parts if part}
        if len(views) <= 2 * max(sizes.values()) and 2 * len(sizes) <= len(stems):
            each = f"{len(stems):,} names share {len(sizes):,} first parts; call these in group_name"
            return f"{{group}}{separator}{{view}}", each
    return "{view}", "no photos share a part of their names"


def _run_length_fields(roles: Roles) -> dict[str, Finding]:
    """Order and first number, by masks that are there as files and as run lengths."""
    texts = roles.texts()
    with_text = [stem for stem in roles.stems if texts.get(stem + roles.id_after, "").strip()]
    compared = with_text[:: max(1, len(with_text) // COMPARED)]
    possible = [(order, first) for order, first in product(get_args(Order), FIRSTS)]
    for stem in compared:
        mask_HW, text = read_mask(roles.mask(stem)), texts[stem + roles.id_after]
        possible = [(order, first) for order, first in possible if rle.encode(mask_HW, order, first) == text.strip()]
    if not compared or len(possible) != 1:
        why = "no table with run lengths of the training masks" if not compared else f"{_named(roles)} fits no order"
        why += "; the Data or Evaluation page says it"
        return {
            "rle_order": Finding("column-major", "guessed", why),
            "rle_first": Finding(1, "guessed", why),
        }
    ((order, first),) = possible
    why = f"{counted(len(compared), 'mask')} of {_named(roles)} compared with their files"
    return {"rle_order": Finding(order, "concluded", why), "rle_first": Finding(first, "concluded", why)}


def _blank_fields(roles: Roles) -> dict[str, Finding]:
    """How many masks are blank, and what a table holds for these."""
    blank = [stem for stem in roles.some_stems if not read_mask(roles.mask(stem)).any()]
    if not blank:
        return {}
    share, why = len(blank) / len(roles.some_stems), f"of {counted(len(roles.some_stems), 'training mask')}"
    found = {
        "blank_share": Finding(round(share, 2), "concluded", f"{why}, {len(blank):,} are blank"),
        "coverage_strata": Finding(
            [tenth / 10 for tenth in range(10)],
            "guessed",
            "so that folds hold alike shares of blank masks and of each size",
        ),
    }
    texts = roles.texts()
    held = {texts[stem + roles.id_after] for stem in blank if stem + roles.id_after in texts}
    if len(held) == 1 and (text := held.pop()):
        found["blank_mask"] = Finding(text, "seen", f"in {_named(roles)}")
    return found


def _named(roles: Roles) -> str:
    return roles.run_lengths.name if roles.run_lengths else ""


def _metadata(tables: Iterable[Csv], roles: Roles) -> str | None:
    """The name of a further table, about photos or groups."""
    names = {*roles.stems, *roles.test.by_name}
    groups = {re.split("[_-][^_-]+$", name)[0] for name in names}
    is_about: Callable[[Csv], bool] = lambda table: bool((names | groups) & set(table.first_column))  # noqa: E731
    others = [table.name for table in tables if table not in (roles.sample, roles.run_lengths) and is_about(table)]
    return others[0] if others else None
