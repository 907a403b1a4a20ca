"""The development backend's page in a real browser, beside a real training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page, open_browser
from tests.support.stack import Stack
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
_QUICK = {"eval_strategy": "steps", "eval_steps": 20, "save_steps": 40, "logging_steps": 1}


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture
def page(browser: webdriver.Chrome, stack: Stack) -> Iterator[Page]:
    opened = Page(browser, stack.backend.url)
    yield opened
    assert not opened.complaints()
    browser.get("about:blank")


def long_job(stack: Stack, job_id: str, **training: Any) -> None:
    stack.submit(job_id, steps=100_000, training={**_QUICK, **training})
    stack.wait_for_step(job_id, 45)


def test_a_job_from_the_list_to_its_end(page: Page, stack: Stack) -> None:
    long_job(stack, "watched")
    page.open("/")
    page.wait_text("#jobs", "watched")
    page.wait_text("#jobs .badge", "running")
    page.wait_text("#jobs .status", "left")
    page.picture("list")
    page.find("#jobs .row-link").click()

    page.wait_text("#status", "running")
    wait_for("a curve is drawn", lambda: page.shown("#chart-loss canvas"))
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


def test_a_finished_job(page: Page, stack: Stack) -> None:
    stack.submit("second", steps=60, training=_QUICK)
    stack.wait("second", "completed")
    stack.wait_delivered("second")
    page.open("/jobs/second")
    page.wait_text("#status", "completed")
    wait_for("a curve is drawn", lambda: page.shown("#chart-loss canvas"))
    page.wait_text("#finished-verdicts", "weights look random")  # a model made for the test
    page.wait_text("#finished-next", "trainyard generate second --prompt")
    page.find("#log-search").send_keys("Attempt 1")
    page.wait_text("#log-count", " of ")


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
    page.screen(390)
    try:
        for path, name in (("/", "phone-list"), ("/jobs/second", "phone-job")):
            page.open(path)
            page.wait_text("main", "second")
            assert page.sticks_out(390) == []
            page.picture(name)
    finally:
        page.own_screen()


def test_every_control_is_reached_by_keyboard(page: Page, stack: Stack) -> None:
    page.open("/jobs/second")
    page.wait_text("#status", "completed")
    reached = set()
    for _ in range(60):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        focused = page.browser.switch_to.active_element
        reached.add(focused.get_attribute("id") or focused.get_attribute("class"))
    assert {
        "axis",
        "smoothing",
        "csv",
        "plot",
        "log-search",
        "log-wrap",
        "log-follow",
        "log",
    } <= reached


def test_it_says_that_the_server_is_gone_and_comes_back(page: Page, stack: Stack) -> None:
    page.open("/")
    page.wait_text("#connection", "Live")
    stack.backend.stop(keep=True)
    page.wait_text("#connection", "Reconnecting")
    stack.backend.start()
    page.wait_text("#connection", "Live")
    page.browser.get_log("browser")  # the refused connections are what was wanted
