"""Words of the product: nouns first, one name for one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.support.paths import REPOSITORY

PACKAGES = ("trainyard", "backend_bridge", "worker", "tasks")
NO_NOUNS = {"What", "Which", "Whether", "How", "When", "Where", "Who"}


@cache
def modules() -> dict[Path, ast.Module]:
    """Every file of the product that holds code."""
    files = [f for package in PACKAGES for f in (REPOSITORY / package).rglob("*.py")]
    assert len(files) > 200
    return {f: ast.parse(text) for f in files if (text := f.read_text()).strip()}


def test_a_module_s_docstring_begins_with_its_noun() -> None:
    first = {f: (ast.get_docstring(module) or "What").split()[0] for f, module in modules().items()}
    assert not [str(f.relative_to(REPOSITORY)) for f, word in first.items() if word in NO_NOUNS]


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for file, module in modules().items():
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(file.relative_to(REPOSITORY)))
    assert not {name: files for name, files in found.items() if len(files) > 1}
