"""Problem of a row: why it cannot be trained on."""

from __future__ import annotations

from typing import Any

from trainyard.contract.error_tree import TrainyardError

FILL_IN = "Fill it in, or remove the row."
_KINDS = {
    bool: "true or false",
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
    str: "text",
}


class RowProblem(TrainyardError):
    """Why one row cannot be trained on, and what to do about it; the caller adds its place."""

    def __init__(self, sentence: str, mend: str = "Mend or remove the row.") -> None:
        super().__init__(sentence, mend)


class EmptyRow(RowProblem):
    """What is to be trained on is missing or empty."""


def kind_of(value: Any) -> str:
    """What ``value`` is, in words."""
    return _KINDS.get(type(value), type(value).__name__)
