"""Training rows → the text that the model will see, and the parts of it that are trained on.

Trained on are an answer, the assistant's turns, or all of a plain text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from jinja2 import TemplateError

from tasks.datasets.shapes.format import RowProblem

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
    tools = {n: json.loads(rows[n]["tools"]) for n in chats if rows[n].get("tools")}
    found = _render_chats(chats, tools, tokenizer)
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


def _render_chats(
    chats: dict[int, Messages], tools: dict[int, Any], tokenizer: Any
) -> dict[int, Rendered | RowProblem]:
    """The conversations of one batch, and the functions that some of them may call, by row.

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

    def texts(rows: Iterable[int], parts: list[Messages], prompt: bool = False) -> Any:
        return chat_texts(tokenizer, parts, [tools.get(row) for row in rows], prompt=prompt)

    wholes = dict(zip(chats, texts(chats, list(chats.values())), strict=True))
    starts = texts((row for row, _ in turns), [chats[row][:n] for row, n in turns], prompt=True)
    ends = texts((row for row, _ in inner), [chats[row][: n + 1] for row, n in inner])
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
    tokenizer: Any,
    chats: Sequence[Messages],
    tools: Sequence[Any] = (),
    *,
    prompt: bool = False,
) -> Sequence[str | RowProblem]:
    """``chats`` by the tokenizer's chat template; ``prompt``: with an answer's beginning.

    ``tools`` are the functions that each may call. A RowProblem stands where the template refuses
    one.
    """
    if not any(tools):
        try:
            return _apply(tokenizer, chats, prompt) if chats else []
        except TEMPLATE_ERRORS:
            pass  # one by one, to know which
    functions = tools or [None] * len(chats)
    return [
        _text_or_problem(tokenizer, chat, of_chat, prompt)
        for chat, of_chat in zip(chats, functions, strict=True)
    ]


def _text_or_problem(tokenizer: Any, chat: Messages, tools: Any, prompt: bool) -> str | RowProblem:
    try:
        return _apply(tokenizer, [chat], prompt, tools)[0]
    except TEMPLATE_ERRORS as error:
        return RowProblem(
            f"the tokenizer's chat template refuses it: {error}",
            "Change its messages to what the template allows (often: roles that alternate).",
        )


def _apply(tokenizer: Any, chats: Sequence[Messages], prompt: bool, tools: Any = None) -> list[str]:
    texts: list[str] = tokenizer.apply_chat_template(
        list(chats), tools=tools, tokenize=False, add_generation_prompt=prompt
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
