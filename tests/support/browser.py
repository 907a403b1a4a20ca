"""A real browser, Chromium, and what a person does with the page in it.

``SCREENSHOTS=folder`` keeps pictures of what a person sees.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.waiting import WAIT_S, wait_for


class Page:
    """What a person does with the page."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self, path: str) -> None:
        self.browser.get(self.url + path)

    def find(self, css: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def shown(self, css: str) -> bool:
        """Whether any is; in one script, as in :meth:`wait_text`."""
        look = (
            "return [...document.querySelectorAll(arguments[0])].some((e) => e.checkVisibility())"
        )
        return bool(self.browser.execute_script(look, css))

    def text(self, css: str) -> str:
        found = self.browser.find_elements(By.CSS_SELECTOR, css)
        return " ".join(element.text for element in found)

    def wait_text(self, css: str, text: str, timeout_s: float = WAIT_S) -> None:
        """Read in one script: an element that the page replaces meanwhile is no failure."""
        read = """return [...document.querySelectorAll(arguments[0])]
            .map((e) => e.innerText ?? e.textContent).join()"""
        wait_for(
            f"{css} says {text}", lambda: text in self.browser.execute_script(read, css), timeout_s
        )

    def press(self, action: str) -> None:
        css = f"[data-action={action}]"
        wait_for(f"the button {action} is there", lambda: self.shown(css))
        self.find(css).click()

    def picture(self, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(f"{folder}/{name}.png")

    def screen(self, width: int, scheme: str = "light", height: int = 900) -> None:
        """A screen of that size, light or dark; below 500 pixels of width a phone's."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def is_seen(self, css: str) -> bool:
        """Whether all of it lies on the screen, where it is, below the bar."""
        script = """
            const { top, bottom } = document.querySelector(arguments[0]).getBoundingClientRect();
            return top >= document.querySelector(".bar").offsetHeight && bottom <= innerHeight"""
        return bool(self.browser.execute_script(script, css))

    def focused(self) -> str:
        """The name or the id of what has the focus."""
        script = "const it = document.activeElement; return it.name || it.id"
        return str(self.browser.execute_script(script))

    def own_screen(self) -> None:
        """The browser's own window again."""
        self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def complaints(self) -> list[str]:
        """What the browser's console has called an error since the last call."""
        log: list[dict[str, Any]] = self.browser.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def sticks_out(self, width: int) -> list[str]:
        """Elements that end to the right of ``width`` and scroll in no box of their own."""
        script = """
            const inBox = (e) => e && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX)
                || inBox(e.parentElement));
            return [...document.querySelectorAll("main *")]
                .filter((e) => e.getBoundingClientRect().right > arguments[0] + 1
                    && !inBox(e.parentElement))
                .map((e) => `${e.tagName} ${e.id} ${e.className}`)"""
        found: list[str] = self.browser.execute_script(script, width)
        return found


@contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """Skips the test if there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium or its driver is missing (Debian: chromium, chromium-driver)")
    with tempfile.TemporaryDirectory(prefix="trainyard-chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--window-size=1280,1000",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=driver)
        opened = webdriver.Chrome(options=options, service=service)
        yield opened
        opened.quit()
