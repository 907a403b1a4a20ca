"""Shadows of conversations: the same messages with every word replaced by its message's own mark.

A chat template gives a conversation and its shadow texts of one length. A character that is a mark
in the second text came, in the first, from the message whose mark it is; all else is the
template's own. Two renderings tell this of a conversation of any length, also if the template
moves, repeats, trims or leaves out what it was given.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from tasks.datasets.shapes.problems import RowProblem

Kind = Literal["content", "reasoning", "call", "name"]

_TEXTS = (0x20000, 0x2A6D0)
_NAMES = (0x2CEB0, 0x2EBE0)
"""Rare letters, each of one code point, that no filter escapes. A name's mark stands unbroken."""

_A, _B = (f"{chr(first)}-{chr(end - 1)}" for first, end in (_TEXTS, _NAMES))
_MARKS = re.compile(rf"[{_A}]+|[{_B}]+")
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_WORDS = re.compile(r"\S+")
_UNESCAPED_WORDS = re.compile(r"[^\s\"'\\<>&\x00-\x1f\x7f]+")
"""Words without what JSON, Python or HTML write otherwise."""


@dataclass
class Piece:
    """One text of a message and its mark. ``marks`` of it stand in the shadow.

    ``before`` and ``after`` are what the text begins and ends with beside its marks.
    """

    message: int
    kind: Kind
    text: str
    mark: str
    marks: int = 0
    before: str = ""
    after: str = ""


@dataclass
class Segment:
    """One piece's marks in a rendered shadow, and what is between them: characters [start, end)."""

    piece: Piece
    start: int
    end: int


@dataclass(frozen=True)
class Manner:
    """What of a text is marked: its ``words``, or without a pattern all but blanks at its ends.

    ``kept`` are parts of texts that the template looks for itself.
    """

    words: re.Pattern[str] | None
    kept: tuple[str, ...]

    def parts(self, text: str) -> list[str]:
        """``text`` in parts, every second of which is kept; what is kept may overlap."""
        found = [part for part in self.kept if part in text]
        if not found:
            return [text]
        places = sorted(
            (match.start(), match.start() + len(part))
            for part in found
            for match in re.finditer(f"(?={re.escape(part)})", text)
        )
        parts, done = [""], 0
        for start, end in places:
            if start > done or len(parts) == 1:
                parts += [text[done:start], text[start:end]]
            elif end > done:
                parts[-1] += text[done:end]
            done = max(done, end)
        return [*parts[1:], text[done:]]


@lru_cache(maxsize=64)
def manners(template: str) -> tuple[Manner, ...]:
    """The manners in which ``template`` may be shown a shadow, the most telling first."""
    found = set()
    for literal in _LITERAL.findall(template):
        try:
            found.add(str(ast.literal_eval(literal)))
        except (SyntaxError, ValueError):
            continue
    words = sorted((text for text in found if text.strip()), key=len, reverse=True)
    tags = tuple(text for text in words if len(text) > 1 and not re.fullmatch(r"[\w\s]+", text))
    return (
        Manner(None, tags),
        Manner(_WORDS, tags),
        Manner(_UNESCAPED_WORDS, tuple(words)),
        Manner(_UNESCAPED_WORDS, tags),
        Manner(_WORDS, ()),
    )


@dataclass
class Shadow:
    """The messages of one conversation in the shade."""

    manner: Manner
    messages: list[dict[str, Any]] = field(default_factory=list)
    pieces: dict[str, Piece] = field(default_factory=dict)

    def segments(self, rendered: str) -> list[Segment]:
        """Where the pieces stand in the rendered shadow, in order."""
        found: list[Segment] = []
        for match in _MARKS.finditer(rendered):
            run, start = match[0], match.start()
            while run:
                mark, rest = run[0], run.lstrip(run[0])
                end = match.end() - len(rest)
                piece = self.pieces.get(mark)
                if piece is not None:
                    last = found[-1] if found else None
                    if last is not None and last.piece is piece and piece.kind != "name":
                        start = found.pop().start
                    found.append(Segment(piece, start, end))
                run, start = rest, end
        return found

    def shade(self, message: int, kind: Kind, text: str) -> str:
        """``text`` in marks of its own."""
        piece = Piece(message, kind, text, self._mark(kind))
        self.pieces[piece.mark] = piece
        return self.again(piece, text)

    def _mark(self, kind: Kind) -> str:
        first, end = _NAMES if kind == "name" else _TEXTS
        # A name's mark and a text's may have one number: they are of two alphabets.
        if len(self.pieces) >= end - first:
            raise RowProblem(f"the conversation has more than {end - first:,} parts")
        return chr(first + len(self.pieces))

    def again(self, piece: Piece, text: str) -> str:
        """``text`` in the marks of a piece that is there."""
        if piece.kind == "name":
            shaded = piece.mark * len(text)
        else:
            words = _UNESCAPED_WORDS if piece.kind == "call" else self.manner.words
            parts = self.manner.parts(text)
            parts[::2] = [_marked(part, piece.mark, words) for part in parts[::2]]
            shaded = "".join(parts)
        count = shaded.count(piece.mark)
        if count and not piece.marks:
            piece.before = text[: shaded.index(piece.mark)]
            piece.after = text[shaded.rindex(piece.mark) + 1 :]
        piece.marks += count
        return shaded


def _marked(text: str, mark: str, words: re.Pattern[str] | None) -> str:
    if words is not None:
        return words.sub(lambda word: mark * len(word[0]), text)
    inner = text.strip()
    if not inner:
        return text
    before = len(text) - len(text.lstrip())
    end = before + len(inner)
    return text[:before] + mark * len(inner) + text[end:]


def shadow_of(messages: Sequence[Mapping[str, Any]], manner: Manner) -> Shadow:
    """``messages`` in the shade. Messages that are one and the same, but for answers, share marks:
    a template may compare them."""
    shadow = Shadow(manner)
    same: dict[tuple[str, str], Piece] = {}
    for number, message in enumerate(messages):
        shaded = dict(message)
        if message["role"] == "assistant":
            _shade_answer(shadow, number, shaded)
        elif message["content"].strip():
            key = (message["role"], message["content"])
            if key in same:
                shaded["content"] = shadow.again(same[key], message["content"])
            else:
                shaded["content"] = shadow.shade(number, "content", message["content"])
                same[key] = next(reversed(shadow.pieces.values()))
        shadow.messages.append(shaded)
    return shadow


def _shade_answer(shadow: Shadow, number: int, message: dict[str, Any]) -> None:
    if message.get("reasoning_content", "").strip():
        reasoning = message["reasoning_content"]
        message["reasoning_content"] = shadow.shade(number, "reasoning", reasoning)
    message["content"] = _shaded_content(shadow, number, message["content"])
    if message.get("tool_calls"):
        message["tool_calls"] = [
            _shade_call(shadow, number, call) for call in message["tool_calls"]
        ]


def _shaded_content(shadow: Shadow, number: int, content: str) -> str:
    """An answer's content; reasoning before it is a piece of its own."""
    reasoning, end, answer = content.rpartition("</think>")
    if not reasoning.strip() or not answer.strip():
        return shadow.shade(number, "content", content) if content.strip() else content
    shaded = shadow.shade(number, "reasoning", reasoning + end)
    return shaded + shadow.shade(number, "content", answer)


def _shade_call(shadow: Shadow, number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    function["name"] = shadow.shade(number, "name", function["name"])
    strings = _strings(function["arguments"])
    if any(text.strip() for text in strings):
        shadow.shade(number, "call", "")
        piece = next(reversed(shadow.pieces.values()))
        function["arguments"] = _shade_strings(shadow, piece, function["arguments"])
    return {**call, "function": function}


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _strings(part)]


def _shade_strings(shadow: Shadow, piece: Piece, value: Any) -> Any:
    if isinstance(value, str):
        return shadow.again(piece, value)
    if isinstance(value, dict):
        return {key: _shade_strings(shadow, piece, part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shade_strings(shadow, piece, part) for part in value]
    return value
