"""Sets, scripts, page and colours say of every status what its record says."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from tests.support.paths import REPOSITORY
from trainyard.cli.tables import coloured_status
from trainyard.contract.statuses import (
    ACTIVE,
    OCCUPYING,
    REPORTED,
    STATUSES,
    TERMINAL,
    BackendStatus,
    Button,
    JobStatus,
)
from trainyard.store.scripts import head

STATIC = REPOSITORY / "backend_bridge/dev_backend/static"
PRODUCT = [
    path
    for room in ("trainyard", "backend_bridge", "worker", "tasks")
    for path in sorted((REPOSITORY / room).rglob("*"))
    if path.suffix in (".py", ".lua", ".js") and path.name != "statuses.py"
]
NO_STATUSES = {
    "trainyard/contract/events.py": ["completed", "paused", "cancelled", "failed"],
}
"""Outcomes of an attempt, which are called alike."""


def test_every_status_has_its_record() -> None:
    assert list(STATUSES) == list(JobStatus)
    assert set(JobStatus) == TERMINAL | ACTIVE
    assert not TERMINAL & OCCUPYING
    assert TERMINAL <= REPORTED


def test_the_backend_s_type_is_the_reported_ones() -> None:
    assert set(get_args(BackendStatus)) == REPORTED


@pytest.mark.parametrize(
    ("table", "those"), [("REPORTED", REPORTED), ("OCCUPIES", OCCUPYING), ("ENDED", TERMINAL)]
)
def test_the_scripts_tables(table: str, those: frozenset[JobStatus]) -> None:
    found = re.search(rf"^local {table} = {{(.*)}}$", head(), re.MULTILINE)
    assert found
    assert set(re.findall(r"(\w+) = 1", found[1])) == those


def test_the_command_line_s_colours() -> None:
    assert {s: str(coloured_status(s).style) for s in JobStatus} == {
        name: status.colour for name, status in STATUSES.items()
    }


def test_the_page_s_buttons() -> None:
    text = (STATIC / "controls.js").read_text()
    shown = re.findall(r'^  "?([a-z-]+)"?: { label: ', text, re.MULTILINE)
    assert sorted(shown) == sorted(get_args(Button))


def test_the_page_s_colours() -> None:
    text = (STATIC / "base.css").read_text()
    usual = re.search(r"^\.badge {\s*--tone: var\(--(\w+)\);", text, re.MULTILINE)
    assert usual
    tones = {
        name: tone
        for names, tone in re.findall(
            r"^((?:\.badge-\w+,? ?)+){ --tone: var\(--(\w+)\)", text, re.M
        )
        for name in re.findall(r"badge-(\w+)", names)
    }
    assert tones.keys() <= set(JobStatus)
    assert {s: tones.get(s, usual[1]) for s in JobStatus} == {
        name: status.tone for name, status in STATUSES.items()
    }


def lists_of_strings(path: Path) -> list[list[str]]:
    """Whatever lists two strings or more side by side."""
    text = path.read_text()
    if path.suffix == ".py":
        return [
            [n.value for n in node.elts if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Tuple | ast.List | ast.Set)
        ]
    return [re.findall(r"\w+", found) for found in re.findall(r"[\[{]([^\[\]{}]*)[\]}]", text)]


def test_nothing_else_lists_statuses() -> None:
    for path in PRODUCT:
        allowed = NO_STATUSES.get(str(path.relative_to(REPOSITORY)), [])
        found = [words for words in lists_of_strings(path) if len(set(words) & set(JobStatus)) > 1]
        assert not [words for words in found if words != allowed], path
