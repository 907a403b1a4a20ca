"""Rows for preference methods: a prompt, an answer that was chosen, one that was rejected.

A stored row holds the three as JSON: texts, or lists of messages (then all three are lists).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.format import (
    EmptyRow,
    RowProblem,
    as_messages,
    chat_in_cell,
    message_in_cell,
    text_of,
)
from tasks.datasets.shapes.shape import Shape, listed, needs, refuse_untold
from tasks.errors import DatasetError

_PROMPTS = ("prompt", "question", "instruction", "input", "conversations", "conversation")


def recognise_preference(
    columns: Sequence[str], *, method: str, told: Mapping[str, str] | None = None
) -> Shape:
    """Recognise what ``columns`` mean for preference methods; ``told`` maps role → column.

    Raises DatasetError that names the columns and what is needed.
    """
    roles = dict(told or {})
    refuse_untold(columns, roles, method)
    by_lower = {column.lower(): column for column in reversed(columns)}
    for role in ("chosen", "rejected"):
        if role not in roles and role in by_lower:
            roles[role] = by_lower[role]
    if not {"chosen", "rejected"} <= set(roles):
        raise DatasetError(
            f"No usable column in the data set: its columns are {listed(columns)}.",
            needs(method, columns),
        )
    prompt = next((by_lower[name] for name in _PROMPTS if name in by_lower), None)
    if "prompt" not in roles and prompt is not None:
        roles["prompt"] = prompt
    names = ("prompt", "chosen", "rejected")
    return Shape("preference", {name: roles[name] for name in names if name in roles})


def format_preference(row: Row, shape: Shape) -> dict[str, str]:
    """Return ``prompt``, ``chosen`` and ``rejected`` of one row, each as JSON. Raises RowProblem.

    Answers that are whole conversations are split where they begin to differ.
    """
    columns = shape.columns
    chosen, rejected = (_answer(row.get(columns[name])) for name in ("chosen", "rejected"))
    prompt = chat_in_cell(row.get(columns["prompt"])) if "prompt" in columns else None
    if isinstance(chosen, list) or isinstance(rejected, list) or isinstance(prompt, list):
        parts = _conversation(
            as_messages(chosen, "assistant", columns["chosen"]),
            as_messages(rejected, "assistant", columns["rejected"]),
            prompt,
            columns.get("prompt", "prompt"),
        )
    elif "prompt" not in columns:
        raise RowProblem("there is no prompt, and the answers are no conversations")
    else:
        parts = tuple(text_of(row, columns[name]) for name in ("prompt", "chosen", "rejected"))
    prompt, chosen, rejected = (json.dumps(part, ensure_ascii=False) for part in parts)
    if chosen == rejected:
        raise RowProblem("the chosen and the rejected answer are the same")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _answer(value: Any) -> Any:
    value = message_in_cell(chat_in_cell(value))
    return [value] if isinstance(value, dict) else value


def _conversation(
    chosen: list[dict[str, Any]], rejected: list[dict[str, Any]], prompt: Any, column: str
) -> tuple[Any, ...]:
    if chosen[0]["role"] == "assistant" and rejected[0]["role"] == "assistant":
        if not prompt:
            raise EmptyRow("there is no prompt")
        return as_messages(prompt, "user", column), chosen, rejected
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if same == 0:
        raise RowProblem("the two conversations do not begin with the same prompt")
    if same == len(chosen) or same == len(rejected):
        raise RowProblem("one of the two conversations has no answer of its own")
    return chosen[:same], chosen[same:], rejected[same:]
