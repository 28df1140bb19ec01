"""Figures as the page shows them, in a real browser."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from chromium import chromium, show
from drawn_plots import HARD

from kaggle_tools.report.graphics.svg import Plot, new_drawing
from kaggle_tools.report.page import Page, write_page
from kaggle_tools.report.parts.submissions import SubmissionsPart
from kaggle_tools.results.tables import Table

WIDTHS = (1280, 768, 360)
SEEN = """
return [...document.querySelectorAll('.plot svg')].filter(svg => svg.getClientRects().length).map(svg => {
  const edges = (element) => { const box = element.getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom]; };
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return {
    plot: svg.closest('.plot').querySelector('figcaption').textContent,
    size: svg.className.baseVal,
    edges: edges(svg),
    texts: [...svg.querySelectorAll('text')].map(text =>
      ({words: text.textContent, edges: edges(text), pixels: parseFloat(getComputedStyle(text).fontSize) * scale})),
  };
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of all the figures that are hard to draw."""
    return page_of([draw() for draw in HARD.values()], tmp_path_factory.mktemp("plots"))


def page_of(plots: list[Plot], folder: Path) -> Path:
    shown = SubmissionsPart(
        count=1, scored=0, best=None, agreement=None, mean_gap=None, table=Table([], []), plots=plots
    )
    path = folder / "page.html"
    write_page(path, Page("Plots", "", "", [], submissions=shown))
    return path


def seen(browser: Any, page: Path, width: int, medium: str = "screen") -> list[dict[str, Any]]:
    """The drawings that are shown, with their texts."""
    show(browser, page, width, medium)
    return browser.execute_script(SEEN)


@pytest.mark.parametrize("width", [*WIDTHS, 1024, 412, 320])
def test_all_text_of_plots_has_the_size_of_captions_at_every_width(browser: Any, page: Path, width: int) -> None:
    """That is .78rem, 12.48 pixels."""
    shown = seen(browser, page, width)
    assert len(shown) == len(HARD)
    sizes = {round(text["pixels"], 1) for plot in shown for text in plot["texts"]}
    caption = browser.execute_script("return getComputedStyle(document.querySelector('.marks')).fontSize")
    assert (sizes, caption) == ({12.5}, "12.48px")


@pytest.mark.parametrize(("width", "size"), [(1280, "large"), (768, "medium"), (360, "small")])
def test_a_page_shows_the_largest_drawing_that_has_room(browser: Any, page: Path, width: int, size: str) -> None:
    sizes = [plot["size"] for plot in seen(browser, page, width)]
    assert set(sizes[: len(sizes) // 2 * 2]) == {size}  # the last one of an odd number has a row of its own


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_a_plot_is_cut_or_lies_upon_another(browser: Any, page: Path, width: int) -> None:
    faults = []
    for plot in seen(browser, page, width):
        left, top, right, bottom = plot["edges"]
        for text in plot["texts"]:
            x0, y0, x1, y1 = text["edges"]
            if x0 < left - 1 or x1 > right + 1 or y0 < top - 1 or y1 > bottom + 1:
                faults.append((plot["plot"], text["words"], "is cut"))
        for one, other in itertools.combinations(plot["texts"], 2):
            if overlap(one["edges"], other["edges"]):
                faults.append((plot["plot"], one["words"], other["words"]))
    assert faults == []


def overlap(one: list[float], other: list[float]) -> bool:
    """Boxes of text hold room above and below its letters, a sixth of their height, that may be shared."""
    room = 12.48 / 6
    across = min(one[2], other[2]) - max(one[0], other[0])
    upwards = min(one[3], other[3]) - max(one[1], other[1])
    return across > 0 and upwards > room


@pytest.mark.parametrize(
    ("count", "width", "rows"),
    [
        (1, 1280, [1]),
        (2, 1280, [2]),
        (3, 1280, [3]),
        (4, 1280, [2, 2]),
        (2, 768, [2]),
        (3, 768, [2, 1]),
        (4, 768, [2, 2]),
        (3, 360, [1, 1, 1]),
    ],
)
def test_plots_fill_their_rows(browser: Any, tmp_path: Path, count: int, width: int, rows: list[int]) -> None:
    """The last one of three on a tablet is larger than the others, and has a row of its own."""
    page = page_of([HARD["coverage"]()] * count, tmp_path)
    shown = seen(browser, page, width)
    tops = [plot["edges"][1] for plot in shown]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == rows
    if (count, width) == (3, 768):
        assert [plot["size"] for plot in shown] == ["medium", "medium", "large"]


def test_the_colour_of_a_key_is_that_of_the_marks(browser: Any, page: Path) -> None:
    show(browser, page)
    script = (
        "const plot = [...document.querySelectorAll('.plot')].find(p => p.textContent.trim().startsWith('Loss'));"
        "const key = [...plot.querySelectorAll('.mark')].find(mark => mark.textContent === 'fold 1');"
        "const line = [...plot.querySelectorAll('svg.large path')].filter("
        "  path => path.style.stroke === 'var(--series-2)')[0];"
        "return [getComputedStyle(key, '::before').borderTopColor, getComputedStyle(line).stroke]"
    )
    assert browser.execute_script(script) == ["rgb(217, 115, 13)"] * 2


def test_a_long_label_is_broken_into_lines() -> None:
    with new_drawing("Long") as drawing:
        drawing.axes.set_ylabel("so long a label is longer than a phone is wide")
    small, _, large = ElementTree.fromstring(f"<plot>{drawing.plot.svg}</plot>")
    assert {"so long a label is longer", "than a phone is wide"} < set(small.itertext())
    assert "so long a label is longer than a phone is wide" in set(large.itertext())
