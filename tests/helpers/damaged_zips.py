"""Zip files that were damaged: a few that once ended in a traceback, kept as files, and any number at random."""

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

KEPT = sorted(Path(__file__).with_name("damaged_zips").glob("*.zip"))
"""Named after the compression and what zipfile raises; each holds the one file `train/a_01.jpg`."""
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
"""Every compression that zipfile knows."""
CHANGES = 2000


def whole_zip(method: int, name: str, content: bytes) -> bytes:
    """The bytes of a zip file that holds one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def damaged_zips(method: int, name: str, content: bytes) -> Iterator[bytes]:
    """The same ones every time: 1 to 3 bytes changed, or the end cut off."""
    generator, whole = random.Random(0), whole_zip(method, name, content)
    for _ in range(CHANGES):
        changed = bytearray(whole)
        for _ in range(generator.choice((1, 1, 2, 3))):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        yield bytes(changed[: generator.randrange(len(changed))] if generator.random() < 0.1 else changed)
