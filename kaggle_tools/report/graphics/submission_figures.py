"""The figures of submissions: what was expected of them and what they scored, over time and against each other."""

from collections.abc import Sequence
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.text import Annotation

from kaggle_tools.errors import counted
from kaggle_tools.kaggle_api.overview import KnownScores, draw_scores
from kaggle_tools.report.graphics.axes import bound, draw_estimate, draw_whole
from kaggle_tools.report.graphics.svg import INK, SERIES, Key, Plot, new_drawing
from kaggle_tools.results.scores import Estimate


def over_time(times: Sequence[datetime], expected: Sequence[Estimate | None], public: Sequence[float | None]) -> Plot:
    """Cross-validation and leaderboard, submission by submission."""
    with new_drawing("Over time") as drawing:
        axes = drawing.axes
        for time, estimate in zip(times, expected, strict=True):
            if estimate:
                draw_estimate(axes, date2num(time), estimate, SERIES[0])
        known = [(date2num(time), score) for time, score in zip(times, public, strict=True) if score is not None]
        if any(expected):
            drawing.keys.append(Key("expected, with its 95 % interval", SERIES[0], "dot"))
        if known:
            axes.plot(*zip(*known, strict=True), "D", color=SERIES[1], markersize=5, clip_on=False)
            drawing.keys.append(Key("public", SERIES[1], "diamond"))
        bound(axes, "y")
        stamps = date2num(times)
        margin = 0.05 * (stamps.max() - stamps.min()) or 0.5  # half a day around a single submission
        axes.set_xlim(stamps.min() - margin, stamps.max() + margin)
        days = AutoDateLocator(minticks=2, maxticks=5)
        axes.xaxis.set_major_locator(days)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(days))
        axes.set_xlabel("time, UTC", loc="left")  # the right end is that of the year or the day
        axes.set_ylabel("score")
        best = max((score for _, score in known), default=None)
        drawing.alt = f"{counted(len(times), 'submission')} over time; " + (
            "none has a public score." if best is None else f"the best public score is {best:.5f}."
        )
    return drawing.plot


def against_leaderboard(known: Sequence[KnownScores]) -> Plot:
    """Public scores over expected ones."""
    with new_drawing("Cross-validation against leaderboard") as drawing:
        axes = drawing.axes
        draw_scores(axes, known, points=SERIES[0], diagonal=INK)
        for drawn in axes.containers:
            draw_whole(drawn)
        bound(axes, "x")
        bound(axes, "y")
        _part_names(axes)
        axes.set_xlabel("expected score")
        drawing.keys = [
            Key("a submission, with the 95 % interval of its expected score", SERIES[0], "dot"),
            Key("as expected", INK, "dashed"),
        ]
        above = sum(one.public > one.expected.score for one in known)
        drawing.alt = (
            f"{counted(len(known), 'submission')}; {counted(above, 'has', 'have')} a higher public score than expected."
        )
    return drawing.plot


def _part_names(axes: Axes) -> None:
    """Of names beside points, keep those that lie in no other one's way, the last ones first, and within the axes."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    taken: list[tuple[float, float, float]] = []
    for name in reversed([text for text in axes.texts if isinstance(text, Annotation)]):
        x, y = (name.xy[0] - left) / (right - left), (name.xy[1] - bottom) / (top - bottom)
        width, height = 0.05 + 0.036 * len(name.get_text()), 0.14  # of the narrowest drawing, as shares of its axes
        start = x if x + width <= 1 else x - width
        middle = y + height / 2 if y < 0.85 else y - height / 2
        if any(abs(start - other) < max(width, wide) and abs(middle - high) < height for other, high, wide in taken):
            name.remove()
            continue
        taken.append((start, middle, width))
        name.set_horizontalalignment("left" if start == x else "right")
        name.xyann = (6 if start == x else -6, 4 if middle > y else -12)
