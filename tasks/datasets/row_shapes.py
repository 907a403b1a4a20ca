"""Shape of a JSON value: a conversation, a row, or the wrapping around a list of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_ENOUGH = frozenset(("text", "messages", "conversations", "conversation", "contents"))
ROW_KEYS = _ENOUGH | frozenset(
    (
        *("prompt", "completion"),
        *("question", "answer", "instruction", "input", "output", "response"),
        *("chosen", "rejected"),
    )
)
"""Names of columns that make a row: two of them, or one that is enough."""
_WRAPPINGS = frozenset(
    (
        *("data", "rows", "train", "examples", "items", "records", "instances", "samples"),
        *("entries", "dataset", "results", "dialogues", "documents"),
    )
)
_COLUMNS_OF_OBJECTS = frozenset(("tools", "functions", "history"))
_TEXTS_OF_A_ROW = 2
"""Beside its list, an object with so many texts is rather a row than a wrapping."""


def is_message(value: Any) -> bool:
    """Whether ``value`` is one message of a conversation."""
    if not isinstance(value, dict) or not isinstance(value.get("role", value.get("from")), str):
        return False
    return not {"content", "value", "parts", "tool_calls", "function_call"}.isdisjoint(value)


def is_conversation(value: Any) -> bool:
    """Whether ``value`` is a list of messages."""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


def makes_a_row(keys: Iterable[str]) -> bool:
    """Whether columns of these names mean something to a training."""
    known = {key.lower() for key in keys} & ROW_KEYS
    return len(known) > 1 or bool(known & _ENOUGH)


def list_of_rows(value: Mapping[str, Any]) -> list[str]:
    """The keys of the lists of rows that the object ``value`` is wrapped around; none for a row."""
    lists = [key for key, inner in value.items() if _holds_objects(inner)]
    if not lists:
        return []
    shaped = [key for key in lists if wraps(value, key, value[key][0], surely=True)]
    return shaped or [key for key in lists if wraps(value, key, value[key][0])]


def wraps(outer: Mapping[str, Any], key: str, first: Any, *, surely: bool = False) -> bool:
    """Whether ``outer`` is no row, but wrapped around the list of rows ``key`` (first: ``first``).

    ``surely``: the rows of the list tell it by their own columns.
    """
    beside = [name for name in outer if name != key]
    known = key.lower() in ROW_KEYS
    # Whatever its messages are made of, a list of them is a row's.
    talks = key.lower() in _ENOUGH and not {"role", "from"}.isdisjoint(first or ())
    if talks or is_message(first) or makes_a_row(beside):
        return False
    if makes_a_row(first or ()):
        return not known or not ROW_KEYS & {name.lower() for name in beside}
    if surely or known or key.lower() in _COLUMNS_OF_OBJECTS:
        return False
    texts = sum(isinstance(outer[name], str) for name in beside)
    return key.lower() in _WRAPPINGS or texts < _TEXTS_OF_A_ROW


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
