"""Every chat template that TRL ships, with every kind of conversation: what is trained on."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from docs.reference.templates import CONVERSATIONS, plain_tokenizer, tried, trl_templates
from tasks.datasets.shapes.canonical import canonical_messages, conversation
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.template import ChatTemplate
from tasks.datasets.tokens.training_variant import training_variant
from tasks.datasets.tokens.turns import Turns, turns_of

TEMPLATES = trl_templates()
ORIGINALS = [name for name in TEMPLATES if not name.endswith("_training")]
VARIANTS = [name for name in TEMPLATES if name.endswith("_training")]
MUST_TRAIN = ("plain", "several turns", "ends with the user", "parts")


@cache
def template_of(name: str) -> ChatTemplate:
    return ChatTemplate(plain_tokenizer(), TEMPLATES[name])


def trained_and_not(found: Turns) -> tuple[str, str]:
    """The text that is trained on and the rest; spans do not overlap."""
    trained, rest, end = [], [], 0
    for _, (begin, stop) in found.spans:
        assert end <= begin < stop <= len(found.text)
        rest.append(found.text[end:begin])
        trained.append(found.text[begin:stop])
        end = stop
    return "\0".join(trained), "\0".join([*rest, found.text[end:]])


@pytest.mark.parametrize("name", TEMPLATES)
def test_answers_are_trained_on_and_nothing_else(name: str) -> None:
    for kind in CONVERSATIONS:
        found = tried(template_of(name), kind)
        if isinstance(found, RowProblem):
            assert kind not in MUST_TRAIN, f"{kind}: {found}"
            continue
        trained, rest = trained_and_not(found)
        for message in canonical_messages(CONVERSATIONS[kind], "messages"):
            answer = message["role"] == "assistant"
            assert message["content"] in (trained if answer else rest), (kind, found)
            assert not message["content"] or message["content"] not in (rest if answer else trained)
            for word in ("get_weather", "Paris") if message.get("tool_calls") else ():
                assert word in trained, (kind, found)
            reason = message.get("reasoning_content", "")
            assert reason in trained or found.left_out == ("the reasoning of earlier turns",)
            assert not reason or reason not in rest


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_turn_ends_with_the_token_that_ends_it(name: str) -> None:
    found = tried(template_of(name), "several turns")
    assert isinstance(found, Turns)
    for _, (begin, end) in found.spans:
        turn = found.text[begin:end]
        # GLM's turns are ended by the header of the next; its variant for training says so.
        ended = turn.endswith(("It is 4.", "It is 6."))
        assert ended == (name == "glm4moe"), turn


@pytest.mark.parametrize("name", VARIANTS)
def test_the_spans_are_those_that_trl_marks(name: str) -> None:
    """They differ in whether a header or the end of a turn belongs to it, not in words."""
    template = template_of(name)
    special = template._tokenizer.special_tokens_map
    for kind in CONVERSATIONS:
        found = tried(template, kind)
        if isinstance(found, RowProblem) or kind == "tool calls":
            continue
        messages = canonical_messages(CONVERSATIONS[kind], "messages")
        chat = [template.wanted(message) for message in messages]
        [text], [marked] = render_jinja_template(
            [chat], chat_template=template.source, return_assistant_tokens_mask=True, **special
        )
        assert text == found.text
        ours = {place for _, (begin, end) in found.spans for place in range(begin, end)}
        theirs = {place for begin, end in marked for place in range(begin, end)}
        for places in (theirs - ours, ours - theirs):
            apart = "".join(text[place] for place in sorted(places))
            assert TAGS.fullmatch(apart), (kind, apart)


TAGS = re.compile(r"(<[^<>]+>|assistant|\s)*")
"""What a generation prompt writes, and what ends a turn."""


def test_a_known_template_is_trained_with_its_variant() -> None:
    tokenizer = plain_tokenizer()
    for name in ORIGINALS:
        tokenizer.chat_template = TEMPLATES[name]
        assert training_variant(tokenizer) == TEMPLATES.get(f"{name}_training"), name
    tokenizer.chat_template = "{{ messages }}"
    assert training_variant(tokenizer) is None


def test_conversations_with_tools_go_through_the_template_called_tool_use() -> None:
    tokenizer = plain_tokenizer()
    tokenizer.chat_template = {"default": TEMPLATES["llama3"], "tool_use": TEMPLATES["qwen2_5"]}
    chats = [canonical_messages(CONVERSATIONS["plain"], "messages")] * 2
    tools = [{"type": "function", "function": {"name": "get", "description": "Gets."}}]
    without, with_tools = turns_of(ChatTemplate(tokenizer), chats, [None, tools])
    assert isinstance(without, Turns) and isinstance(with_tools, Turns)
    for found, of_row in ((without, None), (with_tools, tools)):
        chat = [{**message} for message in chats[0]]
        assert found.text == tokenizer.apply_chat_template(chat, tools=of_row, tokenize=False)


def test_a_function_without_a_description_is_named_if_the_template_wants_one() -> None:
    source = "{% for tool in tools %}{{ tool.function.description + '' }}{% endfor %}"
    template = ChatTemplate(plain_tokenizer(), source + TEMPLATES["qwen2_5"])
    chat = canonical_messages(CONVERSATIONS["plain"], "messages")
    [found] = turns_of(template, [chat], [[{"type": "function", "function": {"name": "get"}}]])
    assert "the function 'get' of its tools has no description and parameters" in str(found)


def test_tools_that_a_template_leaves_out_are_missed_whatever_they_are_called() -> None:
    tools = [{"type": "function", "function": {"name": "user", "description": "Gets."}}]
    chat = canonical_messages(CONVERSATIONS["plain"], "messages")
    [found] = turns_of(template_of("llama3"), [chat], [tools])
    assert "leaves out the function 'user' of its tools" in str(found)
    [found] = turns_of(template_of("qwen2_5"), [chat], [tools])
    assert isinstance(found, Turns)


def test_templates_without_a_default_are_named() -> None:
    tokenizer = plain_tokenizer()
    tokenizer.chat_template = {"rag": TEMPLATES["llama3"]}
    [found] = turns_of(ChatTemplate(tokenizer), [[{"role": "assistant", "content": "a"}]])
    assert "(rag) none is called default" in str(found)


# ---------------------------------------------------------------- any conversation

NOISE = st.sampled_from(
    [
        *("é", "你好", "👩‍👩‍👧", "  ", "\n", "'\"", "\\", "<b>", "&amp;", "</think>", "<think>"),
        *("{", "}", "[", "مرحبا", "role", "user", "\u200b", "1.5", "<|im_end|>", "**b**"),
        *("assistant", "-", "\t", "\ufb00", "İ", "\u2028", "%", "{{x}}", "{%", "</s>", "\x1c"),
        *("_x_", "ß"),
    ]
)
WORD = re.compile(r"W\d+W")


@st.composite
def said(draw: st.DrawFn, number: int) -> str:
    """A text with a word that no other text has."""
    around = [draw(st.lists(NOISE, max_size=3)) for _ in range(2)]
    return "".join([*around[0], f"W{number}W", *around[1]])


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    number = 0

    def text() -> str:
        nonlocal number
        number += 1
        return draw(said(number))

    orderly = draw(st.booleans())
    roles = ["user", "assistant"] * 2 if orderly else ["user", "assistant", "system", "tool"]
    for place in range(draw(st.integers(1, 5))):
        role = roles[place % 2] if orderly else draw(st.sampled_from([*roles, "developer"]))
        message: dict[str, Any] = {"role": role, "content": text()}
        if role == "assistant" and draw(st.booleans()):
            how = draw(st.sampled_from(["reason", "inside", "call"]))
            if how == "reason":
                message["reasoning_content"] = text()
            elif how == "inside":
                message["content"] = f"<think>{text()}</think>\n\n{text()}"
            else:
                values = st.one_of(st.integers(-9, 99), st.booleans(), st.none(), said(number + 1))
                arguments = draw(st.dictionaries(st.sampled_from("abc"), values, max_size=2))
                number += 1
                function = {"name": "get", "arguments": arguments}
                message["tool_calls"] = [{"id": "call00001", "function": function}]
                message["content"] = draw(st.sampled_from(["", message["content"]]))
        made.append(message)
    return made


@settings(max_examples=150, deadline=None)
@given(raw=conversations(), name=st.sampled_from(list(TEMPLATES)))
def test_what_is_accepted_trains_on_the_answers_and_leaves_nothing_out_unsaid(
    raw: list[dict[str, Any]], name: str
) -> None:
    try:
        chat = canonical_messages(raw, "messages")
        conversation(chat)
    except RowProblem:
        return
    [found] = turns_of(template_of(name), [chat])
    if isinstance(found, RowProblem):
        return
    trained, rest = trained_and_not(found)
    for message in chat:
        answers = message["role"] == "assistant"
        calls = json.dumps(message.get("tool_calls", ""), ensure_ascii=False)
        reasons = message.get("reasoning_content", "")
        for word in WORD.findall(message["content"] + calls + reasons):
            assert word not in (rest if answers else trained)
            assert word in (trained if answers else rest) or found.left_out
