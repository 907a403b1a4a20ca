"""Reader of rendered shadows: from where the marks stand to where the assistant's turns stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.habits import control_at
from tasks.datasets.tokens.patterns import Span
from tasks.datasets.tokens.shadow import Piece, Segment, Shadow
from tasks.datasets.tokens.template import ChatTemplate, Messages


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


class ShadowReader:
    """Reads one conversation."""

    def __init__(self, template: ChatTemplate, chat: Messages, tools: Any, text: str) -> None:
        self._template = template
        self._chat = chat
        self._tools = tools
        self._text = text

    def read(
        self, shadow: Shadow, segments: list[Segment], other: str
    ) -> tuple[tuple[tuple[int, Span], ...], tuple[str, ...]]:
        """(message, characters) of each of the assistant's turns, and what is left out by design.

        Raises RowProblem if the conversation cannot be trained on.
        """
        seen: dict[str, int] = {}
        kept = []
        for segment in segments:
            piece = segment.piece
            before = seen.get(piece.mark, 0)
            seen[piece.mark] = before + other.count(piece.mark, segment.start, segment.end)
            if piece.kind != "name" or before < piece.marks:  # a result may repeat the name
                kept.append(segment)
        left_out = self._left_out(shadow, seen)
        return tuple(self._spans(kept, other)), tuple(sorted(set(left_out)))

    def _left_out(self, shadow: Shadow, seen: dict[str, int]) -> list[str]:
        """What the template drops by its design. Raises RowProblem for all else that it drops."""
        said = []
        for piece in shadow.pieces.values():
            words = piece.text.strip() if piece.kind == "content" and not piece.marks else ""
            if words not in self._text or seen.get(piece.mark, 0) < piece.marks:
                said.append(self._dropped(piece))
        unsaid = self._template.unsaid_function(self._tools) if self._tools else None
        if unsaid is not None:
            raise _leaves_out(f"the function {unsaid[:50]!r} of its tools")
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
            return len(text.removesuffix(frame.surplus))
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
