"""Every kind of page, looked over by axe-core: what of WCAG and of good practice a program can find."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, show
from finished_runs import PHOTOS_OF_TWO_RUNS, write_pred, write_two_runs
from known_competitions import CARVANA, SALT

from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.report.writing import write_report, write_submissions
from kaggle_tools.results.scores import Estimate, ExpectedScore


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def axe() -> str:
    """The script; the package is for Playwright, of which only this part is needed."""
    reason = "axe-playwright-python, which brings axe-core, is not installed: see requirements-dev.txt"
    return pytest.importorskip("axe_playwright_python.base", reason=reason).AXE_SCRIPT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs and masks, of which some are blank and one has another area than the others of its car."""
    folder = tmp_path_factory.mktemp("axe")
    write_two_runs(folder)
    areas = {stem: 10 * (number % 4) for number, stem in enumerate(PHOTOS_OF_TWO_RUNS)}
    write_pred(folder / "pred", folder / "data" / "train", areas)
    return folder


def of_submissions(folder: Path) -> Path:
    entries = [
        Entry(
            id=f"{number}afe00112233",
            slug=CARVANA.slug,
            message="first",
            pred="/preds/a",
            expected=ExpectedScore(Estimate(0.99 + number / 1000, (0.98, 0.995))),
            time=f"2026-10-0{number + 1}T12:00:00+00:00",
            submission=Submission(CARVANA.slug, number, "first", "COMPLETE", 0.98 + number / 500),
        )
        for number in range(7)
    ]
    write_submissions(folder / "submissions.html", CARVANA, entries)
    return folder / "submissions.html"


def of_run(folder: Path) -> Path:
    return write_report(folder / "run.html", CARVANA, [folder / "better" / "run"])


def of_runs(folder: Path) -> Path:
    return write_report(folder / "runs.html", CARVANA, [folder / name / "run" for name in ("worse", "better")])


def of_masks(folder: Path) -> Path:
    return write_report(folder / "masks.html", CARVANA, [], folder / "pred")


def of_masks_without_groups(folder: Path) -> Path:
    return write_report(folder / "salt.html", SALT, [], folder / "pred")


def of_missing_photos(folder: Path) -> Path:
    (empty := folder / "empty").mkdir(exist_ok=True)
    return write_report(folder / "missing.html", CARVANA, [folder / "better" / "run"], data=empty)


def found(browser: Any, axe: str) -> list[str]:
    """What axe-core finds, with its own default rules: the rule, its words and the first place."""
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    browser.set_script_timeout(120)
    violations = json.loads(
        browser.execute_async_script(
            "const done = arguments[0]; axe.run().then(found => done(JSON.stringify(found.violations)))"
        )
    )
    return [f"{one['id']}: {one['help']} ({len(one['nodes'])}, {one['nodes'][0]['html'][:200]})" for one in violations]


KINDS = (of_run, of_runs, of_masks, of_masks_without_groups, of_missing_photos, of_submissions)


@pytest.mark.parametrize("write", KINDS, ids=lambda write: write.__name__)
def test_axe_finds_nothing_on_a_page(browser: Any, axe: str, folder: Path, write: Callable[[Path], Path]) -> None:
    page = write(folder)
    for width, scheme in ((1280, "light"), (360, "dark")):
        show(browser, page, width, prefers_color_scheme=scheme)
        assert found(browser, axe) == [], (width, scheme)


def test_axe_finds_nothing_in_the_larger_view(browser: Any, axe: str, folder: Path) -> None:
    show(browser, of_run(folder))
    browser.execute_script("document.querySelector('#photos .shot button').click()")
    assert found(browser, axe) == []
    browser.execute_script("document.querySelector('.zoom').click()")
    assert found(browser, axe) == []


def test_axe_finds_what_is_wrong(browser: Any, axe: str, folder: Path) -> None:
    """The script runs, and on these pages."""
    show(browser, of_run(folder))
    browser.execute_script("document.querySelector('.shot img').removeAttribute('alt'); document.title = ''")
    assert [one.partition(":")[0] for one in found(browser, axe)] == ["document-title", "image-alt"]
