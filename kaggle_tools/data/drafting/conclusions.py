"""What the files of a competition say of its fields: each with whether it was seen, concluded or guessed, and why.

Nothing is guessed silently: what the files do not show stands in the draft as a guess, for a person to look up.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from kaggle_tools.data.checks.numbering import (
    Numbering,
    first_of_coherent_masks,
    gray_photo,
    majority,
    of_equal_masks,
    only_first_that_fits,
    order_of_coherent_masks,
    votes_of_outlines,
)
from kaggle_tools.data.drafting.ids import Ids
from kaggle_tools.data.drafting.inventory import Csv, Inventory
from kaggle_tools.data.drafting.roles import SOME, Roles, evenly
from kaggle_tools.data.images import image_size, read_mask
from kaggle_tools.errors import counted, counted_of, first_few
from kaggle_tools.metrics import BY_NAME

How = Literal["seen", "concluded", "guessed"]
NO_FILES = "there are no mask files to compare with"


class Finding(NamedTuple):
    """The value of a field, and where it comes from."""

    value: Any
    how: How
    why: str


def findings(roles: Roles, found: Inventory, slug: str) -> dict[str, Finding]:
    """The fields of the competition, in the order in which a file has them."""
    sizes = Counter(map(image_size, (*roles.photos.files, *roles.test.files)))
    stem_format, shared = _stem_format(roles)
    photos, tests = (counted(len(images.files), "file") for images in (roles.photos, roles.test))
    listed, named = len(roles.sample.whole_rows), sum(len(roles.ids.of(stem)) for stem in roles.test.by_name)
    of_sample = f"with {named:,} of the sample's {counted(listed, 'id')}"
    columns = f"header of {roles.sample.name}"
    fields = {
        "slug": Finding(slug, "guessed", "it must be the last part of the address at Kaggle"),
        "title": Finding(slug.replace("-", " ").title(), "guessed", "what people call it"),
        "train_photos": Finding(roles.photos.pattern(), "seen", f"{photos} with masks"),
        "train_masks": _masks(roles),
        **_train_table(roles),
        "test_photos": Finding(roles.test.pattern(), "seen", f"{tests} {of_sample}"),
        "sample_submission": Finding(roles.sample.name, "seen", counted(len(roles.sample.rows), "id")),
        "stem_format": Finding(stem_format, "concluded", shared),
        **_id_fields(roles),
        "rle_column": Finding(roles.sample.header[roles.ids.rle_at], "seen", columns),
        **_run_length_fields(roles),
        "score": Finding("Dice", "guessed", f"the Evaluation page says it: {', '.join(BY_NAME)}"),
        **_blank_fields(roles),
    }
    if len(sizes) == 1:
        fields["photo_size"] = Finding([*next(iter(sizes))], "seen", f"all {sizes.total():,} photos")
    if metadata := _metadata(found.tables, roles):
        fields["metadata"] = Finding(metadata, "seen", "its first column names photos, or what several of them share")
    return fields


def _id_fields(roles: Roles) -> dict[str, Finding]:
    """What the sample calls a mask."""
    ids, header, columns = roles.ids, roles.sample.header, f"header of {roles.sample.name}"
    found = {}
    if ids.classes:
        found["classes"] = Finding([*ids.classes], "seen", f"each test photo has a row for each in {roles.sample.name}")
    of_photos = "ids are the names of the test photos" + (", each with the classes" if "{class}" in ids.pattern else "")
    found["id_pattern"] = Finding(ids.pattern, "seen", of_photos)
    found["id_column"] = Finding(header[ids.id_at], "seen", columns)
    if ids.class_at is not None:
        found["class_column"] = Finding(header[ids.class_at], "seen", columns)
    return found


def _masks(roles: Roles) -> Finding:
    if roles.masks:
        return Finding(roles.masks.pattern, "seen", counted(len(roles.masks.by_id), "file"))
    found, gone = "it has run lengths, and names training photos", roles.without_photo
    lacking = (
        f"; of {counted(len(gone), 'id')} the photo, or the class, is not there: {first_few(gone)}" if gone else ""
    )
    return Finding(_named(roles), "seen", found + lacking)


def _train_table(roles: Roles) -> dict[str, Finding]:
    """What the table of the training masks, where these are no files, calls otherwise than the sample submission."""
    if roles.masks or roles.run_lengths is None:
        return {}
    ours, theirs = _names_in(roles.sample, roles.ids), _names_in(roles.run_lengths, roles.in_table)
    differing = {name: value for name, value in theirs.items() if ours.get(name) != value}
    return {"train_table": Finding(differing, "seen", f"header and ids of {_named(roles)}")} if differing else {}


def _names_in(table: Csv, ids: Ids) -> dict[str, str]:
    """How a table calls masks and columns, by the names of the fields that say so."""
    of_class = {} if ids.class_at is None else {"class_column": table.header[ids.class_at]}
    columns = {"id_column": table.header[ids.id_at], **of_class, "rle_column": table.header[ids.rle_at]}
    return {"id_pattern": ids.pattern, **columns}


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
    """In which order pixels are numbered, and from which number on."""
    # Of several rows, such as one for each object, none is equal to a file, but each is as coherent as a mask.
    usable = [
        (mask_id, text)
        for mask_id in roles.stem_of
        for text in roles.texts.get(mask_id, [])
        if not roles.is_blank(text) and (len(roles.texts[mask_id]) == 1 or not roles.masks)
    ]
    some = evenly(usable, SOME)
    if not some:
        return _unknown_numbering("no table with run lengths of the training masks, one row each")
    if roles.masks:
        equal = of_equal_masks([(text, read_mask(roles.masks.by_id[mask_id])) for mask_id, text in some])
        why = f"{counted(len(some), 'mask')} of {_named(roles)} compared with their files"
        return _numbering(equal, _named(roles), why)
    return _numbering_without_files(roles, [(roles.stem_of[mask_id], text) for mask_id, text in some])


def _numbering_without_files(roles: Roles, masks: Sequence[tuple[str, str]]) -> dict[str, Finding]:
    """By what real masks are like, of which stems and run lengths are given."""
    files, found = roles.photos.by_name, _unknown_numbering(NO_FILES)
    of_size = [(text, image_size(files[stem])) for stem, text in masks]
    first = only_first_that_fits(of_size)
    if first is not None:
        ends = "begins at 0" if first == 0 else "ends at the number of its photo's pixels"
        found["rle_first"] = Finding(first, "concluded", f"a run in {_named(roles)} {ends}")
    start = 1 if first is None else first
    if order := order_of_coherent_masks(of_size, start):
        why = f"so hardly a run of {counted(len(masks), 'mask')} goes on beyond the end of a line"
        found["rle_order"] = Finding(order, "concluded", why)
    elif order := majority(votes_of_outlines(((text, gray_photo(files[stem])) for stem, text in masks), start)):
        why = f"so the outlines of {counted(len(masks), 'mask')} lie on edges of their photos"
        found["rle_order"] = Finding(order, "concluded", why)
    if order and first is None and (first := first_of_coherent_masks(of_size, order)) is not None:
        why = f"from {1 - first} on, runs would go on beyond the end of a line"
        found["rle_first"] = Finding(first, "concluded", why)
    return found


def _numbering(equal: Sequence[Numbering], table: str, why: str) -> dict[str, Finding]:
    """What all numberings say in which the table is equal to the mask files."""
    found = _unknown_numbering(f"{table} fits its masks in {'several orders' if equal else 'no order'}")
    for field, values in (("rle_order", {order for order, _ in equal}), ("rle_first", {first for _, first in equal})):
        if len(values) == 1:
            found[field] = Finding(values.pop(), "concluded", why)
    return found


def _unknown_numbering(why: str) -> dict[str, Finding]:
    look = f"{why}; the Data or Evaluation page says it"
    return {"rle_order": Finding("column-major", "guessed", look), "rle_first": Finding(1, "guessed", look)}


def _blank_fields(roles: Roles) -> dict[str, Finding]:
    """How many masks are blank, and what a table holds for these."""
    if roles.masks:
        some = [mask_id for stem in evenly(roles.stems, SOME) for mask_id in roles.ids.of(stem)]
        blank = [mask_id for mask_id in some if not read_mask(roles.masks.by_id[mask_id]).any()]
    else:
        some = [*roles.stem_of]
        blank = [mask_id for mask_id in some if all(map(roles.is_blank, roles.texts.get(mask_id, [])))]
    if not blank:
        return {}
    why = f"{counted_of(len(blank), len(some), 'training mask')} blank"
    strata = Finding([tenth / 10 for tenth in range(10)], "guessed", "then folds hold alike shares of each size")
    if roles.ids.classes:
        strata = Finding([0.0], "guessed", "then folds hold alike shares of each combination of classes")
    found = {
        "blank_share": Finding(round(len(blank) / len(some), 2), "concluded", why),
        "coverage_strata": strata,
    }
    held = {text for mask_id in blank for text in roles.texts.get(mask_id, [])}
    if len(held) == 1 and (text := held.pop()):
        found["blank_mask"] = Finding(text, "seen", f"in {_named(roles)}")
    elif roles.marker in held:
        found["blank_mask"] = Finding(
            roles.marker, "guessed", f"several masks of {_named(roles)} are no more than that"
        )
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
