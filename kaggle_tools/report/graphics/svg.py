"""How a figure becomes SVG: drawn once by matplotlib, in colours that the page names.

So it follows light, dark and print, its words are in the page's font, and it asks for no other file.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

WIDTH, HEIGHT = 4.4, 2.9  # inches; on a phone these are the sizes of the page, so that 9 points can be read

# Stand-ins that occur nowhere else: in the finished drawing the page's own names take their places.
INK, FAINT = "#010101", "#020202"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406", "#040407", "#040408")
_NAMES = {INK: "currentColor", FAINT: "var(--line)"}
_NAMES |= {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}

STYLE: dict[RcKeyType, str | float | bool] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,  # a $ in a file name is a $
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Plot:
    """A drawing for the page."""

    title: str
    svg: Markup
    alt: str
    """What it shows, for those who do not see it."""


class Drawing:
    """A figure on its way to a plot: the caller draws on `axes` and writes `alt`."""

    def __init__(self, title: str, rows: int) -> None:
        self.title, self.alt, self.svg = title, "", Markup()
        self.figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        ratios = [3, 1] if rows == 2 else None
        found = self.figure.subplots(rows, sharex=True, height_ratios=ratios)
        self.all_axes: list[Axes] = list(np.atleast_1d(found))
        self.axes = self.all_axes[0]

    @property
    def plot(self) -> Plot:
        """The finished plot, once the block of `new_drawing` has ended."""
        return Plot(self.title, self.svg, self.alt)


@contextmanager
def new_drawing(title: str, rows: int = 1) -> Iterator[Drawing]:
    """Begin a drawing of one axes, or of two above each other; it becomes SVG when the block ends."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": title}):
        drawing = Drawing(title, rows)
        yield drawing
        drawing.svg = _svg(drawing.figure)


def _svg(figure: Figure) -> Markup:
    text = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that its own fonts lack: the page has others
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = re.sub('<g id="[^"]*">', "<g>", svg[svg.index("<svg") :])  # the same in every drawing, and of no use
    for colour, name in _NAMES.items():
        svg = svg.replace(colour, name)
    return Markup(svg)  # matplotlib has escaped the texts
