"""Patterns of plain conversations: what a chat template writes around messages of certain roles.

A pattern is learned once, from a conversation of known words. A row whose text is the pattern with
the row's own contents in it needs no shadow of its own: that the two are equal proves where each
content stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

Span: TypeAlias = tuple[int, int]
Roles: TypeAlias = tuple[str, ...]

_PLAIN = frozenset(("role", "content", "train"))
_MESSAGES_MAX = 64
_ROWS_BEFORE = 4
"""Rows of the same roles that have come before a pattern is worth learning."""
_PATTERNS_MAX = 1000


@dataclass(frozen=True)
class Pattern:
    """What stands ``between`` the contents, first and last included.

    ``turns``: message, and characters before and after its content that belong to its turn.
    """

    between: tuple[str, ...]
    turns: tuple[tuple[int, int, int], ...]

    def spans(self, text: str, contents: Sequence[str]) -> tuple[tuple[int, Span], ...] | None:
        """(message, characters) of each turn in ``text``; None if it is not of this pattern."""
        for said in (contents, [content.strip() for content in contents]):
            parts = [self.between[0], *chain(*zip(said, self.between[1:], strict=True))]
            if "".join(parts) == text:
                return self._places(parts)
        return None

    def _places(self, parts: Sequence[str]) -> tuple[tuple[int, Span], ...]:
        ends, end = [], 0
        for part in parts:
            ends.append(end := end + len(part))
        return tuple(
            (message, (ends[2 * message] - before, ends[2 * message + 1] + after))
            for message, before, after in self.turns
        )


@dataclass
class Patterns:
    """The patterns of one template, by the roles of the messages; None if there is none."""

    known: dict[Roles, Pattern | None] = field(default_factory=dict)
    _seen: Counter[Roles] = field(default_factory=Counter)

    def worth_learning(self, roles: Roles) -> bool:
        """Whether conversations of these roles have come often; counts this one."""
        if roles in self.known or len(roles) > _MESSAGES_MAX or len(self.known) == _PATTERNS_MAX:
            return False
        self._seen[roles] += 1
        return self._seen[roles] > _ROWS_BEFORE


def roles_of(chat: Sequence[Mapping[str, Any]]) -> Roles | None:
    """The roles of a plain conversation; None of one that has calls, reasoning or other keys."""
    plain = all(message.keys() <= _PLAIN and message["content"].strip() for message in chat)
    return tuple(message["role"] for message in chat) if plain else None


def known_words(roles: Roles) -> list[dict[str, Any]]:
    """A conversation of these roles to learn a pattern from."""
    return [{"role": role, "content": f"Zword{n}z"} for n, role in enumerate(roles)]


def learned(
    text: str, chat: Sequence[Mapping[str, Any]], spans: Sequence[tuple[int, Span]]
) -> Pattern | None:
    """The pattern of ``chat``; None unless each content stands in its ``text`` once, in order."""
    between, begins, rest = [], [], text
    for message in chat:
        if rest.count(message["content"]) != 1:
            return None
        begins.append(text.index(message["content"]))
        before, _, rest = rest.partition(message["content"])
        between.append(before)
    turns = tuple(
        (message, begins[message] - begin, end - begins[message] - len(chat[message]["content"]))
        for message, (begin, end) in spans
    )
    inside = all(before >= 0 and after >= 0 for _, before, after in turns)
    return Pattern((*between, rest), turns) if inside else None
