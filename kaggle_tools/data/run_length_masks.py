"""Training masks that a competition gives as run lengths in a table: decoded once, and kept as files.

They lie in the user's cache, in a folder named after the table's contents and how they are to be read, so that none
is outdated; the folder may be removed at any time. A mask without a row has no foreground; the runs of several rows of
one mask, such as one for each object, are taken together.
"""

import csv
import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
from numpy.typing import NDArray

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import Size, image_size, write_mask
from kaggle_tools.errors import InputError, counted, counted_of, first_few
from kaggle_tools.system.files import LARGEST_TABLE, locked, require_regular, sha256
from kaggle_tools.system.output import say
from kaggle_tools.system.progress import track

LOCK_SECONDS = 3600.0
"""So long another command may take to decode them."""
FORM = 1
"""One more whenever the files of the same table become others."""


def mask_files(
    competition: Competition, table: Path, sizes: Mapping[str, Size], unreadable: Collection[str] = ()
) -> dict[str, Path]:
    """The files of the masks, by their names, of these photos, (height, width) by stem; missing ones are written.

    Rows of `unreadable` photos are left aside.

    Raises:
        InputError: the table is missing or damaged, is about photos that are not there, or a row does not fit its
            photo.
    """
    folder = masks_folder(competition, table)
    of_names = {name: size for stem, size in sizes.items() for name in competition.names_of(stem)}
    paths = {name: folder / f"{name}.png" for name in of_names}
    with locked(folder, "decodes the masks", LOCK_SECONDS):
        missing = [name for name, path in paths.items() if not path.exists() or image_size(path) != of_names[name]]
        rows = _rows(competition, table, {*sizes, *unreadable})  # also where none is missing: photos may be gone since
        if missing:
            if several := sum(len(of_mask) > 1 for of_mask in rows.values()):
                say(f"{table}: {counted_of(several, len(rows), 'mask')} in several rows, which are taken together")
            for name in track(missing, len(missing), f"masks decoded from {table.name}"):
                write_mask(paths[name], _mask(competition, table, rows.get(name, []), of_names[name]))
    return paths


def masks_folder(competition: Competition, table: Path) -> Path:
    """Where the masks of a table are kept.

    Raises:
        InputError: there is no such table.
    """
    if not table.is_file():
        raise InputError(f"{table}: missing; it holds the training masks of {competition.title} as run lengths")
    in_table = competition.as_in_train_table
    how = (in_table.id_pattern, *in_table.columns, in_table.rle_order, *in_table.classes)
    decides = f"{FORM} {sha256(table)} {how} {competition.rle_first} {competition.blank_mask}"
    name = f"{competition.slug}-{hashlib.sha256(decides.encode()).hexdigest()[:16]}"
    return platformdirs.user_cache_path("kaggle_tools") / "masks" / name


class _Row(NamedTuple):
    """What a row of the table says of a mask."""

    line: int
    """Counted from 1."""
    mask_id: str
    """As the table has it."""
    text: str
    """Run lengths."""


def _rows(competition: Competition, table: Path, stems: set[str]) -> dict[str, list[_Row]]:
    """All rows about each mask, by its name."""
    found: dict[str, list[_Row]] = {}
    try:
        require_regular(table, LARGEST_TABLE)
        csv.field_size_limit(LARGEST_TABLE)
        with table.open(encoding="utf-8-sig", newline="") as file:  # tables from Excel begin with a mark
            rows = csv.DictReader(file)
            as_in_table = _form_of(competition, table, {*(rows.fieldnames or ())})
            for row in rows:
                if None in row.values() or None in row:
                    wrong = "many" if None in row else "few"
                    raise ValueError(f"line {rows.line_num} has too {wrong} fields")
                mask_id = ",".join(row[column] for column in as_in_table.columns[:-1])
                text = row[as_in_table.rle_column].strip()
                found.setdefault(as_in_table.name_of(mask_id), []).append(_Row(rows.line_num, mask_id, text))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read ({error})") from error
    if strange := sorted(set(map(competition.stem_of, found)) - stems):
        rows_of = counted(len(strange), "photo is", "photos are")
        raise InputError(f"{table}: {rows_of} not there ({competition.train_photos}): {first_few(strange)}")
    return found


def _form_of(competition: Competition, table: Path, header: set[str]) -> Competition:
    """The competition with the ids and columns of the table: its own, or as in the CSV, which older files may have."""
    for form in (competition.as_in_train_table, competition):
        if {*form.columns} <= header:
            return form
    raise InputError(f"{table}: has no columns {' and '.join(competition.as_in_train_table.columns)}")


def _mask(competition: Competition, table: Path, rows: list[_Row], size: Size) -> NDArray[np.bool_]:
    mask_HW = np.zeros(size, dtype=bool)
    for line, mask_id, text in rows:
        if text in ("", competition.blank_mask):
            continue
        try:
            mask_HW |= rle.decode(text, size, competition.rle_order, competition.rle_first)
        except ValueError as error:
            of = f"{mask_id} does not fit its photo of {size[1]}x{size[0]} pixels"
            advice = _advice(competition, text, size)
            raise InputError(f"{table}, line {line}: {of}: {error}{advice}") from error
    return mask_HW


def _advice(competition: Competition, text: str, size: Size) -> str:
    """Which field of the competition may be why run lengths do not fit."""
    if len(text.split()) == 1:
        return f"; if {text!r} stands for a blank mask, say so as blank_mask"
    other = 1 - competition.rle_first
    with suppress(ValueError):
        rle.parse(text, size[0] * size[1], other)
        return f"; with rle_first = {other} this row would fit"
    return ""
