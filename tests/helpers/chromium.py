"""Debian's Chromium without a window, for tests of pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> Iterator[Any]:
    """It keeps what the page writes to the console, and every request; a test without it is skipped."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: see requirements-dev.txt")
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: on Debian, apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for switch in SWITCHES:
        options.add_argument(switch)
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def show(browser: Any, page: Path, width: int = 1280, medium: str = "screen", **media: str) -> None:
    """Load a page into a window so wide, on a phone's screen where it is narrow."""
    from selenium.webdriver.support import wait as waiting

    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})
    browser.get(page.as_uri())
    # It happens, once in forty times, that chromedriver has not waited for all of a large page.
    waiting.WebDriverWait(browser, 60).until(
        lambda _: browser.execute_script("return document.readyState") == "complete"
    )
