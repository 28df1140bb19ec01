import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from finished_runs import dice
from known_competitions import CARVANA
from unfinished_runs import progress, write_unfinished_run

from kaggle_tools.report import live
from kaggle_tools.report.live import page_while_training, write_while
from kaggle_tools.results.records.progress import write_progress
from kaggle_tools.system.processes import own_command, own_environment


class Clock:
    """Passes while `write_while` sleeps; what happens then is told by the second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.events: dict[float, Callable[[], object]] = {}
        monkeypatch.setattr(live.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(live.time, "time", lambda: 7000.0 + self.now)
        monkeypatch.setattr(live.time, "sleep", self.sleep)
        monkeypatch.setattr(live.signal, "signal", lambda *_: None)

    def sleep(self, seconds: float) -> None:
        for when in [when for when in self.events if self.now < when <= self.now + seconds]:
            self.events[when]()
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def pages(clock: Clock, run: Path, seconds: float, fails: Exception | None = None) -> list[tuple[float, float | None]]:
    """When pages are written of a training that ends after so many seconds, and since when its folds have to tell."""
    written = []

    def write(since: float | None) -> None:
        written.append((clock.now, since))
        if fails:
            raise fails

    write_while(lambda: clock.now < seconds, run, write)
    return written


def epochs(clock: Clock, run: Path, every: int, until: int) -> None:
    """An epoch is recorded every so many seconds."""
    (run / "fold0").mkdir(parents=True)
    path = run / "fold0" / "progress.json"
    path.touch()
    for number, when in enumerate(range(every, until, every), start=1):
        clock.events[when] = lambda number=number: os.utime(path, ns=(number, number))  # type: ignore[misc]


def test_a_page_is_written_once_a_minute_however_short_the_epochs_are(clock: Clock, tmp_path: Path) -> None:
    epochs(clock, tmp_path, every=4, until=200)
    assert pages(clock, tmp_path, 200) == [(10, 7000), (70, 7000), (130, 7000), (190, 7000), (200, None)]


def test_without_news_no_page_is_written(clock: Clock, tmp_path: Path) -> None:
    epochs(clock, tmp_path, every=150, until=400)
    assert pages(clock, tmp_path, 400) == [(150, 7000), (300, 7000), (400, None)]


def test_of_a_training_of_seconds_no_page_is_written(clock: Clock, tmp_path: Path) -> None:
    epochs(clock, tmp_path, every=2, until=8)
    assert pages(clock, tmp_path, 8) == []


def test_a_page_of_finished_folds_stays_until_another_one_is_begun(clock: Clock, tmp_path: Path) -> None:
    epochs(clock, tmp_path, every=1000, until=1000)
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold1" / "oof.csv").touch()
    assert pages(clock, tmp_path, 300) == []


def test_a_training_that_asks_for_an_end_gets_a_last_page(clock: Clock, tmp_path: Path) -> None:
    epochs(clock, tmp_path, every=4, until=50)

    def ask() -> None:
        raise SystemExit

    clock.events[100] = ask
    assert pages(clock, tmp_path, 1000) == [(10, 7000), (70, 7000), (98, None)]


def test_what_prevents_pages_is_said_once_and_tried_again(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs(clock, tmp_path, every=4, until=100)
    missing = ModuleNotFoundError("No module named 'matplotlib'")
    assert [when for when, _ in pages(clock, tmp_path, 100, missing)] == [10, 70, 100]
    said = capsys.readouterr().err
    assert said == (
        "warning: no page shows how far the training is, which goes on: "
        "ModuleNotFoundError: No module named 'matplotlib'\n"
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_unfinished_run(tmp_path / "run", {1: progress(3, 10, stems=("a_01",))}, {0: {"b_01": (3, 0)}})


def hurried(run: Path, parent: int) -> list[str]:
    """The process that writes pages, which waits for nothing."""
    words = (str(run), CARVANA.slug, str(parent))
    told = f"Path({words[0]!r}), {words[1]!r}, {parent}, [1]"
    lines = f"live.FIRST_SECONDS = 0.0; live.LOOK_SECONDS = 0.05; live.main({told})"
    return [sys.executable, "-P", "-c", f"from pathlib import Path; from kaggle_tools.report import live; {lines}"]


def until(condition: Callable[[], object]) -> None:
    """Wait for it, as long as a test may take."""
    while not condition():
        time.sleep(0.05)


def test_the_page_is_written_in_a_process_of_low_priority_and_says_in_the_end_that_nothing_is_trained(
    run: Path,
) -> None:
    page = run / "report.html"
    writer = subprocess.Popen(hurried(run, os.getpid()), env=own_environment(), start_new_session=True)
    try:
        until(lambda: os.getpriority(os.PRIO_PROCESS, writer.pid) == live.NICENESS)
        if live.AUTOGROUP.exists():
            autogroup = Path(f"/proc/{writer.pid}/autogroup")
            until(lambda: autogroup.read_text().endswith(f" nice {live.NICENESS}\n"))
        while not page.exists():
            time.sleep(0.05)
            write_progress(run / "fold1", progress(3, 10, written=time.time() + 60))
        assert "Fold 1: 3 of 10 epochs" in page.read_text()
        assert f"{dice(3, 0):.5f}" in page.read_text()
        assert "not asked for" in page.read_text()
        writer.send_signal(signal.SIGTERM)
        writer.wait()
    finally:
        writer.kill()
        writer.wait()
    assert writer.returncode == 0
    assert "Not being trained" in page.read_text()
    assert [path.name for path in run.iterdir() if path.name.startswith(".kaggle")] == []


def test_the_process_that_writes_pages_ends_with_the_training(run: Path) -> None:
    """Here the training is a process that has ended before."""
    with subprocess.Popen(["true"]) as training:
        pass
    done = subprocess.run(hurried(run, training.pid), env=own_environment(), capture_output=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not (run / "report.html").exists()


def test_after_the_training_no_process_is_left_that_writes_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *given: object, **how: object) -> None:
            super().__init__(*given, **how)  # type: ignore[call-overload]
            writers.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    with page_while_training(tmp_path, CARVANA.slug, [0, 3]):
        assert writers[0].poll() is None
    with pytest.raises(KeyboardInterrupt), page_while_training(tmp_path, CARVANA.slug, [0, 3]):
        raise KeyboardInterrupt
    assert [writer.poll() is None for writer in writers] == [False, False]
    assert writers[0].args == own_command(str(tmp_path), CARVANA.slug, str(os.getpid()), "0,3", module=live.MODULE)


def test_a_machine_that_can_start_no_process_trains_without_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with page_while_training(tmp_path, CARVANA.slug, [0, 3]):
        trained = True
    assert trained
    assert "no page is written while folds are trained" in capsys.readouterr().err


def test_the_page_of_finished_folds_stays_and_the_other_one_is_named_and_removed_in_the_end(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "report.html").write_text("of the finished folds")
    beside = run / "progress.html"
    beside.write_text("how far, as it was before")
    with pytest.raises(KeyboardInterrupt), page_while_training(run, CARVANA.slug, [1]):
        raise KeyboardInterrupt
    assert beside.exists()
    with page_while_training(run, CARVANA.slug, [1]):
        assert capsys.readouterr().out == 2 * (
            f"{beside}: how far this training is; the page of the finished folds stays until its end\n"
        )
    assert not beside.exists()
    assert (run / "report.html").read_text() == "of the finished folds"
    with page_while_training(run, CARVANA.slug, [0]):  # which is finished
        assert capsys.readouterr().out == ""
