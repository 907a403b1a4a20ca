"""The development backend's page in a real browser, beside a real training.

``SCREENSHOTS=folder`` keeps pictures of what a person sees.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.support.stack import Stack
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
_QUICK = {"eval_strategy": "steps", "eval_steps": 20, "save_steps": 40, "logging_steps": 1}


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
        return any(e.is_displayed() for e in self.browser.find_elements(By.CSS_SELECTOR, css))

    def text(self, css: str) -> str:
        found = self.browser.find_elements(By.CSS_SELECTOR, css)
        return " ".join(element.text for element in found)

    def wait_text(self, css: str, text: str) -> None:
        """Read in one script: an element that the page replaces meanwhile is no failure."""
        read = """return [...document.querySelectorAll(arguments[0])]
            .map((e) => e.innerText ?? e.textContent).join()"""
        wait_for(f"{css} says {text}", lambda: text in self.browser.execute_script(read, css))

    def press(self, action: str) -> None:
        css = f"[data-action={action}]"
        wait_for(f"the button {action} is there", lambda: self.shown(css))
        self.find(css).click()

    def picture(self, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(f"{folder}/{name}.png")

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


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
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


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture
def page(browser: webdriver.Chrome, stack: Stack) -> Iterator[Page]:
    yield Page(browser, stack.backend.url)
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not complaints
    browser.get("about:blank")


def long_job(stack: Stack, job_id: str, **training: Any) -> None:
    stack.submit(job_id, steps=100_000, training={**_QUICK, **training})
    stack.wait_for_step(job_id, 45)


def test_a_job_from_the_list_to_its_end(page: Page, stack: Stack) -> None:
    long_job(stack, "watched")
    page.open("/")
    page.wait_text("#jobs", "watched")
    page.wait_text("#jobs .badge", "running")
    page.wait_text("#jobs .progress", "left")
    page.picture("list")
    page.find("#jobs .row-link").click()

    page.wait_text("#status", "running")
    wait_for("a curve is drawn", lambda: page.browser.find_elements(By.CSS_SELECTOR, ".own path"))
    page.wait_text("#progress-text", "Step")
    page.wait_text("#log", "Attempt 1 of job watched")
    page.picture("job-running")

    page.press("pause")
    page.wait_text("#status", "paused")
    page.wait_text("#checkpoints", "latest")
    assert not page.shown("[data-action=pause]")
    page.picture("job-paused")

    page.press("resume")
    page.wait_text("#status", "running")
    page.press("cancel")
    page.browser.switch_to.alert.accept()
    page.wait_text("#status", "cancelled")
    stack.wait("watched", "cancelled")
    page.picture("job-cancelled")


def test_curves_are_read_zoomed_and_compared(page: Page, stack: Stack) -> None:
    for job_id, rate in (("first", 1e-3), ("second", 3e-4)):
        stack.submit(job_id, steps=60, training={**_QUICK, "learning_rate": rate})
        stack.wait(job_id, "completed")
        stack.wait_delivered(job_id)
    page.open("/jobs/second")
    page.wait_text("#status", "completed")
    plot = "#chart-loss .plot"
    wait_for("a curve is drawn", lambda: page.browser.find_elements(By.CSS_SELECTOR, ".own path"))

    page.find(plot).send_keys(Keys.HOME)
    assert "Step 1" in page.text("#chart-loss .where")
    page.find(plot).send_keys(Keys.ARROW_RIGHT)
    assert "Step 2" in page.text("#chart-loss .where")

    size = page.find(plot).size
    drag = ActionChains(page.browser).move_to_element_with_offset(
        page.find(plot), -size["width"] // 4, 0
    )
    drag.click_and_hold().move_by_offset(size["width"] // 3, 0).release().perform()
    wait_for("it is zoomed", lambda: page.shown("#zoom-reset"))
    page.find(plot).send_keys(Keys.HOME)
    assert page.text("#chart-loss .where") not in ("", "Step 1")
    page.find("#zoom-reset").click()
    page.find(plot).send_keys(Keys.HOME)
    assert "Step 1" in page.text("#chart-loss .where")

    page.find("#compare option[value=first]").click()
    # In one step: the page may draw the curve anew between a look for it and a look at it.
    drawn = "return document.querySelector('.other path')?.getAttribute('d')"
    wait_for("another curve lies behind", lambda: page.browser.execute_script(drawn))
    page.find("#chart-loss button").click()
    assert page.find("#chart-loss button").get_attribute("aria-pressed") == "true"
    page.picture("job-compared")

    page.wait_text("#warnings-list", "weights look random")  # a model made for the test

    page.find("#log-search").send_keys("Attempt 1")
    page.wait_text("#log-count", " of ")


def test_runs_are_known_by_name_and_a_lost_loss_is_seen(page: Page, stack: Stack) -> None:
    rows = f"{stack.backend.url}/api/training/local"
    token = {"Authorization": "Bearer t"}
    config = {"training": {"method": "sft", "learning_rate": 0.001}}
    row = {"job_id": "by-hand", "job_token": "t", "name": "nightly, lr 1e-3", "config": config}
    row |= {"model_name": "tiny", "dataset_path": "sums.jsonl", "user_id": "local"}
    requests.post(f"{rows}/jobs", json=row, timeout=30).raise_for_status()
    for step in range(1000, 100_001, 1000):
        point = {"step": step, "epoch": 1, "learning_rate": 0.001}
        point |= {"train_loss": 1341.0} if step <= 60_000 else {}
        point |= {"eval_loss": 2.0} if step == 40_000 else {}
        put = requests.put(f"{rows}/by-hand/metrics", json=point, headers=token, timeout=30)
        put.raise_for_status()
    page.open("/")
    for words in ("nightly", "sums.jsonl", "pending", "by-hand"):
        search = page.find("#filter")
        search.clear()
        search.send_keys(words)
        page.wait_text("#jobs tr:not([hidden])", "nightly, lr 1e-3")
    page.open("/jobs/by-hand")
    page.wait_text("h1", "nightly, lr 1e-3")
    page.wait_text("#tiles", "NaN")
    page.wait_text("#chart-loss .legend", "1,341")
    page.wait_text("#chart-loss .grid", "not a number from here")
    page.find("#chart-loss .plot").send_keys(Keys.END)
    page.wait_text("#chart-loss .legend", "2.000")
    page.picture("a-lost-loss")
    texts = page.browser.execute_script("""
        return [...document.querySelectorAll(".plot text")].map((t) => [t.textContent,
            t.getBoundingClientRect().right - t.closest("svg").getBoundingClientRect().right])""")
    assert texts
    assert not [text for text, beyond in texts if beyond > 1 or text.startswith("-")]


def test_a_failure_shows_its_hint(page: Page, stack: Stack) -> None:
    (stack.datasets / "bad.jsonl").write_text('{"foo": 1}\n')
    stack.submit("doomed", dataset="bad.jsonl")
    stack.wait("doomed", "failed")
    stack.wait_delivered("doomed")
    page.open("/jobs/doomed")
    page.wait_text("#error-text", "foo")
    wait_for("the hint is there", lambda: page.text("#hint"))
    page.picture("job-failed")


def test_on_a_phone_nothing_sticks_out(page: Page, stack: Stack) -> None:
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        for path, name in (("/", "phone-list"), ("/jobs/second", "phone-job")):
            page.open(path)
            page.wait_text("main", "second")
            assert page.sticks_out(390) == []
            page.picture(name)
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_is_reached_by_keyboard(page: Page, stack: Stack) -> None:
    page.open("/jobs/second")
    page.wait_text("#status", "completed")
    reached = set()
    for _ in range(60):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        focused = page.browser.switch_to.active_element
        reached.add(focused.get_attribute("id") or focused.get_attribute("class"))
    assert {"compare", "plot", "log-search", "log-wrap", "log-follow", "log"} <= reached


def test_it_says_that_the_server_is_gone_and_comes_back(page: Page, stack: Stack) -> None:
    page.open("/")
    page.wait_text("#connection", "Live")
    stack.backend.stop(keep=True)
    page.wait_text("#connection", "Reconnecting")
    stack.backend.start()
    page.wait_text("#connection", "Live")
    page.browser.get_log("browser")  # the refused connections are what was wanted
