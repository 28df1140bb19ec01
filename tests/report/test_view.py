"""The larger view of photos, in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium, show
from finished_runs import HEIGHT, WIDTH, box, draw_photos, write_pred, write_run
from known_competitions import CARVANA
from PIL import Image

from kaggle_tools.report.writing import write_report

ENLARGED = 21
OWN_WIDTH = WIDTH * ENLARGED
"""1,890 pixels: wider than a window of 1,280."""
STEMS = ("a_01", "a_02", "b_01", "b_02")
"""The most doubtful first; the second one's photo is gone."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of four photos of 1890x1260 pixels."""
    folder = tmp_path_factory.mktemp("view")
    pixels = np.where(box()[..., None], 200, 60).astype(np.uint8).repeat(3, axis=2)
    photo = Image.fromarray(pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1))
    for stem in STEMS:
        photo.save(folder / f"{stem}.jpg")
    areas = {stem: 20 + number for number, stem in enumerate(STEMS)}
    pred = write_pred(folder / "pred", folder, areas, enlarged=ENLARGED)
    (folder / f"{STEMS[1]}.jpg").unlink()
    return write_report(None, CARVANA, [], pred)


class View:
    """The page, and what a person does with it."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def __call__(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def open(self, stem: str) -> None:
        button = self.find(f"#predictions .shot[data-stem={stem}] button")
        self("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    @property
    def shown(self) -> tuple[str, str]:
        """Whose photo is shown, and where in its gallery that is."""
        return self.find("#view-name").text, self.find(".position").text

    @property
    def focused(self) -> str:
        """Where the focus is: the photo of a small picture, or a part of the dialog."""
        return self(
            "const at = document.activeElement;"
            "return at.closest('dialog') ? 'in ' + at.classList[0] : at.closest('.shot')?.dataset.stem ?? at.tagName"
        )

    def box_of(self, selector: str) -> dict[str, float]:
        return self("return arguments[0].getBoundingClientRect().toJSON()", self.find(selector))


@pytest.fixture
def view(browser: Any, page: Path) -> View:
    show(browser, page)
    return View(browser)


@pytest.fixture(scope="module")
def keys() -> Any:
    return pytest.importorskip("selenium.webdriver.common.keys").Keys


def test_a_click_opens_a_modal_dialog_and_escape_brings_the_focus_back_to_the_small_picture(
    view: View, keys: Any
) -> None:
    assert view("return document.querySelector('dialog').open") is False
    view.open("b_01")
    assert view("return document.querySelector('dialog').matches(':modal')")
    assert view.shown == ("b_01", "2 of 3")
    assert view.focused == "in close"
    image = view.box_of(".layers img")
    assert image["width"] > 4 * view.box_of("#predictions .shot[data-stem=b_01] img")["width"]
    assert image["width"] / image["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)
    assert image["bottom"] <= 800
    view.press(keys.ESCAPE)
    assert view("return document.querySelector('dialog').open") is False
    assert view.focused == "b_01"


def test_tab_stays_within_the_dialog(view: View, keys: Any) -> None:
    view.open("a_01")
    visited = set()
    for _ in range(12):
        view.press(keys.TAB)
        visited.add(view.focused)
    assert {"in previous", "in next", "in outlines", "in zoom", "in close", "in frame"} <= visited
    assert visited - {"BODY"} == {one for one in visited if one.startswith("in ")}  # BODY: the browser's own buttons


def test_previous_and_next_skip_what_cannot_be_shown_and_end_where_the_gallery_does(view: View, keys: Any) -> None:
    view.open("a_01")
    assert view.shown == ("a_01", "1 of 3")
    for button, shown in (
        ("previous", ("a_01", "1 of 3")),
        ("next", ("b_01", "2 of 3")),
        ("next", ("b_02", "3 of 3")),
        ("next", ("b_02", "3 of 3")),
        ("previous", ("b_01", "2 of 3")),
    ):
        view.find(f".{button}").click()
        assert view.shown == shown
        assert view.focused == f"in {button}"
        at_ends = [view.find(f".{name}").get_attribute("aria-disabled") for name in ("previous", "next")]
        assert at_ends == [str(shown[1].startswith("1")).lower(), str(shown[1].startswith("3")).lower()]
    for key, stem in ((keys.ARROW_LEFT, "a_01"), (keys.ARROW_RIGHT, "b_01"), (keys.ARROW_RIGHT, "b_02")):
        view.press(key)
        assert view.shown[0] == stem
    view.find(".close").click()
    assert view.focused == "b_02"


def test_a_picture_on_the_first_screen_opens_its_gallery_and_gets_the_focus_back(view: View, keys: Any) -> None:
    view.find(".card .shot button").click()
    assert view.shown == ("a_01", "1 of 3")
    view.press(keys.ARROW_RIGHT, keys.ARROW_LEFT, keys.ESCAPE)
    assert view("return document.activeElement.closest('.card') !== null")


def test_a_click_beside_the_dialog_closes_it(view: View) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    view.open("a_01")
    view.find(".about").click()
    assert view("return document.querySelector('dialog').open")
    ActionChains(view.browser).move_by_offset(5, 5).click().perform()
    assert view("return document.querySelector('dialog').open") is False
    ActionChains(view.browser).move_by_offset(-5, -5).perform()


def test_zoomed_each_pixel_of_the_photo_is_one_of_the_screen_and_the_photo_can_be_scrolled(
    view: View, keys: Any
) -> None:
    view.open("a_01")
    whole = view.box_of(".layers")
    frame = "const f = document.querySelector('.frame'); return [f.scrollWidth > f.clientWidth, f.scrollLeft]"
    assert view(frame) == [False, 0]
    view.find(".zoom").click()
    assert view.find(".zoom").get_attribute("aria-pressed") == "true"
    assert (
        view.box_of(".layers")["width"]
        == OWN_WIDTH
        == view("return document.querySelector('.layers img').naturalWidth")
    )
    is_wider, left = view(frame)
    assert is_wider
    assert left == pytest.approx((OWN_WIDTH - view("return document.querySelector('.frame').clientWidth")) / 2, abs=1)
    assert view.focused == "in frame"
    view("document.querySelector('.frame').scrollTo(100, 0)")
    view.press(keys.ARROW_RIGHT)
    assert view.shown[0] == "a_01"
    view("return new Promise(done => setTimeout(done, 0))")
    while view(frame)[1] <= 100:  # it scrolls smoothly
        pass
    view.press("z")
    assert view.box_of(".layers") == whole
    assert view.find(".zoom").get_attribute("aria-pressed") == "false"


def test_the_next_picture_is_zoomed_to_the_same_place(view: View) -> None:
    view.open("a_01")
    view.press("z")
    view("document.querySelector('.frame').scrollTo(300, 200)")
    view.find(".next").click()
    assert view.shown[0] == "b_01"
    assert view("const f = document.querySelector('.frame'); return [f.scrollLeft, f.scrollTop]") == [300, 200]


def test_a_click_on_the_photo_zooms_to_where_it_was(view: View) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    view.open("a_01")
    layers, inner = view.find(".layers"), view.box_of(".layers")
    ActionChains(view.browser).move_to_element_with_offset(layers, inner["width"] // 10, 0).click().perform()
    frame = view.box_of(".frame")
    middle = frame["left"] + view("return document.querySelector('.frame').clientWidth") / 2
    now = view.box_of(".layers")
    assert (middle - now["left"]) / now["width"] == pytest.approx(0.6, abs=0.01)


def test_dragging_moves_the_zoomed_photo_and_is_no_click(view: View) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    view.open("a_01")
    view.press("z")
    before = view.box_of(".layers")["left"]
    ActionChains(view.browser).move_to_element(view.find(".frame")).click_and_hold().move_by_offset(
        -80, 0
    ).release().perform()
    assert view.box_of(".layers")["left"] == before - 80
    assert view.find(".zoom").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize(("window", "times"), [(640, 1), (1280, 2)])
def test_on_a_screen_of_twice_as_many_pixels_a_pixel_of_the_photo_is_one_or_a_whole_number_of_them(
    browser: Any, page: Path, window: int, times: int
) -> None:
    """With one each, 1,890 pixels are 945 wide here, which in a larger window the whole photo nearly is already."""
    show(browser, page)
    metrics = {"width": window, "height": 800, "deviceScaleFactor": 2, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    view = View(browser)
    view.open("a_01")
    view.press("z")
    assert view.box_of(".layers")["width"] == times * OWN_WIDTH / 2


def test_a_small_photo_is_zoomed_to_squares(browser: Any, tmp_path: Path) -> None:
    draw_photos(tmp_path / "data", list(STEMS))
    run = write_run(tmp_path / "run", tmp_path / "data", {0: dict.fromkeys(STEMS, (2, 1))})
    show(browser, write_report(None, CARVANA, [run]))
    view = View(browser)
    view("document.querySelector('#photos .shot button').click()")
    whole = view.box_of(".layers")["width"]
    assert whole == pytest.approx(600 * WIDTH / HEIGHT)  # three quarters of the window's height
    view.press("z")
    times = view.box_of(".layers")["width"] / WIDTH
    assert times == int(times)
    assert 1.25 * whole <= times * WIDTH < 1.25 * whole + WIDTH
    assert view("return getComputedStyle(document.querySelector('.layers img')).imageRendering") == "pixelated"


def test_outlines_are_drawn_at_the_scale_at_which_they_are_seen_and_can_be_taken_away(view: View) -> None:
    seen = (
        "return [...document.querySelectorAll('.layers img')]"
        ".filter(image => image.checkVisibility({visibilityProperty: true})).map(image => image.naturalWidth)"
    )
    view.open("a_01")
    assert view(seen) == [OWN_WIDTH, 960]
    view.press("o")
    assert view(seen) == [OWN_WIDTH]
    assert view.find(".outlines").get_attribute("aria-pressed") == "false"
    view.find(".next").click()
    assert view(seen) == [OWN_WIDTH]
    view.find(".zoom").click()
    assert view(seen) == [OWN_WIDTH]
    view.find(".outlines").click()
    assert view(seen) == [OWN_WIDTH, OWN_WIDTH]
    assert view.find(".outlines").get_attribute("aria-pressed") == "true"


def test_a_photo_and_what_is_drawn_lie_upon_each_other(view: View) -> None:
    view.open("a_01")
    for _ in range(2):
        boxes = view(
            "return [...document.querySelectorAll('.layers img')].filter(image => image.checkVisibility())"
            ".map(image => JSON.stringify(image.getBoundingClientRect()))"
        )
        assert len(boxes) == 2
        assert len(set(boxes)) == 1
        view.press("z")


def test_keys_of_the_browser_are_left_alone(view: View, keys: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    view.press("o", "z", keys.ARROW_RIGHT)  # nothing is opened
    view.open("a_01")
    view("document.addEventListener('keydown', (event) => { window.taken = event.defaultPrevented; })")
    for modifier, key in ((keys.CONTROL, "o"), (keys.ALT, "z")):
        ActionChains(view.browser).key_down(modifier).send_keys(key).key_up(modifier).perform()
        assert view("return window.taken") is False
    assert view.find(".outlines").get_attribute("aria-pressed") == "true"
    assert view.shown[0] == "a_01"


def test_without_scripts_the_small_pictures_are_shown(browser: Any, page: Path) -> None:
    """Also where a page's own policy, or that of who sends it, allows none."""
    without = page.with_name("without.html")
    html = page.read_text()
    start, end = html.index("script-src '"), html.index("; base-uri")
    without.write_text(html[:start] + "script-src 'none'" + html[end:])
    show(browser, without)
    view = View(browser)
    view.open("a_01")
    assert view("return document.querySelector('dialog').open") is False
    widths = view("return [...document.querySelectorAll('.shot img')].map(image => image.naturalWidth)")
    assert widths == [320] * 4


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_larger_view_fits_into_every_window(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    view = View(browser)
    view.open("a_01")
    dialog = view.box_of("dialog")
    assert 0 <= dialog["left"] < dialog["right"] <= width
    assert view("const d = document.querySelector('dialog'); return d.scrollWidth <= d.clientWidth")
    for name in ("previous", "next", "outlines", "zoom", "close"):
        button = view.box_of(f".{name}")
        assert dialog["left"] <= button["left"] < button["right"] <= dialog["right"]
        assert button["height"] >= 24
