"""What `torch.save` wrote, read so that nothing in it is run and that it takes little more memory than its file.

torch's own `weights_only` sees to the first: it builds tensors and plain values alone. But it compares no checksums,
and a small file can ask it for much memory: by compressed parts, a `bytearray` of any length, or lists in each other.
"""

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from kaggle_tools.system.files import require_regular

MOST_VALUES = 1_000_000
"""A network of thousands of tensors has some ten thousand values in its checkpoint."""
PLAIN = (str, int, float, bool, type(None), Tensor)
ZIP = b"PK"
ASKS_FOR_MEMORY = b"bytearray"
"""In a pickle, without contents: as many zeros as it likes."""


class DamagedError(ValueError):
    """A file that `torch.save` did not write, or that is no longer as it was written; says in which way."""


def read(path: Path, most_bytes: int) -> object:
    """What is in a file: tensors, on the CPU, and plain values, in dictionaries, lists, tuples and sets.

    Raises:
        InputError: it is no regular file, or larger than `most_bytes`.
        DamagedError: it is damaged, or holds something else.
        FileNotFoundError, PermissionError: it is missing, or not to be read.
    """
    require_regular(path, most_bytes)
    try:
        _require_unchanged(path)
        content: object = torch.load(path, weights_only=True, map_location="cpu")
    except (DamagedError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile, pickle and torch have no type in common for what is wrong with a file
        raise DamagedError(type(error).__name__) from error
    _require_plain(content)
    return content


def _require_unchanged(path: Path) -> None:
    """Compare the checksums, which torch does not look at; torch compresses nothing."""
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP
    if not is_zip:  # of PyTorch before 1.6: without checksums
        if ASKS_FOR_MEMORY in path.read_bytes():
            raise DamagedError("asks for memory")
        return
    with ZipFile(path) as archive:
        if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
            raise DamagedError("compressed")
        pickles = (part for part in archive.infolist() if part.filename.endswith(".pkl"))
        if any(ASKS_FOR_MEMORY in archive.read(part) for part in pickles):
            raise DamagedError("asks for memory")
        changed = archive.testzip()
    if changed:
        raise DamagedError(f"{changed} in it has changed")


def _require_plain(content: object) -> None:
    """Check that there are tensors and plain values alone, and not so many as a few lists in each other can make up."""
    left, seen = [content], 0
    while left:
        value = left.pop()
        seen += 1
        if isinstance(value, Mapping):
            left.extend((*value, *value.values()))
        elif isinstance(value, (list, tuple, set)):
            left.extend(value)
        elif not isinstance(value, PLAIN):
            raise DamagedError(f"a {type(value).__name__} in it")
        if seen + len(left) > MOST_VALUES:
            raise DamagedError(f"more than {MOST_VALUES:,} values")
