"""Turns of the assistant: where they stand in a rendered conversation, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.patterns import Span, known_words, learned, roles_of
from tasks.datasets.tokens.shadow import Piece, Segment, Shadow, manners, shadow_of
from tasks.datasets.tokens.template import ChatTemplate, Messages, control_at


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


@dataclass
class _Group:
    """Neighbouring segments of one message."""

    message: int
    segments: list[Segment]

    @property
    def start(self) -> int:
        return self.segments[0].start

    @property
    def end(self) -> int:
        return self.segments[-1].end


def turns_of(
    template: ChatTemplate,
    chats: Sequence[Messages],
    tools: Sequence[Any] = (),
    *,
    prompt: bool = False,
) -> list[Turns | RowProblem]:
    """The conversations of one batch; a RowProblem where one cannot be trained on.

    ``prompt``: each ends with an answer's beginning.
    """
    texts = template.texts(chats, tools, prompt=prompt)
    functions = list(tools) or [None] * len(chats)
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
            segments = (
                None if isinstance(other, RowProblem) else _segments(shadow, texts[row], other)
            )
            if segments is not None:
                found[row] = _Reader(template, chats[row], tools[row], texts[row]).read(
                    shadow, segments, str(other)
                )
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
    """Where the pieces stand; None where the two renderings do not belong together."""
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


class _Reader:
    """Reads one conversation."""

    def __init__(self, template: ChatTemplate, chat: Messages, tools: Any, text: str) -> None:
        self._template = template
        self._chat = chat
        self._tools = tools
        self._text = text

    def read(self, shadow: Shadow, segments: list[Segment], other: str) -> Turns | RowProblem:
        seen: dict[str, int] = {}
        kept = []
        for segment in segments:
            piece = segment.piece
            before = seen.get(piece.mark, 0)
            seen[piece.mark] = before + other.count(piece.mark, segment.start, segment.end)
            if piece.kind != "name" or before < piece.marks:  # a result may repeat the name
                kept.append(segment)
        try:
            left_out = self._left_out(shadow, seen)
            spans = self._spans(kept, other)
        except RowProblem as problem:
            return problem
        return Turns(self._text, tuple(spans), tuple(sorted(set(left_out))))

    def _left_out(self, shadow: Shadow, seen: dict[str, int]) -> list[str]:
        """What the template drops by its design. Raises RowProblem for all else that it drops."""
        said = []
        for piece in shadow.pieces.values():
            words = piece.text.strip() if piece.kind == "content" and not piece.marks else ""
            if words not in self._text or seen.get(piece.mark, 0) < piece.marks:
                said.append(self._dropped(piece))
        for tool in self._tools or []:
            name = tool["function"]["name"]
            if name not in self._text:
                raise _leaves_out(f"the function {name[:50]!r} of its tools")
        return said

    def _dropped(self, piece: Piece) -> str:
        message = self._chat[piece.message]
        role, template = message["role"], self._template
        if role in ("system", "developer"):
            raise _leaves_out("the system prompt")
        if role == "tool":
            raise _leaves_out("the result of a tool call")
        if role != "assistant":
            raise _leaves_out(f"the {role}'s message {piece.message + 1}")
        if piece.kind in ("name", "call"):
            raise RowProblem(
                f"the chat template cannot say a tool call (message {piece.message + 1})",
                "Use a chat template that knows tool calls, or leave them out.",
            )
        if piece.kind == "reasoning":
            apart = bool(message.get("reasoning_content", "").strip())
            calls = bool(message.get("tool_calls"))
            if template.keeps_reasoning(apart, calls) and piece.message < len(self._chat) - 1:
                return "the reasoning of earlier turns"
            raise _leaves_out("the reasoning_content" if apart else "the reasoning (<think>)")
        if message.get("tool_calls") and template.keeps_content_beside_call:
            return "the words beside earlier tool calls"
        raise _leaves_out(f"the assistant's message {piece.message + 1}")

    def _spans(self, segments: list[Segment], other: str) -> list[tuple[int, Span]]:
        groups: list[_Group] = []
        for segment in segments:
            number = segment.piece.message
            if groups and groups[-1].message == number:
                groups[-1].segments.append(segment)
            else:
                groups.append(_Group(number, [segment]))
        spans: list[tuple[int, Span]] = []
        done = 0
        for place, group in enumerate(groups):
            if self._chat[group.message]["role"] == "assistant":
                before = groups[place - 1] if place else None
                after = groups[place + 1] if place + 1 < len(groups) else None
                # Blanks before an answer may be those that ended the one before.
                start, end = max(self._start(group, before), done), self._end(group, after, other)
                spans.append((group.message, (start, end)))
                done = end
        return spans

    def _start(self, group: _Group, before: _Group | None) -> int:
        """After the header that a generation prompt writes."""
        text, frame = self._text, self._template.frame
        first = group.segments[0].piece
        start = group.start - len(first.before)
        if text[max(start, 0) : group.start] != first.before:
            start = group.start
        floor = 0
        if before is not None:
            floor = self._after(before)
            opening = frame.openings.get(self._chat[before.message]["role"])
            if opening and text.startswith(opening, floor):
                opened = floor + len(opening)
                # After a call's result some write a header that the generation prompt lacks.
                header = next((h for h in frame.headers if text.startswith(h, opened)), "")
                return min(opened + len(header), group.start)
        # Blanks before an answer that the template trims may look like the end of its header.
        for limit in (start, group.start):
            for header in frame.headers:
                found = text.rfind(header, floor, limit)
                if found >= 0:
                    return found + len(header)
        if first.kind in ("name", "call"):
            raise _untold(group, "begins")
        return start

    def _after(self, group: _Group) -> int:
        """Where a group's own text ends, with the blanks and signs after its last mark."""
        rest = group.segments[-1].piece.after
        return group.end + (len(rest) if self._text.startswith(rest, group.end) else 0)

    def _end(self, group: _Group, after: _Group | None, other: str) -> int:
        """After the token that ends the turn."""
        text, frame = self._text, self._template.frame
        if after is None and group.message == len(self._chat) - 1:
            return len(text)
        limit = after.start if after else len(text)
        end = self._after(group)
        if group.segments[-1].piece.kind in ("name", "call"):
            found = other.find(frame.call_closing, group.end, limit) if frame.call_closing else -1
            if found < 0:
                raise _untold(group, "ends")
            return found + len(frame.call_closing)
        if text.startswith(frame.closing, end):
            return end + len(frame.closing)
        found = text.find(frame.closing, group.end, limit)
        if found >= 0:
            return found + len(frame.closing)
        return min(control_at(text, end), limit)


def _untold(group: _Group, what: str) -> RowProblem:
    return RowProblem(
        f"where the tool call of message {group.message + 1} {what} cannot be told from the chat "
        "template",
        "Use another chat template, or leave the calls out.",
    )


def _leaves_out(words: str) -> RowProblem:
    return RowProblem(
        f"the chat template leaves out {words}",
        "Use a chat template that says it, or take it out of the row.",
    )
