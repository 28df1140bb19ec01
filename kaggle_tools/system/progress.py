"""Progress over many photos: a bar on a terminal, a plain line now and then elsewhere."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from kaggle_tools.system.output import say, warn

T = TypeVar("T")

LINE_SECONDS = 30.0
"""How often a line is printed where there is no terminal."""
LOOK_SECONDS = 60.0
"""After which it is known how fast the work goes."""


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items, showing how many of `total` are done, how fast, and how long the rest will take."""
    yield from _bar(items, total, what) if sys.stdout.isatty() else _lines(items, total, what)


def warned_of_deadline(items: Iterable[T], total: int, deadline: float) -> Iterator[T]:
    """Yield the items; say once, after a minute of them, if `deadline`, as `time.monotonic` counts, comes too early."""
    started, looked = time.monotonic(), False
    for done, item in enumerate(items, start=1):
        yield item
        elapsed = time.monotonic() - started
        if looked or elapsed < LOOK_SECONDS:
            continue
        looked, needed, allowed = True, elapsed / done * total, deadline - started
        if 0 < allowed < needed:
            warn(more_than_allowed(f"about {duration(needed)} for all", needed, allowed))


def more_than_allowed(what: str, needed: float, allowed: float) -> str:
    """That something takes longer than --max-hours allows, and how often its command is needed. Both in seconds."""
    times = math.ceil(needed / allowed)
    return f"{what}, more than --max-hours allows: the same command continues, about {times} times in all"


def duration(seconds: float) -> str:
    """`45 s`, `12 min` or `3.4 h`, as short as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _bar(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    speed = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(what, total=total, rate="")
        for item in items:
            yield item
            progress.update(task, advance=1, rate=_rate(progress.tasks[0].speed or 0.0))


def _lines(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    started = printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - printed >= LINE_SECONDS or done == total:
            printed = now
            rate = done / max(now - started, 1e-3)  # a coarse clock may not have moved
            left = f", {duration((total - done) / rate)} left" if done < total else ""
            say(f"{what}: {done:,} of {total:,}, {_rate(rate)}{left}")


def _rate(per_second: float) -> str:
    return f"{per_second:,.1f} a second" if per_second >= 1 else f"{per_second:.2g} a second"
