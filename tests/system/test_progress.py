import sys
from collections.abc import Iterator

import pytest

from kaggle_tools.system import progress
from kaggle_tools.system.progress import duration, track, warned_of_deadline


class Clock:
    """Set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class TestLines:
    def said(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        return capsys.readouterr().out.splitlines()

    def test_a_line_of_progress_is_printed_each_half_minute_and_at_the_end(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for _ in track(range(10), 10, "masks"):
            clock.now += 12
        assert self.said(capsys) == [
            "masks: 3 of 10, 0.083 a second, 84 s left",  # 36 s for 3, so as long again for each 3 of the other 7
            "masks: 6 of 10, 0.083 a second, 48 s left",
            "masks: 9 of 10, 0.083 a second, 12 s left",
            "masks: 10 of 10, 0.083 a second",
        ]

    def test_the_rate_of_progress_is_that_since_the_start(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in track(range(2400), 2400, "photos"):
            clock.now += 1 / 64 if number < 1920 else 1 / 8
        assert self.said(capsys) == [
            "photos: 1,920 of 2,400, 64.0 a second, 8 s left",  # 30 s
            "photos: 2,160 of 2,400, 36.0 a second, 7 s left",  # 60 s
            "photos: 2,400 of 2,400, 26.7 a second",  # 90 s
        ]

    def test_progress_counts_the_time_in_which_items_are_made(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def slow() -> Iterator[int]:
            for number in range(4):
                clock.now += 7200
                yield number

        assert list(track(slow(), 4, "folds")) == [0, 1, 2, 3]
        assert self.said(capsys)[:2] == [
            "folds: 1 of 4, 0.00014 a second, 6.0 h left",
            "folds: 2 of 4, 0.00014 a second, 4.0 h left",
        ]

    def test_work_shorter_than_half_a_minute_prints_one_line_of_progress(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for _ in track("abc", 3, "masks"):
            clock.now += 0.5
        assert self.said(capsys) == ["masks: 3 of 3, 2.0 a second"]

    def test_no_work_prints_no_progress(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        assert list(track([], 0, "masks")) == []
        assert self.said(capsys) == []

    def test_progress_makes_items_only_as_they_are_asked_for(self, clock: Clock) -> None:
        made = []
        tracked = track((made.append(number) or number for number in range(5)), 5, "masks")
        assert made == []
        clock.now += 1
        assert [next(tracked), next(tracked)] == made == [0, 1]


def test_a_terminal_shows_a_progress_bar_instead_of_lines(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert list(track("abc", 3, "masks")) == ["a", "b", "c"]
    said = capsys.readouterr().out
    assert "masks: " not in said
    assert "3/3" in said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (60 * 89, "89 min"), (5400, "1.5 h"), (90000, "25.0 h")],
)
def test_a_duration_is_written_in_seconds_minutes_or_hours(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class TestDeadline:
    """Items that take half a minute each."""

    def said(self, clock: Clock, capsys: pytest.CaptureFixture[str], hours: float) -> str:
        for _ in warned_of_deadline(range(480), 480, clock.now + hours * 3600):
            clock.now += 30
        return capsys.readouterr().err

    def test_that_the_deadline_comes_before_the_end_is_said_once_after_a_minute(
        self, clock: Clock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """480 items take 4 hours; in 1.5 hours come a third of them and then some."""
        assert self.said(clock, capsys, 1.5) == (
            "warning: about 4.0 h for all, more than --max-hours allows: the same command continues, about 3 times in "
            "all\n"
        )

    @pytest.mark.parametrize("hours", [4.0, 5.0, float("inf"), 0.0, -1.0])
    def test_nothing_is_said_where_the_time_suffices_or_where_there_is_none(
        self, clock: Clock, capsys: pytest.CaptureFixture[str], hours: float
    ) -> None:
        assert self.said(clock, capsys, hours) == ""
