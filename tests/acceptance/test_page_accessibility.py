"""The page as axe-core sees it, which npm has: nothing serious in any state, light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.support.browser import Page, open_browser
from tests.support.client_environments import node_with
from tests.support.page_scene import STATES, PageScene

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.node,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("npm"), reason="Node with npm is not installed"),
]
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    node_with(folder, "axe-core@4")
    return Path(folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def scene() -> Iterator[PageScene]:
    with PageScene() as running:
        for state in STATES:
            running.add(state, f"job-{state}", name=f"nightly, {state}")
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "nightly"),
        ("/new?from=job-completed", "As nightly"),
        ("/jobs/job-running?with=job-completed", "Settings that differ"),
        *((f"/jobs/job-{state}", f"nightly, {state}") for state in STATES),
    ],
)
def test_nothing_serious(
    browser: webdriver.Chrome, scene: PageScene, axe: str, path: str, words: str, scheme: str
) -> None:
    page = Page(browser, scene.url)
    page.screen(1280, scheme)
    page.open(path)
    page.wait_text("main", words)
    browser.execute_script(
        "document.querySelectorAll('details').forEach((one) => { one.open = true })"
    )
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    grave = [
        (problem["id"], [node["html"] for node in problem["nodes"]])
        for problem in found["violations"]
        if problem["impact"] in GRAVE
    ]
    page.own_screen()
    browser.get("about:blank")
    assert not grave
