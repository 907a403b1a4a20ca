"""The page's form in a real browser: a job started anew, and as another one with changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page, open_browser
from tests.support.fake_bridge import Call
from tests.support.page_scene import PageScene
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
CHECK_S = 250
"""A check imports the libraries of data sets, which takes a while on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def scene() -> Iterator[PageScene]:
    with PageScene() as running:
        rows = [f'{{"prompt": "What is {n}?", "completion": "It is {n}."}}' for n in range(20)]
        (running.home / "rows.jsonl").write_text("\n".join(rows))
        (running.home / "broken.jsonl").write_text('{"foo": 1}\n')
        yield running


@pytest.fixture
def page(browser: webdriver.Chrome, scene: PageScene) -> Iterator[Page]:
    opened = Page(browser, scene.url)
    opened.screen(1280, height=720)
    yield opened
    opened.own_screen()
    browser.get("about:blank")


def write(page: Page, name: str, text: str) -> None:
    field = page.find(f"[name='{name}']")
    field.clear()
    field.send_keys(text)


def wrong(page: Page) -> str:
    return page.text(".wrong")


def test_a_job_with_changes_is_checked_and_started(page: Page, scene: PageScene) -> None:
    def started(call: Call) -> tuple[int, dict[str, str]]:
        return 200, {"job_id": call.body["execution_id"]}

    scene.bridge.answers["POST", "/api/training/execute"] = started
    scene.add("completed", "first", name="first")
    page.open("/jobs/first")
    page.wait_text("h1", "first")
    page.find("#copy").click()
    page.wait_text("#copied", "As first")
    write(page, "name", "second")
    write(page, "config.training.learning_rate", "5e-5")
    write(page, "dataset_path", "broken.jsonl")
    page.find("#send").click()
    page.wait_text("#report", "no", CHECK_S)
    page.wait_text("#report-words", "foo")  # not usable: it was not sent
    page.wait_text("#report-words", "“What columns mean (JSON)” under “Data” (config.data.columns)")
    page.wait_text("#said", "Not started")
    assert (page.focused(), page.is_seen("#report")) == ("report", True)
    page.picture("new-report")
    assert not [call for call in scene.bridge.calls if call.path.endswith("execute")]

    write(page, "dataset_path", "rows.jsonl")
    page.find("#send").click()
    page.wait_text("h1", "second", CHECK_S)
    sent = next(call.body for call in scene.bridge.calls if call.path.endswith("execute"))
    training = {"method": "sft", "num_epochs": 3, "max_steps": 600, "learning_rate": 5e-5}
    assert sent["config"] == {"model": {"name": "Qwen/Qwen3-0.6B"}, "training": training}
    assert (sent["name"], sent["dataset_path"]) == ("second", "rows.jsonl")
    row = scene.backend.status(sent["execution_id"])
    assert (row["name"], row["learning_rate"]) == ("second", 5e-5)
    assert not page.complaints()


def test_what_is_refused_leaves_no_row(page: Page, scene: PageScene) -> None:
    page.open("/new")
    page.wait_text("#first", "Learning rate")
    page.find("#send").click()
    page.wait_text("#said", "Name a model and a data set first")
    assert (page.focused(), wrong(page)) == ("config.model.name", "Name a model Name a data set")
    write(page, "config.model.name", "tiny")
    assert wrong(page) == "Name a data set"
    write(page, "dataset_path", "rows.jsonl")
    write(page, "config.training.learning_rate", "fast")
    page.find("#send").click()
    page.wait_text("#said", "Learning rate (config.training.learning_rate): ")
    field = "[name='config.training.learning_rate']"
    assert page.focused() == "config.training.learning_rate"
    assert page.is_seen(field)
    assert page.is_seen(f"{field}[aria-invalid] + .wrong")
    page.picture("new-refused")
    write(page, "config.training.learning_rate", "1e-3")
    assert not wrong(page) + page.text("#said")
    answer = {"error": "The queue is full."}
    scene.bridge.answers["POST", "/api/training/execute"] = (409, answer)
    page.find("#send").click()
    page.wait_text("#said", "The queue is full.", CHECK_S)
    wait_for("it has the focus", lambda: page.focused() == "said")
    assert page.is_seen("#said")
    assert scene.backend.call("GET", "/api/training/local/jobs")["jobs"] == []


def test_wrong_fields_of_closed_sections_are_shown(page: Page) -> None:
    page.open("/new")
    page.wait_text("#first", "Learning rate")
    page.browser.execute_script("""
        document.getElementsByName("config.training.weight_decay")[0].value = "much";
        document.getElementsByName("config.lora.r")[0].value = "-3";""")
    write(page, "config.model.name", "tiny")
    write(page, "dataset_path", "nowhere/rows.jsonl")
    page.find("[name='dataset_path']").send_keys(Keys.ENTER)
    page.wait_text("#said", "Weight decay (config.training.weight_decay): ")
    assert page.focused() == "config.training.weight_decay"
    assert page.is_seen("[name='config.training.weight_decay'] + .wrong")
    assert page.shown("[name='config.lora.r'] + .wrong")
    write(page, "config.training.weight_decay", "0")
    write(page, "config.lora.r", "8")
    page.find("#check").click()
    page.wait_text("[name='dataset_path'] + .wrong", "nowhere/rows.jsonl")
    assert page.focused() == "dataset_path"
    assert page.is_seen("[name='dataset_path'] + .wrong")


def test_bad_rows_are_listed_and_what_leaves_them_out_is_called_as_the_form_calls_it(
    page: Page, scene: PageScene
) -> None:
    with (scene.home / "rows.jsonl").open("a") as file:
        file.write('\n{"prompt": "cut\n{"prompt": "no answer"}\n')
    page.open("/new")
    page.wait_text("#first", "Learning rate")
    write(page, "config.model.name", "tiny")
    write(page, "dataset_path", "rows.jsonl")
    page.find("#check").click()
    page.wait_text("#report", "Of these can be used", CHECK_S)
    listed = page.text("#report-words")
    assert "“Leave out rows that cannot be used” under “Data” (config.data.skip_bad_rows)" in listed
    for line in (21, 22):
        assert f"Line {line} of rows.jsonl: " in listed
    page.picture("new-bad-rows")


def test_fields_that_are_no_json_are_told_with_what_is_missing(page: Page) -> None:
    page.open("/new")
    page.wait_text("#first", "Learning rate")
    page.browser.execute_script("""
        document.getElementsByName("config.data.columns")[0].value = "prompt";
        document.getElementsByName("config.lora.target_modules")[0].value = "q_proj";""")
    page.find("#check").click()
    said = "What columns mean (JSON) is not JSON; Name a model and a data set first"
    page.wait_text("#said", said)
    assert page.shown("[name='config.lora.target_modules'] + .wrong")


def test_a_path_outside_of_the_roots_is_not_read(page: Page, scene: PageScene) -> None:
    page.open("/new")
    secret = scene.home.parent / f"{scene.home.name}-outside.jsonl"
    secret.write_text('{"text": "secret"}\n')
    try:
        for path in (str(secret), f"../{secret.name}", "/etc/passwd"):
            body = {"dataset_path": path, "config": {"model": {"name": "tiny"}}}
            answer = page.browser.execute_async_script(
                """const [body, done] = arguments;
                fetch("/api/dev/start/check", {method: "POST", body: JSON.stringify(body),
                    headers: {"Content-Type": "application/json"}})
                    .then(async (answer) => done([answer.status, await answer.text()]))""",
                body,
            )
            assert answer[0] == 404
            assert "secret" not in answer[1].replace(path, "")
    finally:
        secret.unlink()
