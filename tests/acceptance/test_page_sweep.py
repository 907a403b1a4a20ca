"""The page of a sweep in a real browser: its table, its buttons, its line in the list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Page, open_browser
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def scene() -> Iterator[PageScene]:
    with PageScene() as running:
        running.add("completed", "night-1", name="night: r=8")
        running.add("failed", "night-2", name="night: r=16")
        running.add("queued", "night-3", name="night: r=32")
        jobs = [job(running, n, r) for n, r in ((1, 8), (2, 16), (3, 32))]
        jobs[0]["best_eval_loss"], jobs[1]["error"] = 2.104, "The data set has no rows."
        counts = {"completed": 1, "failed": 1, "queued": 1}
        running.bridge.answers["GET", "/api/training/groups/night"] = (
            200,
            {
                **{"group": "night", "status": "queued", "counts": counts, "jobs": jobs},
                **{"settings": ["lora.r"], "measure": "best_eval_loss", "best": "night-1"},
            },
        )
        said = {"success": True, "message": "sweep night: 1 of 3 jobs are paused"}
        running.bridge.answers["POST", "/api/training/pause/night"] = (200, said)
        yield running


def job(scene: PageScene, number: int, rank: int) -> dict[str, Any]:
    known = scene.jobs[f"night-{number}"]
    known["group"] = "night"
    return {**known, "settings": {"lora.r": rank}, "best_eval_loss": None, "error": None}


def test_its_table_says_which_is_best(scene: PageScene) -> None:
    with open_browser() as browser:
        page = Page(browser, scene.url)
        for width in (1440, 390):
            page.screen(width)
            page.open("/")
            page.wait_text("#jobs", "sweep night")
            assert page.sticks_out(width) == []
            page.open("/sweeps/night")
            page.wait_text("#jobs tr:nth-child(1)", "best")
            page.wait_text("#jobs tr:nth-child(2)", "The data set has no rows.")
            assert page.sticks_out(width) == []
        page.own_screen()
        page.wait_text("#heads, #jobs", "32")
        page.browser.find_element("css selector", ".action-pause").click()
        page.wait_text("#said", "1 of 3 jobs are paused")
        page.open("/sweeps/nothing")
        page.wait_text("#missing", "The bridge knows no sweep of this name")
        assert not page.complaints()
