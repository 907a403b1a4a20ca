"""Training rows → the text that the model will see, and the parts of it that are trained on.

Trained on are an answer, the assistant's turns, or all of a plain text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from jinja2 import TemplateError

from tasks.datasets.format import RowProblem

Span: TypeAlias = tuple[int, int]
Messages: TypeAlias = list[dict[str, Any]]

TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What a chat template raises at a conversation that it was not written for."""


@dataclass(frozen=True)
class Rendered:
    """A row as the model will see it. ``trained`` are spans of characters.

    ``special``: the tokenizer adds its own special tokens; a chat template has written them.
    """

    text: str
    trained: tuple[Span, ...]
    special: bool
    ends_with_eos: bool


def render(
    rows: Sequence[dict[str, Any]], tokenizer: Any, *, add_eos: bool, answers_only: bool = True
) -> list[Rendered | RowProblem]:
    """Render training rows, in order; a RowProblem where the chat template refuses a row."""
    chats = {n: json.loads(row["messages"]) for n, row in enumerate(rows) if row["messages"]}
    found = _render_chats(chats, tokenizer)
    rendered: list[Rendered | RowProblem] = []
    for number, row in enumerate(rows):
        item = found.get(number) or _render_plain(row, add_eos)
        if isinstance(item, Rendered) and not answers_only:
            item = replace(item, trained=((0, len(item.text)),))
        rendered.append(item)
    return rendered


def _render_plain(row: dict[str, Any], add_eos: bool) -> Rendered:
    if row["text"] is not None:
        text = row["text"]
        return Rendered(text, ((0, len(text)),), special=True, ends_with_eos=add_eos)
    text = row["prompt"] + row["completion"]
    span = (len(row["prompt"]), len(text))
    return Rendered(text, (span,), special=True, ends_with_eos=add_eos)


def _render_chats(chats: dict[int, Messages], tokenizer: Any) -> dict[int, Rendered | RowProblem]:
    """The conversations of one batch, by row.

    An assistant's turn starts where the rendering of all that precedes it, with the generation
    prompt, ends, and goes on to where the next message starts. A template that renders an earlier
    turn otherwise than a last one (one that strips earlier reasoning, say) leaves the last turn
    alone to be trained on.
    """
    turns = [
        (number, index)
        for number, messages in chats.items()
        for index, message in enumerate(messages)
        if message["role"] == "assistant"
    ]
    inner = [(number, index) for number, index in turns if index < len(chats[number]) - 1]
    wholes = dict(zip(chats, chat_texts(tokenizer, list(chats.values())), strict=True))
    starts = chat_texts(tokenizer, [chats[row][:index] for row, index in turns], prompt=True)
    ends = chat_texts(tokenizer, [chats[row][: index + 1] for row, index in inner])
    end_of = dict(zip(inner, ends, strict=True))
    spans: dict[int, list[Span]] = {number: [] for number in chats}
    problems = {n: whole for n, whole in wholes.items() if isinstance(whole, RowProblem)}
    for (number, index), start in zip(turns, starts, strict=True):
        whole = wholes[number]
        end = end_of.get((number, index), whole)
        if isinstance(whole, str) and isinstance(start, str) and isinstance(end, str):
            if whole.startswith(end):
                spans[number].append((common_prefix(start, whole), len(end)))
        else:
            refused = (part for part in (start, end) if isinstance(part, RowProblem))
            problems.setdefault(number, next(refused))
    return {
        number: problems.get(number)
        or Rendered(str(whole), tuple(spans[number]), special=False, ends_with_eos=False)
        for number, whole in wholes.items()
    }


def chat_texts(
    tokenizer: Any, chats: Sequence[Messages], *, prompt: bool = False
) -> Sequence[str | RowProblem]:
    """``chats`` by the tokenizer's chat template; ``prompt``: with an answer's beginning.

    A RowProblem stands where the template refuses one.
    """
    try:
        return _apply(tokenizer, chats, prompt) if chats else []
    except TEMPLATE_ERRORS:
        return [_text_or_problem(tokenizer, chat, prompt) for chat in chats]


def _text_or_problem(tokenizer: Any, chat: Messages, prompt: bool) -> str | RowProblem:
    try:
        return _apply(tokenizer, [chat], prompt)[0]
    except TEMPLATE_ERRORS as error:
        return RowProblem(
            f"the tokenizer's chat template refuses it: {error}",
            "Change its messages to what the template allows (often: roles that alternate).",
        )


def chat_text(tokenizer: Any, messages: Messages, *, prompt: bool = False) -> str:
    """One conversation by the tokenizer's chat template; see :func:`chat_texts`."""
    return _apply(tokenizer, [messages], prompt)[0]


def _apply(tokenizer: Any, chats: Sequence[Messages], prompt: bool) -> list[str]:
    texts: list[str] = tokenizer.apply_chat_template(
        list(chats), tokenize=False, add_generation_prompt=prompt
    )
    return texts


def common_prefix(left: str, right: str) -> int:
    """Characters that both begin with."""
    if right.startswith(left):
        return len(left)
    for position, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return position
    return min(len(left), len(right))
