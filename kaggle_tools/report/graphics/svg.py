"""How a figure becomes SVG: drawn by matplotlib in three sizes, in colours that the page names.

So it follows light, dark and print, its words are in the page's font, and it asks for no other file. The page shows the
largest drawing that has room, none of them scaled, so that their text has one size everywhere.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator
from matplotlib.typing import RcKeyType

from kaggle_tools.report.graphics.axes import RoomyTicks

REM = 12  # points: the 16 pixels of the page's text
FONT = 0.78 * REM  # as the page's captions


class _Size(NamedTuple):
    """A size in which figures are drawn, as `templates/page.css` calls it; in rem."""

    name: str
    width: float
    height: float


SIZES = (
    _Size("small", 17.75, 13),  # a column of a phone
    _Size("medium", 20.25, 14),  # one of two columns of a tablet, one of three of a desktop
    _Size("large", 34.5, 19),  # one of two columns of a desktop
)
TWO_ROWS = 1.25  # so much higher are two axes above each other

# Stand-ins that occur nowhere else: in the finished drawing the page's own names take their places.
INK, FAINT = "#010101", "#020202"
SERIES = ("#040401", "#040402", "#040403", "#040404", "#040405", "#040406", "#040407", "#040408")
_NAMES = {INK: "currentColor", FAINT: "var(--line)"}
_NAMES |= {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}

STYLE: dict[RcKeyType, str | float | bool | tuple[int, int]] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,  # a $ in a file name is a $
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": "medium",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-9, 12),  # digits, where others would write a power beside the axis
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
}


class Key(NamedTuple):
    """What a mark of a figure means; it stands above the drawing, where words find room at every width."""

    words: str
    colour: str
    """One of those above."""
    mark: Literal["line", "dashed", "dotted", "dot", "diamond", "area"] = "line"

    @property
    def on_the_page(self) -> str:
        """The colour as the page names it."""
        return _NAMES[self.colour]


@dataclass(frozen=True)
class Plot:
    """A drawing for the page."""

    title: str
    svg: Markup
    """The drawing in each of the sizes, of which the page shows one."""
    alt: str
    """What it shows, for those who do not see it."""
    keys: tuple[Key, ...] = ()


class Drawing:
    """A figure on its way to a plot: the caller draws on `axes`, adds `keys` and writes `alt`."""

    def __init__(self, title: str, rows: int) -> None:
        self.title, self.alt, self.svg = title, "", Markup()
        self.keys: list[Key] = []
        self.rows = rows
        self.figure = Figure(figsize=_inches(SIZES[0], rows), layout="constrained")
        ratios = [2, 1] if rows == 2 else None
        found = self.figure.subplots(rows, sharex=True, height_ratios=ratios)
        self.all_axes: list[Axes] = list(np.atleast_1d(found))
        self.axes = self.all_axes[0]

    @property
    def plot(self) -> Plot:
        """The finished plot, once the block of `new_drawing` has ended."""
        return Plot(self.title, self.svg, self.alt, tuple(self.keys))


@contextmanager
def new_drawing(title: str, rows: int = 1) -> Iterator[Drawing]:
    """Begin a drawing of one axes, or of two above each other; it becomes SVG when the block ends."""
    with mpl.rc_context(STYLE):
        drawing = Drawing(title, rows)
        yield drawing
        drawing.svg = Markup().join(_in_sizes(drawing))


def _in_sizes(drawing: Drawing) -> Iterator[Markup]:
    labels = [(axes, axes.get_xlabel(), axes.get_ylabel()) for axes in drawing.all_axes]
    for axes in drawing.all_axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_locator(), AutoLocator):
                axis.set_major_locator(RoomyTicks())
    for size in SIZES:
        drawing.figure.set_size_inches(_inches(size, drawing.rows))
        characters = int((size.width - 3.75) * 2.1)  # beside the labels of the ticks
        for axes, along, upwards in labels:
            axes.set_xlabel(textwrap.fill(along, characters))
            axes.set_ylabel("")  # above the axis: written along it, it would be longer than the axis is high
            axes.set_title(textwrap.fill(upwards, characters), loc="left")
        with mpl.rc_context({"svg.hashsalt": f"{drawing.title} {size.name}"}):  # names of parts differ on the page
            yield _svg(drawing.figure, size.name)


def _inches(size: _Size, rows: int) -> tuple[float, float]:
    return size.width * REM / 72, size.height * REM / 72 * (TWO_ROWS if rows == 2 else 1)


def _svg(figure: Figure, name: str) -> Markup:
    text = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that its own fonts lack: the page has others
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = re.sub('<g id="[^"]*">', "<g>", svg[svg.index("<svg") :])  # the same in every drawing, and of no use
    svg = re.sub(r"font-family: [^;\"]*(; |(?=\"))", "", svg)
    svg = re.sub(r'(width|height)="([\d.]+)pt"', lambda side: f'{side[1]}="{float(side[2]) / REM:g}rem"', svg, count=2)
    svg = svg.replace("<svg ", f'<svg class="{name}" ', 1)
    for colour, on_the_page in _NAMES.items():
        svg = svg.replace(colour, on_the_page)
    return Markup(svg)  # matplotlib has escaped the texts
