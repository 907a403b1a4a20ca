"""Documents that are made from code, and claims that name a test, hold."""

from __future__ import annotations

import json
import re

import pytest

from docs.reference import __main__
from docs.reference.settings import as_markdown
from tests.support.paths import REPOSITORY
from trainyard.contract.parser import parse_request


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


def test_links_between_the_documents_lead_somewhere() -> None:
    documents = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
