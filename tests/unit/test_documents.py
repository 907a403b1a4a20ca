"""Documents that are made from code, and claims that name a test, hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs.reference import __main__
from docs.reference.settings import as_markdown
from tasks.arguments.table import TABLE
from tests.support.paths import REPOSITORY
from trainyard.cli.request_file import read_request
from trainyard.contract.parser import parse_request
from trainyard.contract.rules import problems

PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))


def test_the_table_of_settings_is_the_code_s() -> None:
    assert as_markdown() in (REPOSITORY / "docs/settings.md").read_text()


@pytest.mark.parametrize("path", __main__.DOCUMENTS)
def test_the_reference_is_made_from_the_code(path: str) -> None:
    """Where it differs: python -m docs.reference.__main__."""
    assert __main__.DOCUMENTS[path]() == (REPOSITORY / path).read_text()


def test_every_test_that_the_documents_name_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (REPOSITORY / "docs/README.md").read_text())
    assert len(named) >= 10
    for path, function in named:
        assert f"def {function}(" in (REPOSITORY / path).read_text(), f"{path}::{function}"


def test_the_sample_request_is_a_request() -> None:
    body = json.loads((REPOSITORY / "examples/request.json").read_text())
    assert parse_request(body).ignored == []
    assert (REPOSITORY / "examples" / body["dataset_path"]).exists()


def test_the_readme_asks_what_was_trained_on() -> None:
    asked = re.findall(r'\.generate\("([^"]+)"', (REPOSITORY / "README.md").read_text())
    assert asked
    rows = (REPOSITORY / "examples/chats.jsonl").read_text()
    assert all(question in rows for question in asked)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples/recipes").iterdir()), ids=str)
def test_every_recipe_is_a_request_that_a_gpu_takes(path: Path) -> None:
    body = read_request(path.read_text(), path.name)
    request = parse_request({**body, "job_token": "t", "execution_id": "recipe"})
    assert request.ignored == []
    assert problems(request.config, gpu=True, bitsandbytes=True) == []
    if request.datasets is None:
        assert f"examples/recipes/{path.name} --dataset {body['dataset_path']}" in path.read_text()


def test_the_places_that_changes_go_to_exist() -> None:
    table = (REPOSITORY / "CONTRIBUTING.md").read_text().partition("## Where a change goes")[2]
    named = {path for path in re.findall(r"`([\w/]+(?:/|\.\w+))`", table) if "/" in path}
    assert len(named) > 15
    rooms = ("", "trainyard/store/", "backend_bridge/", "backend_bridge/api/", "tasks/datasets/")
    for path in named:
        assert any((REPOSITORY / room / path).exists() for room in rooms), path


KINDS = ("Tutorial", "How-to", "Reference", "Explanation")
MADE = {*__main__.DOCUMENTS, "docs/settings.md", "docs/reference/architectures.md"}
LINES_OF_A_PAGE_MAX = 150


def test_every_page_is_of_one_kind() -> None:
    """The first page names each page once, below its kind; how-to pages lie in their folder."""
    parts = (REPOSITORY / "docs/README.md").read_text().split("\n## ")[1:]
    assert [part.partition(":")[0] for part in parts[: len(KINDS)]] == list(KINDS)
    listed = [
        page
        for kind, part in zip(KINDS, parts, strict=False)
        for page in re.findall(r"\]\(([\w/-]+\.md)\)", part)
        if page.startswith("how-to/") == (kind == "How-to")
    ]
    pages = {
        str(page.relative_to(REPOSITORY / "docs"))
        for page in PAGES
        if page.parent.name != "decisions"
    }
    assert sorted(listed) == sorted(pages - {"README.md"})


DIALECT = re.compile(
    r"(?<!leave it )(?<!left )\balone\b|(?:\.|;|\|)\s+[Ww]here (?!the training stands)", re.ASCII
)
"""'only' and 'if' are plainer. What was so at its time stays as it was written."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_only_and_if(page: Path) -> None:
    if not {"log.md", "decisions"} & set(page.parts):
        assert DIALECT.findall(page.read_text()) == []


def test_no_page_is_longer_than_one_reads() -> None:
    written = [page for page in PAGES if str(page.relative_to(REPOSITORY)) not in MADE]
    long = {
        page.name: n
        for page in written
        if (n := len(page.read_text().splitlines())) > LINES_OF_A_PAGE_MAX
    }
    assert set(long) == {"log.md"}


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_the_documents_lead_somewhere() -> None:
    top = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    for page in (*(REPOSITORY / name for name in top), *PAGES):
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(there), f"{page.name}: {target}#{anchor}"


def test_the_comparison_names_settings_that_exist() -> None:
    page = (REPOSITORY / "docs/comparison.md").read_text()
    here = " ".join(row.rstrip(" |").rpartition(" | ")[2] for row in page.splitlines())
    named = set(re.findall(r"`((?:training|lora|data|model|tokenizer)\.\w+)", here))
    assert len(named) > 30
    assert named <= {setting.path for setting in TABLE}
