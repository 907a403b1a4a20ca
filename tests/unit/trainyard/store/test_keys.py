"""Every key of Redis is named in one file, for Python and for the scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from trainyard.store.keys import GenerationKey, JobKey, Key

LITERAL = re.compile(r"trainyard:[a-z{]")
PRODUCT = [
    path
    for room in ("trainyard", "backend_bridge", "worker", "tasks")
    for path in sorted((REPOSITORY / room).rglob("*"))
    if path.suffix in (".py", ".lua", ".js") and path.name != "keys.py"
]
LUA = sorted((REPOSITORY / "trainyard/store/lua").glob("*.lua"))


def test_no_key_is_spelled_elsewhere() -> None:
    assert not [path for path in PRODUCT if LITERAL.search(path.read_text())]


def test_keys_are_distinct_and_ours() -> None:
    of_one = [kind.of("j") for kinds in (JobKey, GenerationKey) for kind in kinds]
    assert len({*Key, *of_one}) == len(Key) + len(JobKey) + len(GenerationKey)
    assert all(LITERAL.match(key) for key in (*Key, *of_one))


@pytest.mark.parametrize("path", LUA, ids=lambda p: p.stem)
def test_a_script_begins_with_its_why_and_names_kinds_of_keys_that_there_are(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("-- ")
    assert set(re.findall(r"key\('([^']+)'", text)) <= {str(kind) for kind in JobKey}
