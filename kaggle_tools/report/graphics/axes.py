"""The axes of figures: ticks so few that their labels have room, and ends where there can be no value beyond.

Plain axes of matplotlib in, nothing out. Knows nothing of pages.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.container import Container
from matplotlib.ticker import FuncFormatter, MaxNLocator, StrMethodFormatter
from rich.cells import cell_len

from kaggle_tools.results.scores import Estimate

# In multiples of the size of the text, of matplotlib's own font: hardly one is wider.
CHARACTER, LINE, GAP = 0.64, 1.25, 0.7


class RoomyTicks(MaxNLocator):
    """As many ticks, with `most` steps, as have room for their labels beside each other, or above each other.

    matplotlib's own ones take every label for one of a few digits, so that scores of five digits overlap.
    """

    def __init__(self, most: int = 8, *, integer: bool = False, turned: bool = False) -> None:
        super().__init__(most, steps=[1, 2, 2.5, 5, 10], integer=integer, min_n_ticks=1 if integer else 2)
        self.most = most
        self.turned = turned
        """Whether the labels are written upwards."""

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks of an axis from `vmin` to `vmax`, and maybe one beyond either end."""
        ticks: list[float] = []
        for most in range(self.most, 0, -1):
            self.set_params(nbins=most)
            ticks = [float(tick) for tick in super().tick_values(vmin, vmax)]
            if self._have_room([tick for tick in ticks if vmin <= tick <= vmax], vmax - vmin):
                break
        return ticks

    def _have_room(self, ticks: list[float], span: float) -> bool:
        if len(ticks) < 2:
            return True
        axis = self.axis
        assert isinstance(axis, Axis), "set as the locator of an axis"
        between = (ticks[1] - ticks[0]) / span * _length(axis)
        if isinstance(axis, YAxis) or self.turned:
            return between >= LINE + GAP / 4
        longest = max(map(cell_len, axis.get_major_formatter().format_ticks(ticks)))
        return between >= longest * CHARACTER + GAP


def names_below(axes: Axes, names: Sequence[str]) -> None:
    """Write names below 0, 1, 2 and so on: upwards where they have no room beside each other; some, where not all have.

    How much room there is follows from the narrowest size in which the figure is drawn, so that all sizes are alike.
    """
    longest = max(map(cell_len, names))
    turned = longest > 2 and len(names) * (longest * CHARACTER + GAP) > _length(axes.xaxis)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.xaxis.set_major_locator(RoomyTicks(len(names), integer=True, turned=turned))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: names[round(at)] if 0 <= at < len(names) else ""))
    if turned:
        axes.tick_params(axis="x", labelrotation=90)


def bound(axes: Axes, which: str, low: float = 0, high: float = 1) -> None:
    """End the axis x or y where there can be no value beyond: a score is from 0 to 1."""
    if which == "x":
        at = axes.get_xlim()
        axes.set_xlim(max(low, at[0]), min(high, at[1]))
    else:
        at = axes.get_ylim()
        axes.set_ylim(max(low, at[0]), min(high, at[1]))


def count_photos(axes: Axes) -> None:
    """Of a histogram: whole numbers of photos upwards."""
    axes.set_ylabel("photos")
    axes.yaxis.set_major_locator(RoomyTicks(integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def draw_whole(drawn: Container) -> None:
    """Let marks at the end of an axis not be cut by it."""
    for part in drawn.get_children():
        part.set_clip_on(False)


def draw_points_whole(axes: Axes) -> None:
    """Let lines of a single point not be cut by the end of an axis at which it lies; beyond one it stays unseen."""
    low, high = axes.get_ylim()
    for line in axes.get_lines():
        values = np.asarray(line.get_ydata(), dtype=float)
        if len(values) == 1 and low <= values[0] <= high:
            line.set_clip_on(False)


def draw_estimate(axes: Axes, at: float, estimate: Estimate, colour: str) -> None:
    """A mean score with its interval, also at the end of an axis drawn whole."""
    drawn = axes.errorbar([at], [estimate.score], yerr=estimate.spread, fmt="o", capsize=2, markersize=4, color=colour)
    draw_whole(drawn)


def _length(axis: Axis) -> float:
    """Of an axis, in multiples of the size of the text."""
    figure = axis.axes.get_figure(root=True)
    assert figure is not None, "axes of a figure"
    pixels = axis.axes.bbox.height if isinstance(axis, YAxis) else axis.axes.bbox.width
    return float(pixels / figure.dpi * 72 / mpl.rcParams["font.size"])
