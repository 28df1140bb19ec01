"""The page of a run while its folds are trained: `python -m kaggle_tools.report.live RUN COMPETITION PARENT FOLDS`.

A process of its own, of the lowest priority, reads the run's files and writes the page. So the training does not wait
for it, and whatever happens to it, from a full disk to a library that is missing, does not happen to the training.
Once that has ended otherwise than well, even if it was killed, the page says so.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kaggle_tools.system.output import make_lasting, say, warn
from kaggle_tools.system.processes import own_command, own_environment

MODULE = "kaggle_tools.report.live"
NICENESS = 19
AUTOGROUP = Path("/proc/self/autogroup")
FIRST_SECONDS = 10.0
"""A training that is over by then needs no page before that at its end."""
PAGE_SECONDS = 60.0
LOOK_SECONDS = 2.0
LAST_SECONDS = 20.0
"""How long the last page of a training that failed may take."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
RECORDS = ("fold*/progress.json", "fold*/oof.csv")
"""What changes where a fold goes on or ends. `results` has the names, but takes long to load in a short training."""
Write = Callable[[float | None], object]
"""Writes a page, in which those folds are being trained that have told so since this time, in seconds since 1970."""


@contextmanager
def page_while_training(run: Path, competition: str, folds: Sequence[int]) -> Iterator[None]:
    """Have the run's page written, once a minute at most, while the block trains these folds.

    After a block that ends well, who goes on writes the page of the finished folds.
    """
    from kaggle_tools.report.places import LIVE_FILE, live_place, remove_live  # who trains has loaded it all
    from kaggle_tools.results.run_folder import finished_folds

    if (place := live_place(run)).name == LIVE_FILE and set(folds) - set(finished_folds(run)):
        say(f"{place}: how far this training is; the page of the finished folds stays until its end")
    command = own_command(str(run), competition, str(os.getpid()), ",".join(map(str, folds)), module=MODULE)
    try:
        # In a session of its own, so that Ctrl-C ends the training alone, and the page can say that it did.
        writer = subprocess.Popen(
            command,
            env=own_environment() | ONE_THREAD,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        warn(f"no page is written while folds are trained: {error}")
        yield
        return
    try:
        yield
    except BaseException:
        writer.terminate()
        with suppress(subprocess.TimeoutExpired):
            writer.wait(LAST_SECONDS)
        raise
    finally:
        writer.kill()
        writer.wait()
    remove_live(run)


def write_while(goes_on: Callable[[], bool], run: Path, write: Write) -> None:
    """Write a page whenever the records of the run have changed, once a minute at most, while its training goes on.

    There is none of a training that is over within seconds; of others a last one says that they are over, also where
    SystemExit is raised meanwhile. Of what prevents pages, the first is said.
    """
    since, due, shown = time.time(), time.monotonic() + FIRST_SECONDS, _records(run)
    tried: list[bool] = []
    with suppress(SystemExit):
        while goes_on():
            time.sleep(LOOK_SECONDS)
            found = _records(run)
            if time.monotonic() < due or found == shown:
                continue
            due, shown = time.monotonic() + PAGE_SECONDS, found
            tried.append(_is_written(write, since, quietly=not all(tried)))
    if tried:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _is_written(write, None, quietly=not all(tried))


def _records(run: Path) -> dict[Path, int]:
    """The files that tell how far the folds are, and when each was written."""
    found = {}
    for path in (path for pattern in RECORDS for path in run.glob(pattern)):
        with suppress(OSError):  # a fold that ends removes its record
            found[path] = path.stat().st_mtime_ns
    return found


def _is_written(write: Write, since: float | None, quietly: bool) -> bool:
    try:
        write(since)
    except Exception as error:  # whatever it is, the training goes on, and the next page may succeed
        if not quietly:
            warn(f"no page shows how far the training is, which goes on: {type(error).__name__}: {error}")
        return False
    return True


def main(run: Path, competition: str, parent: int, folds: Sequence[int]) -> None:
    """Write pages until the process that trains these folds, the parent of this one, asks for an end or has ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    make_lasting()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICENESS)
        if os.getsid(0) == os.getpid():
            # Linux shares the processor between sessions, and only within one by niceness: sched(7), "autogroup".
            with suppress(OSError):
                AUTOGROUP.write_text(str(NICENESS))

    def write(since: float | None) -> None:
        from kaggle_tools.competitions.named import recorded  # what is heavy is loaded once there is something to show
        from kaggle_tools.report.writing import write_progress

        write_progress(run, recorded(run, competition), since=since, asked=folds)

    write_while(lambda: os.getppid() == parent, run, write)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(fold) for fold in sys.argv[4].split(",")])
