"""Turn a row of any recognised shape into a training row of one fixed schema.

A training row holds only strings: ``text``; ``prompt`` and ``completion``; or ``messages``, a JSON
array of canonical messages, with ``tools``. Messages stay JSON so that rows with and without tool
calls share one schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.calls import canonical_tools
from tasks.datasets.shapes.canonical import (
    ROLES,
    canonical_messages,
    conversation,
    refuse_foreign,
    text_of_parts,
)
from tasks.datasets.shapes.problems import FILL_IN, EmptyRow, RowProblem, kind_of
from tasks.datasets.shapes.shape import Shape
from tasks.datasets.shapes.values import from_json, is_blank, is_missing

_JSON_CHAT = re.compile(r'\s*\[\s*\{\s*"(role|content|from|value)"\s*:')
_JSON_MESSAGE = re.compile(r'\s*\{\s*"(role|content|from|value)"\s*:')


def format_row(row: Row, shape: Shape) -> dict[str, str]:
    """Return the training row: some of ``text``, ``prompt``, ``completion``, ``messages``.

    A prompt/completion row that holds lists of messages becomes a ``messages`` row. Raises
    RowProblem.
    """
    columns = shape.columns
    if shape.name == "text":
        return {"text": text_of(row, columns["text"])}
    if shape.name == "messages":
        messages = messages_of(row.get(columns["messages"]), columns["messages"])
        return conversation(asked_with(messages, row, columns), tools_of(row, columns))
    if shape.name == "dialogue":
        answer = {"role": "assistant", "content": text_of(row, columns["answer"])}
        asked = question_of(row, columns["instruction"])
        return conversation([*asked_with(asked, row, columns), answer], tools_of(row, columns))
    prompt, completion = (chat_in_cell(row.get(columns[n])) for n in ("prompt", "completion"))
    if isinstance(prompt, list) or isinstance(completion, list):
        asked = as_messages(prompt, "user", columns["prompt"])
        return conversation(asked + as_messages(completion, "assistant", columns["completion"]))
    return {
        "prompt": text_of(row, columns["prompt"], asked=True),
        "completion": text_of(row, columns["completion"]),
    }


def format_paragraph(row: Row, shape: Shape) -> dict[str, str]:
    """A paragraph of one text that goes on: the blank line after it belongs to it."""
    return {"text": text_of(row, shape.columns["text"]) + "\n\n"}


def asked_with(
    messages: list[dict[str, Any]], row: Row, columns: Mapping[str, str]
) -> list[dict[str, Any]]:
    """``messages`` with what other columns of the row add to the prompt.

    ``input`` and ``context`` follow the first question, ``history`` comes before it, ``system``
    opens the conversation, and so does an ``instruction`` beside messages. Nothing is said twice.
    Raises RowProblem.
    """
    said = [message["content"] for message in messages]
    for role in ("input", "context"):
        text = _optional(row, columns, role)
        if text and not any(text.strip() in other for other in said):
            first = next((m for m in messages if m["role"] == "user"), None)
            if first is None:
                raise RowProblem(f"there is no question to which {columns[role]!r} belongs")
            first["content"] = f"{first['content']}\n\n{text}"
    made = [*_history(row, columns), *messages]
    if "messages" in columns:
        opening = [_optional(row, columns, role) for role in ("system", "instruction")]
    else:
        opening = [_optional(row, columns, "system")]
    new = [text for text in opening if text and not any(text.strip() in o for o in said)]
    if new and made[0]["role"] in ("system", "developer"):
        made[0] = {**made[0], "content": "\n\n".join([*new, made[0]["content"]])}
    elif new:
        made.insert(0, {"role": "system", "content": "\n\n".join(new)})
    return made


def question_of(row: Row, column: str) -> list[dict[str, Any]]:
    """The question in ``column``: a text, or messages. Raises RowProblem."""
    value = chat_in_cell(row.get(column))
    if isinstance(value, list):
        return messages_of(value, column)
    return [{"role": "user", "content": text_of(row, column, asked=True)}]


def tools_of(row: Row, columns: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """The functions that the conversation may call. Raises RowProblem."""
    return (
        canonical_tools(row.get(columns["tools"]), columns["tools"]) if "tools" in columns else None
    )


def _optional(row: Row, columns: Mapping[str, str], role: str) -> str:
    """The text of a column that may be missing, absent or blank."""
    value = row.get(columns[role]) if role in columns else None
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n\n".join(value)  # passages
    if role == "system" and isinstance(value, list | Mapping):
        value = text_of_parts(value, columns[role])
    if is_missing(value) or (isinstance(value, str) and is_blank(value)):
        return ""
    return text_of({columns[role]: value}, columns[role], asked=True)


def _history(row: Row, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Earlier turns: messages, or pairs of a question and its answer."""
    if "history" not in columns:
        return []
    column = columns["history"]
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        value = from_json(value, repr(column))
    if is_missing(value) or not value:
        return []
    if not isinstance(value, list):
        raise RowProblem(f"{column!r} holds {kind_of(value)} where earlier turns are needed")
    if all(isinstance(turn, Mapping) for turn in value):
        return canonical_messages(value, column)
    turns: list[dict[str, Any]] = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RowProblem(f"{column!r} holds a turn that is no pair of question and answer")
        asked, answered = ({"": text} for text in pair)
        turns.append({"role": "user", "content": text_of(asked, "", named=column)})
        turns.append({"role": "assistant", "content": text_of(answered, "", named=column)})
    return turns


def chat_in_cell(value: Any) -> Any:
    """``value``, or the list of messages that stands in it as JSON, as in a cell of CSV."""
    if isinstance(value, str) and _JSON_CHAT.match(value):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass  # a text that begins like one
    return value


def message_in_cell(value: Any) -> Any:
    """``value``, or the one message that stands in it as JSON; an object without a role is text."""
    if not isinstance(value, str) or not _JSON_MESSAGE.match(value):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value  # a text that begins like one
    role = found.get("role", found.get("from"))
    known = isinstance(role, str) and role.strip().lower() in ROLES
    return found if known and {"content", "value"} & set(found) else value


def as_messages(value: Any, role: str, column: str) -> list[dict[str, Any]]:
    """The messages in ``value``; a text is one of ``role``. Raises RowProblem."""
    if isinstance(value, str) and value.strip():
        refuse_foreign(value, column, asked=role == "user")
        value = [{"role": role, "content": value}]
    return messages_of(value, column)


def text_of(row: Row, column: str, *, asked: bool = False, named: str | None = None) -> str:
    """The text in ``column``; ``asked``: of a prompt. Raises RowProblem."""
    value, name = row.get(column), named or column
    if is_missing(value):
        raise EmptyRow(f"{name!r} is missing", FILL_IN)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowProblem(f"{name!r} holds {kind_of(value)} where text is needed")
    text = str(value)
    if is_blank(text):
        raise EmptyRow(f"{name!r} is empty", FILL_IN)
    refuse_foreign(text, name, asked=asked)
    return text


def messages_of(value: Any, column: str) -> list[dict[str, Any]]:
    """The messages in ``value``, of the column of that name. Raises RowProblem."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)  # a CSV cell, say
        except (ValueError, RecursionError):
            raise RowProblem(
                f"{column!r} holds text that is no JSON list of messages",
                "Write the messages as JSON (json.dumps in Python), or use JSON lines.",
            ) from None
    if is_missing(value) or value in ([], ""):
        raise EmptyRow(f"{column!r} is {'missing' if is_missing(value) else 'empty'}", FILL_IN)
    if isinstance(value, Mapping):
        value = _turned(value)
    if not isinstance(value, list):
        raise RowProblem(f"{column!r} holds no list of messages")
    messages = canonical_messages(value, column)
    if not messages:
        raise EmptyRow(f"{column!r} is empty", FILL_IN)
    return messages


def _turned(value: Mapping[str, Any]) -> Any:
    """Messages that a table holds as a list for each key; ``value`` itself if it is no such."""
    lists = [inner for inner in value.values() if isinstance(inner, list)]
    if not lists or len(lists) < len(value) or len({len(inner) for inner in lists}) > 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]
