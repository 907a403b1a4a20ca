"""Patterns of plain conversations: they tell the same turns as a shadow of each row does."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docs.reference.templates import plain_tokenizer, trl_templates
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens import turns as turns_module
from tasks.datasets.tokens.patterns import roles_of
from tasks.datasets.tokens.template import ChatTemplate
from tasks.datasets.tokens.turns import turns_of

TEMPLATES = trl_templates()
TRIMMED = st.text("ab <>|\n'\\&é{}%", min_size=1, max_size=8).filter(str.strip)
SAID = st.one_of(
    TRIMMED, st.sampled_from(["</think>", "<think>x</think>y", "<|im_end|>", "[INST]"])
)
ROLES = st.sampled_from([("user", "assistant"), ("system", "user", "assistant", "user")])


def chat(roles: tuple[str, ...], *contents: str) -> list[dict[str, Any]]:
    return [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]


@cache
def warm(name: str) -> ChatTemplate:
    """A template that has seen plain conversations of many roles."""
    template = ChatTemplate(plain_tokenizer(), TEMPLATES[name])
    for roles in (("user", "assistant"), ("system", "user", "assistant", "user")):
        turns_of(template, [chat(roles, *"abcd"[: len(roles)])] * 6)
    return template


def by_shadow(name: str, row: list[dict[str, Any]]) -> Any:
    template = ChatTemplate(plain_tokenizer(), TEMPLATES[name])
    template.patterns.known[roles_of(row) or ()] = None
    return turns_of(template, [row])[0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_that_come_often_need_no_shadow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = chat(("user", "assistant"), "What is 2 plus 2?", "It is 4.")
    template, expected = warm(name), by_shadow(name, row)

    def no_shadow(*_: Any) -> Any:
        raise AssertionError("a shadow was made")

    monkeypatch.setattr(turns_module, "shadow_of", no_shadow)
    assert turns_of(template, [row]) == [expected]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), roles=ROLES, name=st.sampled_from(list(TEMPLATES)))
def test_a_pattern_tells_what_a_shadow_tells(data: Any, roles: tuple[str, ...], name: str) -> None:
    row = chat(roles, *(data.draw(SAID) for _ in roles))
    [found], expected = turns_of(warm(name), [row]), by_shadow(name, row)
    if isinstance(expected, RowProblem) and isinstance(found, RowProblem):
        assert found.sentence == expected.sentence
    else:
        assert found == expected
