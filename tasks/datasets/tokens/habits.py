"""Habits of chat templates: the form in which one wants messages, and what it puts around them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_CONTROL = re.compile(r"\s*(?:<[^<>\s]+>|\[/?\w+\])\s*")
"""What looks like a token that a template writes."""


@dataclass(frozen=True)
class Habits:
    """How a template wants what it is given.

    ``parts``: contents as lists of parts. ``json_arguments``: those of a call as JSON text.
    ``bare_calls``: no empty content beside a call. ``developer``: it knows this role.
    """

    parts: bool = False
    json_arguments: bool = False
    bare_calls: bool = False
    developer: bool = False

    def applied(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A canonical message as the template wants it."""
        made = {key: value for key, value in message.items() if key != "train"}
        calls = made.get("tool_calls")
        if calls and self.json_arguments:
            made["tool_calls"] = [_with_json_arguments(call) for call in calls]
        if calls and self.bare_calls and not made["content"]:
            del made["content"]
        elif self.parts:
            made["content"] = [{"type": "text", "text": made["content"]}]
        if made["role"] == "developer" and not self.developer:
            made["role"] = "system"
        return made


def _with_json_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


@dataclass(frozen=True)
class TurnFrame:
    """What a template puts around turns.

    ``openings``: by the kind of what precedes, the text from there to an answer. ``headers``: what
    an answer's turn begins with, the longest first. ``closing``: what ends an answer that is
    followed by another message; ``call_closing`` one that ends with a call.
    """

    openings: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    closing: str = ""
    call_closing: str = ""


def closing_of(end: str, inner: str) -> str:
    """What ends a turn.

    ``end`` follows its last word if the conversation ends with it, ``inner`` if it goes on.
    """
    if inner.startswith(end):
        return end
    same = common_prefix(end, inner)
    whole = 0
    while (found := _CONTROL.match(inner, whole)) and found.end() <= same:
        whole = found.end()
    first = _CONTROL.match(inner)
    return inner[:whole] or (first[0] if first else "")


def control_at(text: str, start: int) -> int:
    """End of what looks like a token that a template writes, at ``start``; else ``start``."""
    found = _CONTROL.match(text, start)
    return found.end() if found else start


def common_prefix(left: str, right: str) -> int:
    """Characters that both begin with."""
    pairs = enumerate(zip(left, right, strict=False))
    return next(
        (place for place, (one, other) in pairs if one != other), min(len(left), len(right))
    )


def common_end(left: str, right: str) -> str:
    """What both end with."""
    same = common_prefix(left[::-1], right[::-1])
    return left[len(left) - same :]
