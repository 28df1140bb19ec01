"""Unpacking a competition's zip files: nothing outside the data folder, nothing half done, nothing twice.

Knows nothing of Kaggle or of what is inside the files.
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kaggle_tools.competitions.competition import Archive
from kaggle_tools.data.checks.zip_files import MAX_RATIO, Member, opened
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.system.files import temporary_folder

MAX_UNPACKED_BYTES = 100 * 2**30
"""What one archive may hold, unpacked. Carvana's largest, the high-quality test photos, stays far below."""


class Found(NamedTuple):
    """An archive that is there."""

    file: Path
    archive: Archive
    """What the competition says of it."""


class Unpacked(NamedTuple):
    """What became of an archive's files."""

    written: int
    """How many were written: 0 if everything was in place."""
    kept: list[str]
    """Those that lie in the data folder with other contents than in the archive, and stay so."""
    left_out: list[str]
    """Those that do not belong in this archive."""


class _Placed(NamedTuple):
    member: Member
    target: Path
    """Where it belongs."""


def unpack_all(
    source: Path, data: Path, archives: Sequence[Archive], everything: str
) -> Iterator[tuple[str, Unpacked]]:
    """Unpack the competition's archives that lie in a folder, and yield each one's name and what became of it.

    Args:
        source: the folder, or the one zip file that "Download All" at Kaggle makes of all archives.
        data: the data folder, made if need be.
        archives: what the competition has.
        everything: how the name of that one zip file begins, which may also lie in the folder.

    Raises:
        InputError: there are no archives, or one cannot be unpacked (see `unpack`).
    """
    if source.is_file():
        found, bundles = [], [source]
    else:
        found = find(source, archives, everything)
        complete = len(found) >= sum(not archive.on_request for archive in archives)
        bundles = [] if complete else _bundles(source, everything)
    for file, archive in found:
        yield file.name, unpack(file, data, archive)
    for file in bundles:
        yield from _unpack_bundle(file, data, archives)


def find(source: Path, archives: Sequence[Archive], everything: str = "") -> list[Found]:
    """The archives that lie in the folder `source`.

    A file that came without its `.zip` because Kaggle packed it out, such as `metadata.csv`, counts too.

    Raises:
        InputError: there is no such folder, or neither one of them nor (see `unpack_all`) all in one is there.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    found: list[Found] = []
    for archive in archives:
        candidates = (source / archive.name, source / archive.name.removesuffix(".zip"))
        found += [Found(path, archive) for path in candidates if path.is_file()][:1]
    if not found and not _bundles(source, everything):
        needed = [archive.name for archive in archives if not archive.on_request]
        there = first_few(sorted(path.name for path in source.iterdir()), limit=5) or "nothing"
        raise InputError(
            f"{source}: holds none of the files that were expected: {first_few(needed, limit=len(needed))}; "
            f"what it holds: {there}"
        )
    return found


def lacking(data: Path, archives: Sequence[Archive]) -> list[str]:
    """The names of the archives that are needed but of which the data folder lacks all files of a kind."""
    return [
        archive.name
        for archive in archives
        if not archive.on_request and not all(any(data.glob(pattern)) for pattern in archive.expected)
    ]


def unpack(file: Path, data: Path, archive: Archive) -> Unpacked:
    """Unpack one zip file into the data folder; a plain file is copied there.

    What is already there is left alone, also where it differs from the archive, as a mask does that a person has
    corrected; only a file that ends too early is written again. The rest is written to temporary folders first and
    then moved, a new folder in a single step, so that a folder that was not there before is there whole or not at all.

    Args:
        file: the zip file.
        data: the data folder, made if need be.
        archive: what belongs in it; the rest is left out. Folders on top that were added or left out by whoever
            packed it do not matter.

    Raises:
        InputError: the archive is damaged, holds nothing of what belongs in it, or what must not be unpacked (a path
            that leads outside, a link, a password), swells beyond `MAX_UNPACKED_BYTES` or `MAX_RATIO`, or the disk
            is too small.
    """
    data.mkdir(parents=True, exist_ok=True)
    with opened(file) as members:
        return _unpack_members(file, members, data, archive, file.stat().st_size)


def _unpack_members(file: Path, members: list[Member], data: Path, archive: Archive, packed: int) -> Unpacked:
    """As `unpack`, of an archive that takes `packed` bytes, or that came in one which does."""
    places = {member.name: archive.place(member.name) for member in members}
    placed = [_Placed(member, data / place) for member in members if (place := places[member.name])]
    _require_usable(file, placed, members, archive, packed)
    todo, kept = _sorted_out(placed)
    _write(file, todo)
    left_out = [name for name, place in places.items() if not place]
    return Unpacked(len(todo), [str(each.target.relative_to(data)) for each in kept], left_out)


def _unpack_bundle(file: Path, data: Path, archives: Sequence[Archive]) -> Iterator[tuple[str, Unpacked]]:
    """Unpack what "Download All" packed: archives, or the files that are in them."""
    data.mkdir(parents=True, exist_ok=True)
    whole = Archive(file.name, holds=tuple(pattern for archive in archives for pattern in archive.expected))
    known = {archive.name: archive for archive in archives if archive.name.endswith(".zip")}
    with opened(file) as members:
        inner = [member for member in members if PurePosixPath(member.name).name in known]
        _require_one_of_each(file, [PurePosixPath(member.name).name for member in inner])
        size = file.stat().st_size
        for member in inner:
            with temporary_folder(data) as temporary:
                packed = _Placed(member, temporary / PurePosixPath(member.name).name)
                _require_bounded(file, [packed], size)
                _require_space(file, {data: [packed]})
                _extract(packed.member, packed.target)
                with opened(packed.target) as held:
                    name = packed.target.name
                    yield name, _unpack_members(packed.target, held, data, known[name], size)
        others = [member for member in members if member not in inner]
        if not inner or any(whole.place(member.name) for member in others):
            yield file.name, _unpack_members(file, others, data, whole, size)


def _bundles(source: Path, everything: str) -> list[Path]:
    """What "Download All" made; browsers add a number to the name of the second one."""
    return sorted(path for path in source.glob("*.zip") if everything and path.name.startswith(everything))


def _require_usable(file: Path, placed: list[_Placed], members: list[Member], archive: Archive, packed: int) -> None:
    if not members:
        raise InputError(f"{file}: an empty archive, without a file in it; download it again")
    if not placed:
        expected, there = " or ".join(archive.expected), first_few([member.name for member in members])
        raise InputError(f"{file}: should hold {expected}, but holds {there}; nothing was unpacked")
    _require_one_of_each(file, [each.target for each in placed])
    _require_bounded(file, placed, packed)


def _require_one_of_each(file: Path, names: Sequence[str | Path]) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{file}: holds several files of the same name; nothing was unpacked")


def _require_bounded(file: Path, placed: list[_Placed], packed: int) -> None:
    # zipfile never unpacks more of a member than the size that its entry states, so that the sum is a bound.
    unpacked = sum(each.member.size for each in placed)
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_RATIO * packed:
        raise InputError(
            f"{file}: would unpack to {unpacked:,} bytes; at most {MAX_UNPACKED_BYTES:,} and {MAX_RATIO} times "
            "its own size are allowed; nothing was unpacked"
        )


def _sorted_out(placed: list[_Placed]) -> tuple[list[_Placed], list[_Placed]]:
    """Those that have to be written, and those where a file of other contents lies, which may be a person's work."""
    todo, kept = [], []
    for each in placed:
        if not os.path.lexists(each.target):
            todo.append(each)
        elif _is_untouched(each):
            continue
        elif not (each.target.is_file() and _begins_alike(each)):
            kept.append(each)
        elif each.target.stat().st_size < each.member.size:  # another program was ended while it unpacked it
            todo.append(each)
    return todo, kept


def _is_untouched(placed: _Placed) -> bool:
    """Whether the file has the size and the time that unpacking gave it, so that it need not be read."""
    if not placed.target.is_file():
        return False
    status = placed.target.stat()
    return status.st_size == placed.member.size and status.st_mtime_ns == placed.member.modified_ns


def _begins_alike(placed: _Placed) -> bool:
    """Whether all that is in the file is what the archive's begins with."""
    with placed.target.open("rb") as file, placed.member.open() as packed:
        while piece := file.read(2**20):
            if piece != packed.read(len(piece)):
                return False
    return True


def _write(file: Path, todo: list[_Placed]) -> None:
    """Write them to temporary folders and move them, each within one folder that exists, so within one disk."""
    groups: dict[Path, list[_Placed]] = defaultdict(list)
    for each in todo:
        groups[_existing_folder(each.target.parent)].append(each)
    _require_space(file, groups)
    for folder, group in groups.items():
        with temporary_folder(folder) as temporary:
            for member, target in group:
                _extract(member, temporary / target.relative_to(folder))
            _move(temporary, folder)


def _require_space(file: Path, groups: Mapping[Path, list[_Placed]]) -> None:
    needed: Counter[int] = Counter()
    for folder, group in groups.items():
        needed[folder.stat().st_dev] += sum(each.member.size for each in group)
    for folder in groups:
        bytes_, free = needed[folder.stat().st_dev], shutil.disk_usage(folder).free
        if bytes_ > free:
            raise InputError(
                f"{file}: needs {bytes_:,} bytes in {folder}, where {free:,} are free; nothing was unpacked"
            )


def _existing_folder(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists; it may be a link to another disk, or one mounted there.

    Raises:
        InputError: something else lies there.
    """
    if folder.is_dir():
        return folder
    if os.path.lexists(folder):
        raise InputError(f"{folder}: a file, or a link to nowhere, where a folder belongs; move it away")
    return _existing_folder(folder.parent)


def _extract(member: Member, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as packed, to.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, length=2**20)
    os.utime(to, ns=(member.modified_ns, member.modified_ns))


def _move(source: Path, target: Path) -> None:
    """Move a file or folder, merging a folder into the one of that name."""
    if source.is_dir() and target.is_dir():
        for child in source.iterdir():
            _move(child, target / child.name)
    else:
        source.replace(target)
