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
from finished_runs import draw_photos, write_pred, write_run

from kaggle_tools.competition import CARVANA, SALT
from kaggle_tools.data.draw_outlines import FALSE_NEGATIVE, FALSE_POSITIVE, PREDICTED, TRUE
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.report.writing import write_report, write_submissions
from kaggle_tools.results.scores import Estimate, ExpectedScore

HOSTILE = "<img src=x onerror=\"document.title='run'\">&amp;$x$"
CARS = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", HOSTILE)
VIEWS = ("01", "02", "03")


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
    card = browser.execute_script("return document.querySelector('.verdict').innerText")
    assert "bad: it is worse than good, by 0.0" in card
    assert f"{out_of_fold(folder / 'bad')['score'].mean():.5f}" in browser.execute_script(
        "return document.querySelectorAll('.card')[1].innerText"
    )


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
    click_heading(browser, "Submissions", "public")
    shown = table_of(browser, "Submissions")
    assert shown["public"].to_list() == ["0.97000", "0.98000", "pending"]
    assert shown["submission"].str.extract("<b>(.*)</b>")[0].to_list() == ["third", "first", "second"]
