"""Turns of the assistant: where they stand in a rendered conversation, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.patterns import Span, known_words, learned, roles_of
from tasks.datasets.tokens.shadow import Segment, Shadow, manners, shadow_of
from tasks.datasets.tokens.shadow_reader import ShadowReader
from tasks.datasets.tokens.template import ChatTemplate, Messages


@dataclass(frozen=True)
class Turns:
    """A rendered conversation. ``spans``: (message, characters) of the assistant's turns, in order.

    ``left_out`` names what the template leaves out by its design.
    """

    text: str
    spans: tuple[tuple[int, Span], ...]
    left_out: tuple[str, ...] = ()

    def of(self, messages: Sequence[int]) -> tuple[Span, ...]:
        """The spans of these messages."""
        return tuple(span for message, span in self.spans if message in messages)


def turns_of(
    template: ChatTemplate,
    chats: Sequence[Messages],
    tools: Sequence[Any] = (),
    *,
    prompt: bool = False,
) -> list[Turns | RowProblem]:
    """The conversations of one batch; a RowProblem if one cannot be trained on.

    ``prompt``: each ends with an answer's beginning.
    """
    functions = list(tools) or [None] * len(chats)
    found: dict[int, Turns | RowProblem] = {}
    for of_rows, with_tools in ((template, False), (template.for_tools, True)):
        rows = [row for row, of_chat in enumerate(functions) if bool(of_chat) is with_tools]
        if rows:
            chosen = [chats[row] for row in rows], [functions[row] for row in rows]
            found |= zip(rows, _of_one_template(of_rows, *chosen, prompt), strict=True)
    return [found[row] for row in range(len(chats))]


def _of_one_template(
    template: ChatTemplate, chats: Sequence[Messages], functions: Sequence[Any], prompt: bool
) -> list[Turns | RowProblem]:
    chats = [[template.without_ends(message) for message in chat] for chat in chats]
    texts = template.texts(chats, functions, prompt=prompt)
    found = [
        text
        if isinstance(text, RowProblem)
        else _by_pattern(template, chat, text)
        if not (of_chat or prompt)
        else None
        for chat, of_chat, text in zip(chats, functions, texts, strict=True)
    ]
    open_rows = [row for row, item in enumerate(found) if item is None]
    shadowed = _by_shadow(
        template,
        [chats[row] for row in open_rows],
        [functions[row] for row in open_rows],
        [str(texts[row]) for row in open_rows],
        prompt,
    )
    for row, item in zip(open_rows, shadowed, strict=True):
        found[row] = item
    return [item for item in found if item is not None]


def _by_pattern(template: ChatTemplate, chat: Messages, text: str) -> Turns | None:
    """A plain conversation of roles that come often; None if it is none, or not told by them."""
    roles, known = roles_of(chat), template.patterns.known
    if roles is None:
        return None
    if template.patterns.worth_learning(roles):
        known[roles] = None  # what it is learned from has none yet
        words = known_words(roles)
        [turns] = turns_of(template, [words])
        if isinstance(turns, Turns) and not turns.left_out:
            known[roles] = learned(turns.text, words, turns.spans)
    pattern = known.get(roles)
    spans = pattern.spans(text, [message["content"] for message in chat]) if pattern else None
    return None if spans is None else Turns(text, spans)


def _by_shadow(
    template: ChatTemplate,
    chats: Sequence[Messages],
    tools: Sequence[Any],
    texts: Sequence[str],
    prompt: bool,
) -> list[Turns | RowProblem]:
    """Any conversations, each rendered a second time with marks in the place of its words."""
    found: list[Turns | RowProblem | None] = [None] * len(chats)
    for manner in manners(template.source):
        open_rows = [row for row, item in enumerate(found) if item is None]
        if not open_rows:
            break
        shadows = [shadow_of(chats[row], manner) for row in open_rows]
        shaded = template.texts(
            [shadow.messages for shadow in shadows],
            [tools[row] for row in open_rows],
            prompt=prompt,
        )
        for row, shadow, other in zip(open_rows, shadows, shaded, strict=True):
            if isinstance(other, RowProblem):
                continue
            segments = _segments(shadow, texts[row], other)
            if segments is None:
                continue
            reader = ShadowReader(template, chats[row], tools[row], texts[row])
            try:
                found[row] = Turns(texts[row], *reader.read(shadow, segments, other))
            except RowProblem as problem:
                found[row] = problem
    return [
        item
        or RowProblem(
            "what of the text is an answer cannot be told: the chat template renders it otherwise "
            "when its words change",
            "Use a chat template that renders a message by its role and content.",
        )
        for item in found
    ]


def _segments(shadow: Shadow, text: str, other: str) -> list[Segment] | None:
    """Where the pieces stand; None if the two renderings do not belong together."""
    if len(text) != len(other):
        return None
    segments, end = shadow.segments(other), 0
    for segment in segments:
        if text[end : segment.start] != other[end : segment.start]:
            return None
        end = segment.end
    marked = {piece.message for piece in shadow.pieces.values() if piece.marks}
    for number, message in enumerate(shadow.messages):
        said = message["content"].strip() or message.get("tool_calls")
        if message["role"] == "assistant" and said and number not in marked:
            return None
    return segments if text[end:] == other[end:] else None
