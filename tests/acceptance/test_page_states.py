"""The page in a real browser: jobs in every state, on wide, narrow and phone screens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page, open_browser
from tests.support.fake_bridge import Call
from tests.support.page_scene import STATES, PageScene

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
SCREENS = [(width, scheme) for width in (1440, 1024, 390) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def scene() -> Iterator[PageScene]:
    with PageScene() as running:
        for state in STATES:
            rate = 3e-4 if state == "failed" else 1e-3
            running.add(state, f"job-{state}", name=f"nightly, {state}", learning_rate=rate)
        yield running


@pytest.fixture
def page(browser: webdriver.Chrome, scene: PageScene) -> Iterator[Page]:
    opened = Page(browser, scene.url)
    yield opened
    opened.own_screen()
    assert not opened.complaints()
    browser.get("about:blank")


def names(page: Page) -> list[str]:
    script = "return [...document.querySelectorAll('#jobs tr:not([hidden]) a')].map((a) => a.text)"
    found: list[str] = page.browser.execute_script(script)
    return found


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_jobs(browser: webdriver.Chrome, width: int) -> None:
    with PageScene() as scene:
        page = Page(browser, scene.url)
        page.screen(width)
        page.open("/")
        page.wait_text("#first", "trainyard submit")
        assert not page.shown("#table, #none, #tools")
        assert page.sticks_out(width) == []
        page.own_screen()
        browser.get("about:blank")


def test_jobs_without_a_name_are_told_apart(browser: webdriver.Chrome) -> None:
    with PageScene() as scene:
        for job_id in ("job-01234567cafe1a", "job-89abcdefcafe2b"):
            scene.add("queued", job_id, dataset_path="chats/gsm8k_train.jsonl")
        page = Page(browser, scene.url)
        page.open("/")
        page.wait_text("#jobs", "cafe2b")
        page.picture("list-without-names")
        assert names(page) == [
            f"Qwen3-0.6B · gsm8k_train.jsonl · {end}" for end in ("cafe2b", "cafe1a")
        ]
        browser.get("about:blank")


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_every_state_fits_the_screen(page: Page, width: int, scheme: str) -> None:
    page.screen(width, scheme)
    paths = {"list": "/", **{state: f"/jobs/job-{state}" for state in STATES}}
    for name, path in paths.items():
        page.open(path)
        page.wait_text("main", "nightly, ")
        page.wait_text(".badge", "running" if name in ("list", "nan") else name)
        assert page.sticks_out(width) == [], name
        wide = page.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, name
        page.picture(f"{name}-{width}-{scheme}")


def test_thirty_jobs_are_sorted_filtered_and_counted_alike(
    browser: webdriver.Chrome,
) -> None:
    with PageScene() as scene:
        for number in range(30):
            state = STATES[number % len(STATES)]
            rate, data = 1e-5 * (30 - number), f"rows-{number}.jsonl"
            scene.add(state, f"j-{number:02}", name=f"run {number:02}", learning_rate=rate)
        scene.backend.create_job("other", "t", {}, name="other", dataset_path=data)
        page = Page(browser, scene.url)
        page.open("/")
        page.wait_text("#counts", "queued\n5")
        assert names(page)[:2] == ["other", "run 29"]  # the newest first

        page.find("th[data-key=lr] button").click()
        assert names(page)[0] == "run 29"
        page.find("th[data-key=lr] button").click()
        assert names(page)[0] == "run 00"

        for query in (
            "qwen3 run",
            "model:qwen status:queued",
            "data:rows-29",
            "lr:3e-4",
            "method:sft j-07",
        ):
            page.find("#filter").clear()
            page.find("#filter").send_keys(query)
            shown = names(page)
            assert shown, query
            assert page.find("#counts button").text == f"All\n{len(shown)}"
        page.find("#filter").clear()
        page.find("#filter").send_keys("run")
        page.find("[data-status=queued]").click()
        assert len(names(page)) == 5
        page.open("/" + page.browser.execute_script("return location.search"))
        page.wait_text("#counts", "queued\n5")
        assert len(names(page)) == 5  # the address says what is shown
        assert not page.complaints()
        browser.get("about:blank")


def test_what_a_job_waits_for_more_than_its_turn(page: Page, scene: PageScene) -> None:
    job = scene.jobs["job-queued"]
    job["waiting_reason"] = "waits for host two, which has its checkpoints; `force-start` does not"
    try:
        page.open("/")
        page.wait_text("#jobs", "Place 2 in the queue, waits for host two")
        assert "force-start" not in page.text("#jobs")
        page.open("/jobs/job-queued")
        page.wait_text(
            "#progress-text", "waits for host two, which has its checkpoints; `force-start`"
        )
    finally:
        job["waiting_reason"] = None


def test_a_job_in_words_and_numbers(page: Page) -> None:
    page.open("/")
    page.wait_text("#jobs", "Place 2 in the queue, starts in 5 min 40 s")
    page.wait_text("#jobs", "NaN")
    listed = page.text("#jobs tr:has(a[href='/jobs/job-paused']) .elapsed")
    page.open("/jobs/job-paused")
    page.wait_text("#tiles", "4 min 48 s")  # the bridge's clock, not that of starts and ends
    assert listed == "4 min 48 s"


def test_no_other_number_is_shown_until_the_bridge_was_heard(page: Page, scene: PageScene) -> None:
    path = ("GET", "/api/training/status/job-paused")
    told, may_tell = scene.bridge.answers[path], threading.Event()

    def late(_: Call) -> Any:
        may_tell.wait()
        return told

    scene.bridge.answers[path] = late
    try:
        page.open("/jobs/job-paused")
        page.wait_text("#tiles", "240 / 600")
        assert page.text("#tiles div:last-child dd") == "–"
        may_tell.set()
        page.wait_text("#tiles div:last-child dd", "4 min 48 s")
    finally:
        may_tell.set()
        scene.bridge.answers[path] = told


def test_the_log_has_one_size(page: Page) -> None:
    page.open("/jobs/job-paused")
    page.wait_text("#log .bad", "something went wrong")
    size = "return getComputedStyle(document.querySelector(arguments[0])).fontSize"
    usual, bad = (page.browser.execute_script(size, f"#log .{kind}") for kind in ("usual", "bad"))
    assert bad == usual


def test_the_ending_says_what_came_out_and_what_next(page: Page, scene: PageScene) -> None:
    page.open("/jobs/job-completed")
    page.wait_text("#finished-next", f"{scene.home}/jobs/job-completed/model")
    figures = page.text("#finished-figures")
    for words in (
        "before\n7.310",
        "after\n2.104−71%",
        "2.216step 480",
        "Step 480the best",
        "1.2 MBadapter, merged 12.8 MB",
        "0.400.153 kWh",
        "1.06 EUR",
    ):
        assert words in figures
    page.wait_text("#finished-verdicts", "Warning: 16 of 20 rows")
    page.wait_text("#finished-verdicts li:last-child.muted", "Note: LoRA")
    page.wait_text("#finished-next", "trainyard generate job-completed --prompt")
    page.wait_text("#finished-next", "/api/training/job-completed/download/model")
    page.open("/jobs/job-running")
    page.wait_text("#samples", "capital of France")
    assert not page.shown("#finished")


def test_samples_are_shown_by_step_as_text(page: Page) -> None:
    page.open("/jobs/job-completed")
    page.wait_text("#samples", "<b>Paris</b>.")
    page.wait_text("#samples-at", "Step 600")
    page.find("#samples-step").send_keys(Keys.HOME)
    page.wait_text("#samples-at", "Step 120")
    page.wait_text("#samples", "Rome.")


def test_tags_and_notes(page: Page) -> None:
    page.open("/jobs/job-failed")
    page.wait_text("#status", "failed")
    page.find(".details summary").click()
    page.find("#remarks-tags").send_keys("baseline, <i>gsm8k</i>")
    page.find("#remarks-notes").send_keys("The file was empty.")
    page.find("#remarks [type=submit]").click()
    page.wait_text("#tags", "<i>gsm8k</i>")
    page.wait_text("#note", "The file was empty.")
    page.open("/?q=tag:baseline")
    page.wait_text("#counts", "All\n1")
    assert names(page) == ["nightly, failed"]


def test_settings_that_differ(page: Page) -> None:
    page.open("/jobs/job-running?with=job-failed")
    page.wait_text("#differences", "training.learning_rate\t0.001\t0.0003")
    assert page.text("#differences").count("\n") == 0


def test_a_job_is_deleted_once_it_is_confirmed(page: Page, scene: PageScene) -> None:
    removed = (200, {"success": True, "job_id": "gone", "bytes": 1})
    scene.add("completed", "gone", name="to be deleted")
    scene.bridge.answers["DELETE", "/api/training/jobs/gone"] = (409, {"error": "its reports wait"})
    page.open("/jobs/gone")
    page.press("delete")
    page.browser.switch_to.alert.dismiss()
    page.press("delete")
    page.browser.switch_to.alert.accept()
    page.wait_text("#said", "its reports wait")
    assert any("409" in complaint for complaint in page.complaints())
    scene.bridge.answers["DELETE", "/api/training/jobs/gone"] = removed
    scene.jobs.pop("gone")
    page.press("delete")
    page.browser.switch_to.alert.accept()
    page.wait_text("#jobs", "nightly, failed")
    assert "to be deleted" not in names(page)
    assert [
        call.method for call in scene.bridge.calls if call.path == "/api/training/jobs/gone"
    ] == [
        "DELETE",
        "DELETE",
    ]


def test_a_trained_model_and_its_base_are_asked_side_by_side(page: Page, scene: PageScene) -> None:
    def said(call: Call) -> tuple[int, str]:
        text = "Rome." if call.body["base"] else "<b>Paris</b>."
        reason = "length" if call.body["base"] else "stop"
        end = {"reason": reason, "prompt_tokens": 9, "completion_tokens": 3, "seconds": 0.4}
        events = [{"kind": "loading", "loaded": False}, {"kind": "text", "text": text}]
        events.append({"kind": "done", **end})
        return 200, "".join(f"data: {json.dumps(event)}\n\n" for event in events)

    scene.bridge.answers["POST", "/api/training/job-completed/generate"] = said
    page.open("/jobs/job-completed")
    page.wait_text("#try", "Before the training")
    page.find("#try-form [type=submit]").click()
    page.wait_text("#try-said", "Write a prompt first")
    assert page.focused() == "try-prompt"
    page.find("#try-prompt").send_keys(
        "The capital", Keys.SHIFT, Keys.ENTER, Keys.NULL, "of France?"
    )
    assert page.text("#try-base .answer") == ""
    page.find("#try-prompt").send_keys(Keys.ENTER)
    page.wait_text("#try-base .answer", "Rome.")
    page.wait_text("#try-trained .answer", "<b>Paris</b>.")
    page.wait_text("#try-trained", "3 tokens in 0.4 s")
    page.wait_text("#try-base", "3 tokens in 0.4 s: cut at the maximum length")
    assert "cut" not in page.text("#try-trained") + page.text("#try-said")
    page.picture("job-asked")
