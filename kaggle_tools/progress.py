"""Progress over many photos: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

LINE_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items, showing how many of `total` are done."""
    if sys.stdout.isatty():
        from rich.progress import track as bar

        yield from bar(items, total=total, description=what)
        return
    started = printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - printed >= LINE_SECONDS or done == total:
            printed = now
            print(f"{what}: {done:,} of {total:,}, {done / (now - started):.1f} a second", flush=True)
