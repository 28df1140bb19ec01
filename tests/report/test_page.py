"""The pages, in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import chromium, show
from finished_runs import dice, draw_photos, write_pred, write_run
from known_competitions import CARVANA, SALT
from unfinished_runs import NOON, progress, write_unfinished_run

from kaggle_tools.data.draw_outlines import FALSE_NEGATIVE, FALSE_POSITIVE, PREDICTED, TRUE
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.report.writing import write_progress, write_report, write_submissions
from kaggle_tools.results.scores import Estimate, ExpectedScore

HOSTILE = "<img src=x onerror=\"document.title='run'\">&amp;$x$"
CARS = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", HOSTILE)
VIEWS = ("01", "02", "03")
SCORES = {"bb_02": dice(4, 1)}
"""Of the good run, whose errors `folder` says; photo number 4 of all."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window; it keeps what the page writes to the console, and every request."""
    yield from chromium()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same held-out photos, and the masks of as many photos."""
    folder = tmp_path_factory.mktemp("report")
    stems = [f"{car}_{view}" for car in CARS for view in VIEWS]
    draw_photos(folder / "data", stems)
    for run, more in (("good", 0), ("bad", 2)):
        folds: dict[int, dict[str, tuple[int, int]]] = {0: {}, 1: {}}
        for number, stem in enumerate(stems):
            folds[number // len(VIEWS) % 2][stem] = (number % 5 + more, number % 3)
        write_run(folder / run, folder / "data", folds)
    areas = {stem: 10 if stem == "bb_02" else 30 for stem in stems}
    write_pred(folder / "pred", folder / "data" / "train", areas)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    """All that a page can hold of runs and masks."""
    runs = [folder / "bad", folder / "good"]
    return write_report(folder / "page.html", CARVANA, runs, folder / "pred")


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The page, in a window of a desktop's size, with nothing opened or sorted."""
    show(browser, page)
    return browser


def table_of(browser: Any, caption: str) -> pd.DataFrame:
    """A table of the page, as it stands there: the first column as text, the others as numbers where they are."""
    script = (
        "const table = [...document.querySelectorAll('table')].find(t => t.caption.textContent === arguments[0]);"
        "return [...table.rows].map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    )
    names, *rows = browser.execute_script(script, caption)
    found = pd.DataFrame(rows, columns=names)
    numeric = [name for name in names[1:] if found[name].str.fullmatch(r"[-+]?[0-9.]+").all()]
    return found.astype(dict.fromkeys(numeric, float))


def out_of_fold(run: Path) -> pd.DataFrame:
    table = pd.concat(pd.read_csv(path) for path in sorted(run.glob("fold*/oof.csv")))
    return table.assign(car=table["image"].str.rsplit("_", n=1).str[0], angle=table["image"].str[-2:])


def test_a_page_says_nothing_to_the_console_and_asks_for_nothing(browser: Any, page: Path) -> None:
    browser.get_log("browser"), browser.get_log("performance")
    show(browser, page)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
    assert browser.get_log("browser") == []


def test_all_images_of_a_page_load_and_are_described(opened: Any) -> None:
    """Those that are for the larger views are inert until one is opened."""
    images = opened.execute_script(
        "const views = [...document.querySelectorAll('template')];"
        "const larger = views.flatMap(view => [...view.content.querySelectorAll('img')]);"
        "const copies = larger.map(image => Object.assign(new Image(), {src: image.src, alt: image.alt}));"
        "return Promise.all([...document.images, ...copies].map(image => image.decode().then(() =>"
        "[image.complete, image.naturalWidth, image.alt])))"
    )
    assert len(images) > 60
    assert all(complete and 0 < width <= 962 and alt for complete, width, alt in images)
    plots = opened.execute_script("return [...document.querySelectorAll('[role=img]')].map(p => p.ariaLabel)")
    assert len(plots) >= 11
    assert all(plots)


def test_the_numbers_of_a_page_are_those_of_the_tables_of_the_run(opened: Any, folder: Path) -> None:
    good, bad = out_of_fold(folder / "good"), out_of_fold(folder / "bad")
    assert f"{good['score'].mean():.5f}" in opened.execute_script("return document.querySelector('.cards').innerText")
    for part in ("car", "angle"):
        shown = table_of(opened, f"Dice by {part}").set_index(part)
        means, worst = good.groupby(part)["score"].mean(), good.groupby(part)["score"].min()
        assert shown["mean Dice"].to_dict() == means.round(5).to_dict()
        assert shown["worst photo"].to_dict() == worst.round(5).to_dict()
        assert shown["photos"].to_dict() == good.groupby(part).size().to_dict()
        assert shown["mean Dice"].is_monotonic_increasing
    folds = table_of(opened, "The folds").set_index("fold")
    assert folds["Dice"].to_list() == good.groupby("fold")["dice"].mean().round(5).to_list()
    runs = table_of(opened, "Runs on the same held-out photos").set_index("run")
    assert runs.loc["bad", "IoU"] == round(bad["iou"].mean(), 5)
    gain = good.set_index("image")["score"] - bad.set_index("image")["score"]
    assert runs.loc["good", "to bad"] == f"{gain.mean():+.5f}"


def test_the_verdict_is_on_the_first_screen(opened: Any, folder: Path) -> None:
    gain = (
        out_of_fold(folder / "good").set_index("image")["score"]
        - out_of_fold(folder / "bad").set_index("image")["score"]
    )
    by_car = gain.groupby(gain.index.str.rsplit("_", n=1).str[0]).mean().to_numpy()
    drawn = np.random.default_rng(1).choice(by_car, (20_000, len(by_car))).mean(axis=1)
    assert np.quantile(drawn, 0.025) > 0, "the drawn runs are not as different as they should be"
    card = opened.execute_script("return document.querySelector('.verdict').innerText")
    assert [line for line in card.splitlines() if line][1] == "good"
    assert f"The difference is significant: it is better than bad, by {gain.mean():.5f}" in card
    bottom = opened.execute_script("return document.querySelector('.cards').getBoundingClientRect().bottom")
    assert bottom <= 800


def test_a_click_on_a_heading_sorts_the_table_and_another_one_turns_it_round(opened: Any) -> None:
    shown = table_of(opened, "Dice by car")
    for ascending in (True, False):
        click_heading(opened, "Dice by car", "worst photo")
        now = table_of(opened, "Dice by car")
        assert now["worst photo"].to_list() == sorted(shown["worst photo"], reverse=not ascending)
        assert sorted(now.itertuples(index=False)) == sorted(shown.itertuples(index=False))
    click_heading(opened, "Dice by car", "car")
    assert table_of(opened, "Dice by car")["car"].to_list()[-3:] == ["gg", "hh", "ii"]


def test_numbers_of_a_table_are_sorted_by_size_not_by_their_digits(opened: Any) -> None:
    caption = "The most doubtful and the unusual photos"
    click_heading(opened, caption, "area, %")
    assert table_of(opened, caption)["area, %"].to_list() == [3.7] + 29 * [11.11]


def test_intervals_of_a_table_are_sorted_by_the_number_at_which_they_begin(browser: Any, tmp_path: Path) -> None:
    """By the alphabet -0.0… comes before -0.1…, whichever is less, and +0.0… before either."""
    draw_photos(tmp_path / "data", stems := [f"{car}_{view}" for car in CARS[:6] for view in VIEWS])
    runs = [
        write_run(tmp_path / name, tmp_path / "data", {0: dict.fromkeys(stems, (more, 0))})
        for name, more in (("first", 6), ("worst", 20), ("worse", 7), ("best", 1))
    ]
    show(browser, write_report(tmp_path / "page.html", CARVANA, runs))
    caption = "Runs on the same held-out photos"
    for heading, names in (
        ("its 95 % interval", ["worst", "worse", "best", "first"]),
        ("95 % interval", ["worst", "worse", "first", "best"]),
    ):
        click_heading(browser, caption, heading)
        assert table_of(browser, caption)["run"].to_list() == names


def click_heading(browser: Any, caption: str, heading: str) -> None:
    browser.execute_script(
        "const table = [...document.querySelectorAll('table')].find(t => t.caption.textContent === arguments[0]);"
        "[...table.querySelectorAll('th button')].find(b => b.textContent === arguments[1]).click()",
        caption,
        heading,
    )


def test_unknown_values_of_a_table_come_last_in_either_order(opened: Any) -> None:
    for _ in range(2):
        click_heading(opened, "Runs on the same held-out photos", "to bad")
        assert table_of(opened, "Runs on the same held-out photos")["run"].to_list() == ["good", "bad"]


def test_every_held_out_photo_is_found_by_parts_of_its_name_and_its_row_opens_the_picture(opened: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    found = "return document.querySelector('.search output').textContent"
    stems = [f"{car}_{view}" for car in CARS for view in VIEWS]
    assert sorted(table_of(opened, "All held-out photos")["photo"]) == sorted(stems)
    assert opened.execute_script(found) == "30 photos"
    search = opened.find_element(By.CSS_SELECTOR, ".search input")
    search.send_keys("02 BB")
    assert opened.execute_script(found) == "1 of 30 photos"
    (row,) = table_of(opened, "All held-out photos").itertuples(index=False)
    assert row.photo == "bb_02"
    search.send_keys(Keys.TAB, Keys.TAB)  # past the part that scrolls, to the heading
    opener = opened.find_element(By.CSS_SELECTOR, ".long-table tbody button")
    opener.send_keys(Keys.ENTER)
    shown = "return [...document.querySelectorAll('.full')].filter(v => v.checkVisibility()).map(v => v.innerText)"
    (view,) = opened.execute_script(shown)
    assert "bb_02" in view
    assert f"Dice {SCORES['bb_02']:.5f}" in view
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    search.send_keys("x")
    assert opened.execute_script(found) == "0 of 30 photos"


def test_a_long_table_is_sorted_as_a_whole_and_shows_a_hundred_rows_at_once(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    caption, pixels = "All held-out photos", "false positive, px"
    errors = {f"car{number:03}_01": (0, number % 26) for number in range(230)}
    folds = {fold: dict(list(errors.items())[fold::2]) for fold in (0, 1)}
    show(browser, write_report(tmp_path / "page.html", CARVANA, [write_run(tmp_path / "run", tmp_path, folds)]))
    assert len(table_of(browser, caption)) == 100
    for heights in ([0] * 9, [500] * 8 + [480]):  # 230 = 8 * 26 + 22
        click_heading(browser, caption, pixels)
        assert table_of(browser, caption)[pixels].to_list()[:9] == heights
    more = browser.find_element(By.CSS_SELECTOR, ".more")
    in_print = "const style = getComputedStyle(arguments[0], '::after'); return [style.content, style.fontSize]"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(in_print, more) == ['"130 more are in the page itself"', "11.2px"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen"})
    assert browser.execute_script(in_print, more)[0] == "none"
    for text, rows in (("show 100 more", 200), ("show 30 more", 230)):
        assert more.text == text
        more.click()
        assert len(table_of(browser, caption)) == rows
    assert not more.is_displayed()
    assert browser.get_log("browser") == []


def test_the_legend_has_the_words_and_colours_of_what_is_drawn_into_photos(opened: Any) -> None:
    script = (
        "return [...document.querySelectorAll('#photos > .legend .key')].map(key => {"
        "const mark = getComputedStyle(key, '::before');"
        "return [key.textContent, parseInt(mark.borderTopWidth) ? mark.borderTopColor : mark.backgroundColor]})"
    )
    marks = (TRUE, PREDICTED, FALSE_NEGATIVE, FALSE_POSITIVE)
    assert opened.execute_script(script) == [[mark.name, "rgb({}, {}, {})".format(*mark.colour)] for mark in marks]


def test_a_file_name_with_html_in_it_stays_text(opened: Any) -> None:
    assert HOSTILE in opened.execute_script("return document.body.textContent")
    assert opened.title == "bad, good, masks in pred"
    assert opened.execute_script("return document.querySelectorAll('img:not([src^=\"data:image/\"])').length") == 0


def test_no_script_but_the_pages_own_runs(opened: Any) -> None:
    opened.execute_script('document.body.innerHTML += \'<img src="x" onerror="window.ran = 1">\'')
    opened.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        "document.body.append(script)"
    )
    assert opened.execute_script("return window.ran === undefined")
    assert opened.get_log("browser") != []  # refused aloud


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_no_page_scrolls_sideways(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_dark_page_has_light_words_in_its_plots_too_but_not_in_print(browser: Any, page: Path) -> None:
    brightness = (
        "const [r, g, b] = getComputedStyle(document.querySelector(arguments[0]))[arguments[1]].match(/[0-9.]+/g);"
        "return (+r + +g + +b) / 3"
    )
    for scheme, medium, dark in (("light", "screen", False), ("dark", "screen", True), ("dark", "print", False)):
        show(browser, page, medium=medium, prefers_color_scheme=scheme)
        assert (browser.execute_script(brightness, "body", "backgroundColor") < 128) == dark
        assert (browser.execute_script(brightness, ".plot text", "fill") > 128) == dark


def test_a_printed_page_has_whole_tables_and_no_larger_views(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By

    show(browser, page)
    browser.execute_script("document.querySelector('.shot button').click()")
    view = browser.find_element(By.CSS_SELECTOR, "dialog:modal")
    assert view.is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not view.is_displayed()
    cut = "return [...document.querySelectorAll('.scroll')].filter(s => s.scrollHeight > s.clientHeight + 1).length"
    assert browser.execute_script(cut) == 0


def test_a_run_is_compared_with_those_beside_it(browser: Any, folder: Path, tmp_path: Path) -> None:
    page = write_report(tmp_path / "page.html", CARVANA, [folder / "bad"])
    show(browser, page)
    first, second = browser.execute_script("return [...document.querySelectorAll('.card')].map(c => c.innerText)")[:2]
    good, bad = (out_of_fold(folder / run)["score"].mean() for run in ("good", "bad"))
    assert f"Dice of bad\n\n{bad:.5f}" in first
    assert f"bad against the best\n\n{bad - good:+.5f}" in second
    assert "bad: it is worse than good, by 0.0" in second
    assert "Number 2 of 2; the best is good" in second


def test_a_competition_without_groups_has_no_words_about_them(browser: Any, tmp_path: Path) -> None:
    stems = [f"{number:04x}" for number in range(12)]
    write_run(tmp_path / "run", tmp_path, {0: dict.fromkeys(stems[:6], (1, 0)), 1: dict.fromkeys(stems[6:], (0, 2))})
    write_pred(tmp_path / "pred", tmp_path, {stem: 0 if stem == "0003" else 20 for stem in stems})
    page = write_report(tmp_path / "page.html", SALT, [tmp_path / "run"], tmp_path / "pred")
    show(browser, page)
    said = browser.execute_script("return document.body.innerText")
    assert browser.get_log("browser") == []
    assert "mean precision" in said
    assert re.findall(r"\bgroups?\b|\bcars?\b|in two folds|Unusual", said) == []
    assert table_of(browser, "The folds").columns.is_unique
    assert table_of(browser, "Blank masks").to_numpy().tolist()[1][:4] == ["not blank", 12, 0, 12]
    areas = table_of(browser, "mean precision by the area of the true mask")
    assert areas["true mask covers"].to_list() == ["10 to 20 %"]  # 600 of 5,400 pixels


def test_a_page_names_missing_photos_and_shows_the_rest(browser: Any, folder: Path, tmp_path: Path) -> None:
    (moved := tmp_path / "moved").mkdir()
    page = write_report(tmp_path / "page.html", CARVANA, [folder / "good"], data=moved)
    show(browser, page)
    said = browser.execute_script("return document.querySelector('#photos').innerText")
    assert "24 of 24 cannot be shown" in said
    assert str(tmp_path / "moved" / "train") in said
    assert len(table_of(browser, "Dice by car")) == len(CARS)


def test_the_page_of_submissions_escapes_messages_and_sorts(browser: Any, tmp_path: Path) -> None:
    entries = [
        Entry(
            id=f"{number}afe00112233",
            slug=CARVANA.slug,
            message=f"<b>{name}</b>",
            pred="/preds/a",
            expected=ExpectedScore(Estimate(0.99, (0.98, 0.995))),
            time=f"2026-10-0{number}T12:00:00" + ("+00:00" if score else ".123000"),  # Kaggle's own have no zone
            submission=Submission(CARVANA.slug, number, name, "COMPLETE" if score else "PENDING", score),
        )
        for number, (name, score) in enumerate([("first", 0.98), ("second", None), ("third", 0.97)], start=1)
    ]
    page = tmp_path / "submissions.html"
    write_submissions(page, CARVANA, entries)
    show(browser, page, 320)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
    assert browser.execute_script("return document.querySelectorAll('b').length") == 0
    newest_first = table_of(browser, "Submissions")["submission"].str.extract("<b>(.*)</b>")[0]
    assert newest_first.to_list() == ["third", "second", "first"]
    assert "0.98000\n\n<b>first</b>" in browser.execute_script("return document.querySelector('.card').innerText")
    click_heading(browser, "Submissions", "public")
    shown = table_of(browser, "Submissions")
    assert shown["public"].to_list() == ["0.97000", "0.98000", "pending"]
    assert shown["submission"].str.extract("<b>(.*)</b>")[0].to_list() == ["third", "first", "second"]


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A run of which one fold is finished and another one is being trained, with a hostile name."""
    folds = {1: progress(3, 10, stems=("a_01", "b_01", "c_01", HOSTILE)), 2: progress(1, 10)}
    return write_unfinished_run(tmp_path / "run", folds, {0: {"b_01": (3, 0)}})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 360])
def test_the_page_of_a_run_in_training_fits_every_width_and_says_nothing_to_the_console(
    browser: Any, unfinished: Path, width: int, scheme: str
) -> None:
    page = write_progress(unfinished, CARVANA, since=NOON)
    browser.get_log("browser")
    show(browser, page, width, prefers_color_scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    images = browser.execute_script("return [...document.images].map(image => [image.naturalWidth, image.alt])")
    assert len(images) == 4
    assert all(width == 96 and alt for width, alt in images)
    assert browser.get_log("browser") == []
    assert browser.title == "run"


def test_the_page_of_a_run_in_training_loads_itself_anew_every_minute_unless_it_is_told_not_to(
    browser: Any, unfinished: Path
) -> None:
    """The minute is told by hand: what the page asks for is called."""
    page = write_progress(unfinished, CARVANA, since=NOON)
    script = "window.asked = []; window.setInterval = (what, after) => { window.asked.push([what, after]); };"
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    text = "return document.body?.innerText ?? ''"
    try:
        show(browser, page)
        assert browser.execute_script("return window.asked.map(([, after]) => after)") == [60_000]
        page.write_text(page.read_text().replace("3 of 10 epochs", "4 of 10 epochs"))
        browser.execute_script("document.getElementById('reload').click(); window.asked[0][0]()")
        assert "3 of 10 epochs" in browser.execute_script(text)
        browser.execute_script("document.getElementById('reload').click(); window.asked[0][0]()")
        while "4 of 10 epochs" not in browser.execute_script(text):
            pass
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    show(browser, write_progress(unfinished, CARVANA))
    assert browser.execute_script("return document.getElementById('reload')") is None
