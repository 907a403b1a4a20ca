"""Habits of chat templates: the form in which one wants messages, and what it puts around them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_CONTROL = re.compile(r"\s*(?:<[^<>\s]+>|\[/?\w+\])\s*")
"""What looks like a token that a template writes."""
_TAG = re.compile(r"\{%-? *(\w+)([^%]*?) *-?%\}")
_LOOK = re.compile(r" \w+ in range\(loop\.index0 [-+] 1,.+\)")
"""A look from one message at those before or after it."""
_FLAG = re.compile(r" (not )?(\w+\.\w+)")
_IN_AN_IF = 2


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
    followed by another message; ``call_closing`` one that ends with a call. ``surplus`` is the
    beginning of an answer that the template writes after every conversation, asked for or not.
    """

    openings: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    closing: str = ""
    call_closing: str = ""
    surplus: str = ""


def without_idle_rounds(source: str) -> str:
    """``source`` with an end to loops that go on, and do nothing, once their flag is set.

    Gemma 4's look so from each message at all others, which takes the square of their number.
    """
    tags = list(_TAG.finditer(source))
    made, done = [], 0
    for number, tag in enumerate(tags):
        body = _body(tags, number) if tag[1] == "for" and _LOOK.fullmatch(tag[2]) else []
        flag = _idle_once(source, [tag, *body])
        if flag is not None:
            end = f"{{%- if {flag} -%}}{{%- break -%}}{{%- endif -%}}"
            made += [source[done : tag.end()], end]
            done = tag.end()
    return "".join([*made, source[done:]])


def _body(tags: Sequence[re.Match[str]], opening: int) -> list[re.Match[str]]:
    """The tags of a block's own level, the last of which closes it; those of an ``if`` in it too,
    but nothing of what stands in the branches."""
    depth, found = 1, []
    for tag in tags[opening + 1 :]:
        depth -= tag[1] in ("endfor", "endif")
        if depth <= 1 or (depth == _IN_AN_IF and tag[1] in ("else", "elif")):
            found.append(tag)
        if depth == 0:
            return found
        depth += tag[1] in ("for", "if")
    return []


def _idle_once(source: str, loop: Sequence[re.Match[str]]) -> str | None:
    """The flag that makes all of a loop's rounds idle: its body is one ``if``, which asks for it.

    ``loop``: its tags as :func:`_body` gives them. None if there is none.
    """
    names = [tag[1] for tag in loop]
    if names[:2] != ["for", "if"] or names[-2:] != ["endif", "endfor"]:
        return None
    between, asked = loop[2:-2], _FLAG.fullmatch(loop[1][2])
    if asked is None or any(tag[1] not in ("else", "elif") for tag in between):
        return None
    edges = [(loop[0], loop[1]), (loop[-2], loop[-1])]
    if not asked[1]:  # what is done with the flag set is nothing
        edges += [(loop[1], between[0])] if between else []
    if bool(asked[1]) is bool(between):
        return None
    tight = all(
        one[0].endswith("-%}") and other[0].startswith("{%-") for one, other in edges
    ) and not any(source[one.end() : other.start()].strip() for one, other in edges)
    return asked[2] if tight else None


def closing_of(end: str, inner: str, opening: str = "") -> str:
    """What ends a turn.

    ``end`` follows its last word if the conversation ends with it, ``inner`` if it goes on, up to
    the next message's first word; ``opening`` is what stands before that of the first message.
    """
    if inner.startswith(end):
        return end
    same = common_prefix(end, inner)
    whole = 0
    while (found := _CONTROL.match(inner, whole)) and found.end() <= same:
        whole = found.end()
    first = _CONTROL.match(inner)
    if first and whole > first.end():
        # What begins the next message ends none.
        whole = max(first.end(), min(whole, len(inner) - len(common_end(inner, opening))))
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
