"""The names of photos: which can be used, and what lies in a folder where they are not as expected.

A photo is known by its stem, which comes from a folder, or from a table that someone else may have written. It must fit
into a table, into a terminal's line and into a file name, and must not lead to another folder. No file is opened.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.system.files import is_utf8

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""What counts as a photo in a folder that is not laid out by Kaggle."""
LONGEST = 251
"""Bytes of a stem; with `.png` that is the longest file name that file systems take."""


def fault_of(stem: str) -> str:
    """Why a photo must not be known by this name, in words; empty where it may be."""
    if not stem or stem.startswith(".") or Path(stem).name != stem:
        return "is no file name"
    if not is_utf8(stem):
        return "is not UTF-8"
    if any(unicodedata.category(letter) == "Cc" for letter in stem):
        return "holds a line break or another control character"
    return f"is longer than {LONGEST} bytes" if len(os.fsencode(stem)) > LONGEST else ""


def require_usable(where: Path, stems: Iterable[str], advice: str) -> None:
    """Check the names of photos, in a folder or in a table.

    Raises:
        InputError: names that must not be used; the first few are shown, with what is odd in them written out.
    """
    faults = [f"{stem[:80]!a} {fault}" for stem in stems if (fault := fault_of(stem))]
    if faults:
        found = f"{counted(len(faults), 'name of a photo', 'names of photos')} cannot be used: {first_few(faults)}"
        raise InputError(f"{where}: {found}; {advice}")


def visible(paths: Iterable[Path]) -> list[Path]:
    """Without what file managers leave behind, such as `._photo.jpg`."""
    return [path for path in paths if not path.name.startswith(".")]


def files_by_stem(folder: Path, pattern: str) -> dict[str, Path]:
    """The files below a folder that are named like a pattern, such as `train/{stem}.jpg`, in the order of their paths.

    By their stems, as far as these come from the pattern: they need not be usable as names.
    """
    before, after = pattern.split("{stem}")
    paths = sorted(visible(folder.glob(f"{before}*{after}")))
    return {path.relative_to(folder).as_posix()[len(before) : -len(after) or None]: path for path in paths}


def below_folders(pattern: str) -> str:
    """A pattern without the folders that all its files share: `{stem}.jpg` of `train/{stem}.jpg`.

    A folder that is named by the stem, or by the class, stays: `{stem}/mask.png` of `train/{stem}/mask.png`.
    """
    shared, rest = pattern[: pattern.index("{")], pattern[pattern.index("{") :]
    return shared.rpartition("/")[2] + rest


def photo_files(paths: Iterable[Path]) -> list[Path]:
    """Those that are photos, by their extensions."""
    return [path for path in visible(paths) if path.suffix.lower() in PHOTO_SUFFIXES]


def photos_below(folder: Path) -> str:
    """Which subfolders hold photos, which `photos_in` leaves out: the first few names; empty if none does."""
    return first_few(sorted({path.parent.name for path in photo_files(folder.glob("*/*"))}))


def require_usable_names(folder: Path, stems: Iterable[str]) -> None:
    """Check that tables can hold the names of these photos, and the path of their folder.

    Raises:
        InputError: they cannot.
    """
    if not is_utf8(str(folder.absolute())):
        raise InputError(f"{folder}: a path that is not UTF-8 fits into no table; move the photos elsewhere")
    require_usable(folder, stems, "rename them")


def found_instead(folder: Path, pattern: str) -> str:
    """What lies there or nearby instead of the files of a pattern, and what to do; empty if nothing does.

    For `train/{stem}.jpg` these places are looked at: `train`, `train/*` and `*/train`.
    """
    before, after = pattern.split("{stem}")
    top = (folder / f"{before}*").parent
    for place in (top, *sorted(top.glob("*/")), *sorted(folder.glob(f"*/{top.relative_to(folder)}"))):
        suffixes = Counter(
            path.suffix for path in visible(place.glob("*")) if path.suffix.lower() in PHOTO_SUFFIXES | {".gif"}
        )
        if suffixes:
            suffix, count = suffixes.most_common(1)[0]
            todo = f"names must end with {after}" if place == top else f"photos must lie in {top}"
            return f"{place} holds {counted(count, 'file')} *{suffix} instead; {todo}"
    return ""


def refuse_other_spellings(folder: Path, pattern: str, paths: list[Path]) -> None:
    """Check that no file is left out for a capital letter, such as `a.JPG` beside these paths, all `*.jpg`.

    Raises:
        InputError: some would be.
    """
    name = Path(pattern).name.replace("{stem}", "*").lower()
    if "*" not in name:  # the stem is a folder
        return
    others = set(visible(paths[0].parent.iterdir())) - set(paths)
    strange = sorted(path.name for path in others if fnmatchcase(path.name.lower(), name))
    if strange:
        raise InputError(
            f"{folder}: {counted(len(strange), 'file is', 'files are')} "
            f"not quite named like {pattern}: {first_few(strange)}; rename them"
        )
