"""The page's charts in a real browser: read, zoomed, smoothed, compared, saved."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Page, open_browser
from tests.support.page_scene import PageScene
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]
PLOT = "#chart-loss .plot"


@pytest.fixture(scope="module")
def scene() -> Iterator[PageScene]:
    with PageScene() as running:
        for state in ("queued", "running", "completed", "nan"):
            running.add(state, f"job-{state}", name=f"nightly, {state}")
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: webdriver.Chrome, scene: PageScene) -> Iterator[Page]:
    opened = Page(browser, scene.url)
    yield opened
    assert not opened.complaints()
    browser.get("about:blank")


def drawn(page: Page, what: str) -> Any:
    """Something of the loss chart's uPlot."""
    return page.browser.execute_script(f"return document.querySelector('{PLOT}').uplot.{what}")


def open_job(page: Page, path: str) -> None:
    page.open(path)
    wait_for("the loss is drawn", lambda: page.shown(f"{PLOT} canvas"))


def test_values_are_read_by_the_keyboard_and_held(page: Page) -> None:
    open_job(page, "/jobs/job-running")
    page.find(PLOT).send_keys(Keys.HOME)
    assert page.text("#chart-loss .where") == "Step 10"
    assert "Eval –" in page.text("#chart-loss .legend")  # none yet
    page.find(PLOT).send_keys(Keys.END)
    assert page.text("#chart-loss .where") == "Step 410"
    assert "Eval 2.368" in page.text("#chart-loss .legend")  # of step 400
    page.find(PLOT).send_keys(Keys.ARROW_LEFT)
    assert page.text("#chart-loss .where") == "Step 400"


def test_all_charts_are_zoomed_alike(page: Page) -> None:
    open_job(page, "/jobs/job-completed")
    domains = """return [...document.querySelectorAll('.plot')]
        .map(({ uplot }) => [uplot.scales.x.min, uplot.scales.x.max])"""
    width = page.find(PLOT).size["width"]
    drag = ActionChains(page.browser).move_to_element_with_offset(page.find(PLOT), -width // 4, 0)
    drag.click_and_hold().move_by_offset(width // 3, 0).release().perform()
    wait_for("it is zoomed", lambda: page.shown("#zoom-reset"))
    found = page.browser.execute_script(domains)
    assert len(found) == 4
    assert found[0][0] > 10
    assert found[0][1] < 600
    assert all(domain == found[0] for domain in found)
    page.find("#zoom-reset").click()
    wait_for("all is shown", lambda: page.browser.execute_script(domains) == [[10, 600]] * 4)


def test_what_is_no_number_is_marked_and_so_is_the_best(page: Page) -> None:
    open_job(page, "/jobs/job-nan")
    said = page.find(PLOT).get_attribute("aria-label")
    assert "not a number from step 430" in said
    assert "best eval 2.216 at step 480" in said
    page.find(PLOT).send_keys(Keys.END)
    assert "Train 1.241" in page.text("#chart-loss .legend")


def test_the_eval_before_the_first_step_is_drawn(page: Page, scene: PageScene) -> None:
    scene.add("completed", "job-start", name="from the start")
    scene.jobs["job-start"] |= {"start_eval_loss": 7.31, "started_at": "2026-11-30T10:00:00Z"}
    for path in ("/jobs/job-start", "/jobs/job-running?with=job-start"):
        open_job(page, path)
        wait_for("it begins at 0", lambda: drawn(page, "scales.x.min") == 0)
        page.find(PLOT).send_keys(Keys.HOME)
        assert page.text("#chart-loss .where") == "Step 0"
        assert "Eval 7.310" in page.text("#chart-loss .legend")


def test_what_an_eval_carries_of_the_last_logged_step_is_no_point_of_training(
    page: Page, scene: PageScene
) -> None:
    """A backend is told the train values again, so that none of its row is blanked."""
    scene.backend.create_job("job-carried", "t", {"model": {"name": "tiny"}})
    trained = [{"train_loss": 3.0 - n, "learning_rate": 1e-3, "grad_norm": n + 1.0} for n in (0, 1)]
    points = [
        {"step": 1, "epoch": 0, **trained[0]},
        {"step": 2, "epoch": 0, **trained[0], "eval_loss": 4.0},
        {"step": 3, "epoch": 1, **trained[1]},
        {"step": 3, "epoch": 1, **trained[1], "eval_loss": 3.5},
    ]
    for point in points:
        scene.backend.call(
            "PUT",
            "/api/training/local/job-carried/metrics",
            json=point,
            headers={"Authorization": "Bearer t"},
        )
    open_job(page, "/jobs/job-carried")
    wait_for("all is there", lambda: drawn(page, "data[0]") == [1, 2, 3])
    assert drawn(page, "data[1]") == [3.0, None, 2.0]
    assert drawn(page, "data[2]") == [None, 4.0, 3.5]
    assert drawn(page, "axes[0]._values") == ["1", "2", "3"]


def test_the_x_axis_is_steps_epochs_tokens_or_time(page: Page) -> None:
    open_job(page, "/jobs/job-completed")
    ends = {"step": 600, "epoch": 3, "tokens": 600 * 15 * 3000 / 12.5, "time": 1.2 * 590}
    for axis, end in ends.items():
        page.find(f"#axis option[value={axis}]").click()
        wait_for(axis, lambda end=end: abs(drawn(page, "scales.x.max") / end - 1) < 0.02)
    assert "5 min" in drawn(page, "axes[0]._values")


def test_any_number_of_runs_by_name_and_none_past_its_end(page: Page) -> None:
    open_job(page, "/jobs/job-running?with=job-completed&with=job-nan")
    page.wait_text("#chart-rate .legend", "nightly, nan")
    page.find(PLOT).send_keys(Keys.END)
    assert page.text("#chart-loss .where") == "Step 600"
    legend = page.text("#chart-loss .legend")
    assert "nightly, running · Train –" in legend  # it is at step 410
    assert "nightly, completed · Train 1.117" in legend
    colours = {series["_stroke"] for series in drawn(page, "series.slice(1)")}
    assert len(colours) == 3
    page.picture("job-compared")
    page.find("[data-run=job-nan]").click()
    page.find("[data-run=job-completed]").click()
    wait_for("one is left", lambda: "nightly" not in page.text("#chart-loss .legend"))


def test_smoothing_keeps_what_it_was_made_of(page: Page) -> None:
    open_job(page, "/jobs/job-completed")
    page.find("#smoothing").send_keys(Keys.ARROW_RIGHT * 30)
    wait_for("two curves of the loss, one of evals", lambda: len(drawn(page, "series")) == 4)
    raw, smooth = drawn(page, "data[1]"), drawn(page, "data[2]")
    assert smooth[0] == raw[0]

    def steps(values: list[float]) -> float:
        return sum(abs(b - a) for a, b in pairwise(values))

    assert steps(smooth) < 0.9 * steps(raw)


def test_points_and_pictures_are_saved(page: Page, tmp_path: Path) -> None:
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    open_job(page, "/jobs/job-completed")
    page.find("#csv").click()
    page.find("#chart-loss [title='Save as a picture']").click()
    table, picture = tmp_path / "metrics.csv", tmp_path / "loss.png"
    wait_for("both are there", lambda: table.exists() and picture.exists())
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [rows[0]["step"], rows[-1]["step"], rows[-1]["name"]] == [
        "10",
        "600",
        "nightly, completed",
    ]
    assert float(rows[0]["train_loss"]) > 5
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_job_of_a_million_steps_is_drawn_from_some_of_its_points(
    page: Page, scene: PageScene, tmp_path: Path
) -> None:
    """Also while it goes on; a table has every point."""
    every, portion = 100, 1_000
    scene.backend.create_job("long", "t", {"model": {"name": "tiny"}})
    token = {"Authorization": "Bearer t"}

    def send(first: int) -> None:
        points = [
            {"step": step, "epoch": 0, "train_loss": 2.0, "learning_rate": 1e-3}
            | ({"eval_loss": 3.0} if step % 10_000 == 0 else {})
            for step in range(first, first + every * portion, every)
        ]
        body = {"job_id": "long", "metrics": points}
        scene.backend.call("POST", "/api/training/local/metrics", json=body, headers=token)

    for first in range(every, 990_000, every * portion):
        send(first)
    open_job(page, "/jobs/long")
    assert drawn(page, "data[0].at(-1)") == 1_000_000
    assert 1_000 <= drawn(page, "data[0].length") <= 2_000
    for first in (1_000_000 + every, 1_100_000 + every):
        send(first)
    wait_for("it goes on", lambda: drawn(page, "data[0].at(-1)") == 1_200_000)
    steps = drawn(page, "data[0]")
    assert 1_000 <= len(steps) <= 2_000
    assert max(b - a for a, b in pairwise(steps)) < 5_000
    assert len([loss for loss in drawn(page, "data[2]") if loss is not None]) == 120
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    page.find("#csv").click()
    wait_for("the table is there", (tmp_path / "metrics.csv").exists)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(every, 1_200_001, every))


def test_labels_are_whole_and_plain(page: Page, scene: PageScene) -> None:
    scene.backend.create_job("by-hand", "t", {}, name="100,000 steps")
    points = [
        {"step": step, "epoch": 1, "learning_rate": 0.0, "train_loss": 1341 + step / 100}
        for step in range(1000, 100_001, 1000)
    ]
    body = {"job_id": "by-hand", "metrics": points}
    token = {"Authorization": "Bearer t"}
    scene.backend.call("POST", "/api/training/local/metrics", json=body, headers=token)
    open_job(page, "/jobs/by-hand")
    page.wait_text("#chart-loss .legend", "2,341")
    assert "100,000" in drawn(page, "axes[0]._values")
    labels = page.browser.execute_script("""
        return [...document.querySelectorAll(".plot")].flatMap(({ uplot }) => {
            uplot.ctx.font = uplot.axes[0].font[0];
            const scale = devicePixelRatio;
            const cut = (text, at, end) => at + uplot.ctx.measureText(text).width / 2 > end;
            const [x, y] = uplot.axes;
            return [
                ...x._values.map((text, i) => [text, cut(text,
                    uplot.valToPos(x._splits[i], "x", true), uplot.ctx.canvas.width)]),
                ...y._values.map((text) =>
                    [text, uplot.ctx.measureText(text).width > y._size * scale]),
            ];
        })""")
    assert labels
    assert not [text for text, is_cut in labels if is_cut or text.startswith("-")]


def test_what_has_no_values_is_not_drawn(page: Page) -> None:
    page.open("/jobs/job-queued")
    page.wait_text("#progress-text", "Place 2 in the queue")
    assert not page.shown(".chart, #chart-tools, #checkpoints-card")
