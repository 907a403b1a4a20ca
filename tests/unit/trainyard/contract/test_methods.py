"""Whatever differs between methods, and every list of them, comes from their records."""

from __future__ import annotations

import ast
import re
from typing import get_args

from tests.support.paths import REPOSITORY
from trainyard.contract.methods import METHODS, MethodName, by_method, listed, names

RECORDS = {"trainyard/contract/methods.py", "tasks/methods/registry.py"}
"""The records, and their trainers: nothing else names a method."""
PRODUCT = [
    path
    for room in ("trainyard", "backend_bridge", "worker", "tasks")
    for path in sorted((REPOSITORY / room).rglob("*.*"))
    if path.suffix in (".py", ".js", ".html") and str(path.relative_to(REPOSITORY)) not in RECORDS
]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
HISTORY = {"log.md", "decisions"}
"""What was so at its time."""
NAME = "|".join(METHODS)
LIST = re.compile(rf"`*\b(?:{NAME})\b`*(?:(?:, | and | or |/|\|)`*\b(?:{NAME})\b`*)+")
TRAITS = ("next_token", "whole_documents", "reference_model", "samples_answers", "scores_texts")


def lists_in(text: str) -> list[frozenset[str]]:
    return [frozenset(re.findall(NAME, found[0])) for found in LIST.finditer(text)]


def kinds() -> set[frozenset[str]]:
    """The sets of methods that the records tell apart: by a trait, a shape, a setting."""
    found = {frozenset(METHODS)}
    for trait in TRAITS:
        has = frozenset(names(lambda how, trait=trait: getattr(how, trait)))  # type: ignore[misc]
        found |= {has, frozenset(METHODS) - has}
    for shape in {shape for how in METHODS.values() for shape in how.shapes}:
        found.add(frozenset(names(lambda how, shape=shape: shape in how.shapes)))  # type: ignore[misc]
    for setting in {setting for how in METHODS.values() for setting in how.settings}:
        found.add(frozenset(names(lambda how, name=setting: name in how.settings)))  # type: ignore[misc]
    return found


def test_every_name_has_its_record() -> None:
    assert tuple(METHODS) == get_args(MethodName)
    assert all(name == how.name for name, how in METHODS.items())


def test_nothing_but_the_records_and_the_trainers_names_a_method() -> None:
    """A field of the configuration may be called as a method is, and is no string by itself."""
    for path in PRODUCT:
        if path.suffix == ".py":
            strings = [
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
        else:
            strings = re.findall(r"[\"'`]([^\"'`]*)[\"'`]", path.read_text())
        assert not [text for text in strings if text in METHODS or lists_in(text)], path


def test_a_list_of_methods_in_the_documents_is_one_of_the_records() -> None:
    known = kinds()
    for path in PAGES:
        if not HISTORY & set(path.parts):
            assert set(lists_in(path.read_text())) <= known, path


def test_a_list_is_seen() -> None:
    everywhere = [found for path in PAGES for found in lists_in(path.read_text())]
    assert frozenset(METHODS) in everywhere
    assert frozenset({"dpo", "orpo", "simpo", "reward_model"}) in everywhere


def test_a_sentence_on_all_methods() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
    assert by_method(lambda how: how.settings.get("beta")) == (
        "0.1, for simpo 2.0, for rlhf 0.05, for grpo 0.05"
    )
