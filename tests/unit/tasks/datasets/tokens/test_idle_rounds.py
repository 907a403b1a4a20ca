"""Loops of chat templates that go on when their flag is set: ended, and nothing else changed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from docs.reference.templates import trl_templates
from tasks.datasets.tokens.habits import without_idle_rounds
from tasks.datasets.tokens.template import ChatTemplate
from tasks.datasets.tokens.turns import Turns, turns_of
from tests.support.learned import AS_TEXT, ASKED, IS_4, PIRATE, RESULT, WARM, WEATHER
from tests.support.tokenizers import make_tokenizer

CALL = {"id": "call_1", "type": "function", "function": {"name": AS_TEXT["name"], "arguments": {}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
CHATS: list[list[dict[str, Any]]] = [
    [PIRATE, ASKED, IS_4, ASKED, IS_4],
    [ASKED, IS_4, IS_4, ASKED, ASKED, IS_4],
    [WEATHER, CALLS, RESULT, WARM, WEATHER, CALLS, RESULT, RESULT, WARM],
    [WEATHER, CALLS, RESULT, RESULT],
]
CHANGED = {
    name: source
    for name, source in trl_templates().items()
    if without_idle_rounds(source) != source
}
SECONDS_MAX = 4
"""Of the processor. It is 0.6; the square of the turns took 14.4."""


@pytest.mark.parametrize("name", CHANGED)
def test_the_texts_are_the_same(name: str) -> None:
    tokenizer = make_tokenizer(CHANGED[name])
    for chat in CHATS:
        wanted = tokenizer.apply_chat_template(chat, tokenize=False)
        assert ChatTemplate(tokenizer).texts([chat]) == [wanted]


LOOK = "{%- for j in range(loop.index0 - 1, -1, -1) -%}"
BREAK = "{%- if ns.found -%}{%- break -%}{%- endif -%}"


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        ("{%- if not ns.found -%}{%- if a -%}x{%- endif -%}{%- endif -%}", True),
        ("{%- if ns.found -%}{%- elif a -%}{%- for k in b -%}y{%- endfor -%}{%- endif -%}", True),
        ("{%- if not ns.found -%}x{%- else -%}y{%- endif -%}", False),
        ("{%- if ns.found -%}y{%- elif a -%}x{%- endif -%}", False),
        ("{%- if not ns.found -%}x{%- endif -%}y", False),
        ("{%- if not ns.found -%}x{%- endif -%}{%- if a -%}y{%- endif -%}", False),
        ("{% if not ns.found -%}x{%- endif -%}", False),
        ("{%- if not found -%}x{%- endif -%}", False),
    ],
)
def test_only_a_loop_that_is_idle_ends(body: str, ends: bool) -> None:
    source = f"{LOOK}{body}{{%- endfor -%}}"
    wanted = f"{LOOK}{BREAK}{body}{{%- endfor -%}}" if ends else source
    assert without_idle_rounds(source) == wanted


def test_a_long_chat_takes_time_by_its_length() -> None:
    assert "gemma4" in CHANGED
    template = ChatTemplate(make_tokenizer(CHANGED["gemma4"]))
    words = "word " * 150
    chat = [
        {"role": role, "content": f"{turn} {words}"}
        for turn in range(1000)
        for role in ("user", "assistant")
    ]
    begun = time.process_time()
    [turns] = turns_of(template, [chat])
    assert time.process_time() - begun < SECONDS_MAX
    assert isinstance(turns, Turns)
    assert len(turns.spans) == len(chat) / 2
