"""How pages are laid out at every width, in a real browser, whatever names and photos come."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium, show
from finished_runs import draw_photos, write_pred, write_run
from known_competitions import CARVANA
from PIL import Image

from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.report.page import isolated
from kaggle_tools.report.writing import write_report
from kaggle_tools.results import pred_folder
from kaggle_tools.results.pred_folder import photo_note
from kaggle_tools.results.records.masks import Record
from kaggle_tools.system.files import sha256

WIDTHS = range(320, 1641, 60)
LONG = "long-name-" * 10
CARS = ("a", "b", "c", LONG)
HEBREW = ("\u05d0\u05d1", "\u05d2\u05d3")
BOXES = "return [...document.querySelectorAll(arguments[0])].map(one => one.getBoundingClientRect().toJSON())"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a page can hold of runs and masks, with a name of a hundred letters."""
    folder = tmp_path_factory.mktemp("layout")
    stems = [f"{car}_{view:02}" for car in CARS for view in range(1, 5)]
    draw_photos(folder / "data", stems)
    runs = []
    for run, more in (("good", 0), (LONG, 2)):
        errors = {stem: (number % 5 + more * (number % 4), number % 3) for number, stem in enumerate(stems)}
        folds = {
            fold: {stem: errors[stem] for stem in stems if stem[0] in cars} for fold, cars in ((0, "ab"), (1, "cl"))
        }
        runs.append(write_run(folder / run, folder / "data", folds))
    pred = write_pred(folder / "pred", folder / "data" / "train", dict.fromkeys(stems, 30))
    return write_report(folder / "page.html", CARVANA, runs, pred)


def rows_of(boxes: list[dict[str, float]]) -> list[list[dict[str, float]]]:
    return [list(row) for _, row in groupby(boxes, key=lambda box: round(box["top"]))]


def test_cards_fill_their_rows_from_edge_to_edge_at_every_width(browser: Any, page: Path) -> None:
    show(browser, page)
    for width in WIDTHS:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        (holder, *_) = browser.execute_script(BOXES, ".cards")
        rows = rows_of(browser.execute_script(BOXES, ".cards > *"))
        for row in rows:
            assert row[0]["left"] == pytest.approx(holder["left"], abs=1), width
            assert row[-1]["right"] == pytest.approx(holder["right"], abs=1), width
        assert sum(map(len, rows)) == 5  # comparison, score and worst cars; masks and the most doubtful
        of_masks = rows[-1] if len(rows[-1]) > 1 else rows[-2] + rows[-1]
        assert len(of_masks) == 2, f"{width}: cards of runs and of masks share a row"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_two_pictures_of_one_photo_stay_side_by_side_at_every_width(browser: Any, page: Path) -> None:
    show(browser, page)
    for width in WIDTHS:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        shots = browser.execute_script(
            "return [...document.querySelectorAll('#comparison .shot')].map(shot => ({"
            "...shot.getBoundingClientRect().toJSON(), stem: shot.dataset.stem}))"
        )
        assert len(shots) >= 6
        for one, other in zip(shots[::2], shots[1::2], strict=True):
            assert one["stem"] == other["stem"]
            assert (one["top"], one["right"] <= other["left"]) == (other["top"], True), width


def test_long_names_take_no_more_than_three_lines_and_are_whole_in_the_larger_view(browser: Any, page: Path) -> None:
    for width in (360, 1280):
        show(browser, page, width)
        for selector, line in ((".shot strong", 17), (".card .big", 33), (".three p strong", 22), ("h1", 31)):
            heights = [box["height"] for box in browser.execute_script(BOXES, selector)]
            assert 0 < max(heights) <= 3 * line + 1, selector
    browser.execute_script(f"document.querySelector('[data-stem^=\"{LONG}\"] button').click()")
    assert browser.execute_script("return document.getElementById('view-name').textContent").startswith(LONG)


@pytest.fixture(scope="module")
def page_of_usual_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cars with names as Carvana's have, of a run and of masks."""
    folder = tmp_path_factory.mktemp("usual")
    stems = [
        f"{car}{number:x}_{view:02}" for car in ("3f7a6bd0e1c", "d9412115ac9") for number in (1, 2) for view in (1, 2)
    ]
    draw_photos(folder / "data", stems)
    errors = {stem: (number, 0) for number, stem in enumerate(stems)}
    run = write_run(folder / "run", folder / "data", {0: errors})
    pred = write_pred(folder / "pred", folder / "data" / "train", dict.fromkeys(stems, 30))
    return write_report(folder / "page.html", CARVANA, [run], pred)


def test_tables_beside_each_other_need_no_scrolling_on_a_desktop(browser: Any, page_of_usual_names: Path) -> None:
    show(browser, page_of_usual_names)
    sizes = "return [...document.querySelectorAll('.side .scroll')].map(one => [one.scrollWidth, one.clientWidth])"
    found = browser.execute_script(sizes)
    assert len(found) == 2
    assert all(inner <= outer for inner, outer in found)


def test_the_caption_of_a_table_that_is_wider_than_a_phone_is_seen_whole(
    browser: Any, page_of_usual_names: Path
) -> None:
    show(browser, page_of_usual_names, 360)
    script = (
        "return [...document.querySelectorAll('.scroll')].map(one => {"
        "one.scrollLeft = 60; const inner = one.querySelector('caption span').getBoundingClientRect();"
        "const outer = one.getBoundingClientRect();"
        "return [one.scrollLeft, inner.left - outer.left, outer.right - inner.right]})"
    )
    found = browser.execute_script(script)
    assert max(scrolled for scrolled, _, _ in found) == 60
    assert all(left >= -0.5 and right >= -0.5 for _, left, right in found)


def write_masks(pred: Path, areas: dict[str, float], size: tuple[int, int]) -> Path:
    """Masks of this size, of which so large a share, from the top, is covered."""
    masked = []
    for stem, area in areas.items():
        photo = Photo(stem, pred.parent / f"{stem}.png", size)
        Image.fromarray(np.full((*size, 3), 99, np.uint8)).save(photo.path)
        mask_HW = np.arange(size[0])[:, None].repeat(size[1], 1) < area * size[0]
        notes = {"area": area, "expected_dice": 0.9, "border_width": 1.0}
        write_mask(pred_folder.mask_path(pred, stem), mask_HW, notes | photo_note(sha256(photo.path)))
        masked.append(photo)
    pred_folder.finish(pred, Record(competition=CARVANA.slug, tta="none", tta_scales=(1.0,), threshold=0.5), masked)
    return pred


def test_photos_that_are_much_higher_than_wide_are_bounded(browser: Any, tmp_path: Path) -> None:
    pred = write_masks(tmp_path / "pred", {f"a_{number:02}": 0.9 for number in range(1, 5)}, (1600, 400))
    for width in (360, 768, 1280):
        show(browser, write_report(None, CARVANA, [], pred), width)
        heights = [box["height"] for box in browser.execute_script(BOXES, ".shot img")]
        assert len(heights) == 5
        assert max(heights) <= 256
    browser.execute_script("document.querySelector('.shot button').click()")
    (photo,) = browser.execute_script(BOXES, ".layers")
    assert photo["height"] == pytest.approx(600)  # three quarters of the window's
    assert photo["width"] == pytest.approx(150)


def test_names_that_are_written_from_right_to_left_leave_their_neighbours_in_place(
    browser: Any, tmp_path: Path
) -> None:
    """In a list, the first of two such names would stand to the right of the second."""
    pred = write_masks(tmp_path / "pred", {**dict.fromkeys(HEBREW, 0.0), "other": 0.5}, (40, 60))
    show(browser, write_report(None, CARVANA, [], pred))
    listed = (
        "const p = [...document.querySelectorAll('#predictions p')].find(p => p.textContent.startsWith('Blank'));"
        "return [...p.querySelectorAll('bdi')].map(bdi => [bdi.textContent, bdi.getBoundingClientRect().left])"
    )
    (first, left), (second, right) = browser.execute_script(listed)
    assert (first, second) == HEBREW
    assert left < right
    captions = browser.execute_script("return [...document.querySelectorAll('.shot bdi')].map(bdi => bdi.textContent)")
    assert set(HEBREW) < set(captions)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("aa, bb and 7 more", "aa, bb and 7 more"),
        ("\u05d0\u05d1_01, \u05d2 and 7", "<bdi>\u05d0\u05d1_01</bdi>, <bdi>\u05d2</bdi> and 7"),
        ("of \u05d0\u05d1 \u05d2: Dice 0.9", "of <bdi>\u05d0\u05d1 \u05d2</bdi>: Dice 0.9"),
        ("<b>\u0627</b> & \u202e", "<bdi>&lt;b&gt;\u0627&lt;/b&gt;</bdi> &amp; \\u202e"),
        ("", ""),
    ],
)
def test_words_from_right_to_left_are_isolated_and_everything_is_escaped(text: str, shown: str) -> None:
    assert isolated(text) == shown
