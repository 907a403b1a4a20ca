"""Turn a row of any recognised shape into a training row of one fixed schema.

A training row holds strings alone: ``text``; ``prompt`` and ``completion``; or ``messages``, a JSON
array of ``{"role", "content", ...}``. Messages stay JSON so that rows with and without tool calls
share one schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.shape import Shape
from trainyard.contract.error_tree import TrainyardError

_ROLES = {
    **dict.fromkeys(("system", "user", "assistant", "tool", "developer", "function"), None),
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot", "ai", "bing", "bard"), "assistant"),
    **dict.fromkeys(("function_response", "observation", "ipython"), "tool"),
}
"""Roles of messages, and what ShareGPT and others call them."""
_KINDS = {
    bool: "true or false",
    list: "a list",
    dict: "an object",
    int: "a number",
    float: "a number",
}
_JSON_CHAT = re.compile(r'\s*\[\s*\{\s*"(role|content|from|value)"\s*:')
_JSON_MESSAGE = re.compile(r'\s*\{\s*"(role|content|from|value)"\s*:')
_FILL_IN = "Fill it in, or remove the row."


class RowProblem(TrainyardError):
    """Why one row cannot be trained on, and what to do about it; the caller adds its place."""

    def __init__(self, sentence: str, mend: str = "Mend or remove the row.") -> None:
        super().__init__(sentence, mend)


class EmptyRow(RowProblem):
    """What is to be trained on is missing or empty."""


def format_row(row: Row, shape: Shape) -> dict[str, str]:
    """Return the training row: some of ``text``, ``prompt``, ``completion``, ``messages``.

    A prompt/completion row that holds lists of messages becomes a ``messages`` row. Raises
    RowProblem.
    """
    columns = shape.columns
    if shape.name == "text":
        return {"text": text_of(row, columns["text"])}
    if shape.name == "messages":
        return _conversation(_messages_of_row(row, columns), _tools(row, columns))
    if shape.name == "dialogue":
        return _conversation(_dialogue(row, shape))
    prompt, completion = (chat_in_cell(row.get(columns[n])) for n in ("prompt", "completion"))
    if isinstance(prompt, list) or isinstance(completion, list):
        asked = as_messages(prompt, "user", columns["prompt"])
        return _conversation(asked + as_messages(completion, "assistant", columns["completion"]))
    return {
        "prompt": text_of(row, columns["prompt"]),
        "completion": text_of(row, columns["completion"]),
    }


def format_paragraph(row: Row, shape: Shape) -> dict[str, str]:
    """A paragraph of one text that goes on: the blank line after it belongs to it."""
    return {"text": text_of(row, shape.columns["text"]) + "\n\n"}


def chat_in_cell(value: Any) -> Any:
    """``value``, or the list of messages that stands in it as JSON, as in a cell of CSV."""
    if isinstance(value, str) and _JSON_CHAT.match(value):
        try:
            return json.loads(value)
        except ValueError:
            pass  # a text that begins like one
    return value


def message_in_cell(value: Any) -> Any:
    """``value``, or the one message that stands in it as JSON; an object without a role is text."""
    if not isinstance(value, str) or not _JSON_MESSAGE.match(value):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value  # a text that begins like one
    role = found.get("role", found.get("from"))
    known = isinstance(role, str) and role.strip().lower() in _ROLES
    return found if known and {"content", "value"} & set(found) else value


def as_messages(value: Any, role: str, column: str) -> list[dict[str, Any]]:
    """The messages in ``value``; a text is one of ``role``. Raises RowProblem."""
    if isinstance(value, str) and value.strip():
        value = [{"role": role, "content": value}]
    return messages_of(value, column)


def _messages_of_row(row: Row, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    messages = messages_of(row.get(columns["messages"]), columns["messages"])
    system = row.get(columns["system"]) if "system" in columns else None
    if isinstance(system, str) and system.strip() and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _tools(row: Row, columns: Mapping[str, str]) -> list[Any] | None:
    """The functions that the conversation may call; JSON text in most data sets."""
    value = row.get(columns["tools"]) if "tools" in columns else None
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise RowProblem(f"{columns['tools']!r} holds text that is no JSON list") from None
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise RowProblem(f"{columns['tools']!r} holds no list of functions")
    return value


def _dialogue(row: Row, shape: Shape) -> list[dict[str, Any]]:
    columns = shape.columns
    question = text_of(row, columns["instruction"])
    if columns.get("input") and row.get(columns["input"]):
        question = f"{question}\n\n{text_of(row, columns['input'])}"
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": text_of(row, columns["answer"])},
    ]
    if columns.get("system") and row.get(columns["system"]):
        messages.insert(0, {"role": "system", "content": text_of(row, columns["system"])})
    return messages


def text_of(row: Row, column: str) -> str:
    """The text in ``column``. Raises RowProblem."""
    value = row.get(column)
    if value is None:
        raise EmptyRow(f"{column!r} is missing", _FILL_IN)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowProblem(
            f"{column!r} holds {_KINDS.get(type(value), type(value).__name__)} where text is needed"
        )
    text = str(value)
    if not text.strip():
        raise EmptyRow(f"{column!r} is empty", _FILL_IN)
    return text


def messages_of(value: Any, column: str) -> list[dict[str, Any]]:
    """The messages in ``value``, of the column of that name. Raises RowProblem."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)  # a CSV cell, say
        except ValueError:
            raise RowProblem(
                f"{column!r} holds text that is no JSON list of messages",
                "Write the messages as JSON (json.dumps in Python), or use JSON lines.",
            ) from None
    if value is None or value in ([], ""):
        raise EmptyRow(f"{column!r} is {'missing' if value is None else 'empty'}", _FILL_IN)
    if not isinstance(value, list):
        raise RowProblem(f"{column!r} holds no list of messages")
    return [_message(item, column) for item in value]


def _message(item: Any, column: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise RowProblem(f"{column!r} holds an item that is no message")
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(role, str):
        raise RowProblem(f"a message in {column!r} has no role")
    known = role.strip().lower()
    if known not in _ROLES:
        raise RowProblem(
            f"a message in {column!r} has the role {role[:50]!r}, which is not known",
            "Call it system, user, assistant or tool.",
        )
    if content is None and not item.get("tool_calls"):
        raise RowProblem(f"a message in {column!r} has no content")
    if isinstance(content, int | float) and not isinstance(content, bool):
        content = str(content)
    if content is not None and not isinstance(content, str | list):
        raise RowProblem(
            f"the content of a message in {column!r} is {_KINDS.get(type(content), 'no text')}"
        )
    rest = {
        key: inner
        for key, inner in item.items()
        if key not in ("role", "from", "content", "value") and inner is not None
    }
    return {"role": _ROLES[known] or known, "content": "" if content is None else content, **rest}


def _conversation(messages: list[dict[str, Any]], tools: list[Any] | None = None) -> dict[str, str]:
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise RowProblem("the conversation has no assistant message to train on")
    if not all(_says_something(answer) for answer in answers):
        raise EmptyRow("an assistant's message is empty", _FILL_IN)
    row = {"messages": json.dumps(messages, ensure_ascii=False)}
    return row if tools is None else {**row, "tools": json.dumps(tools, ensure_ascii=False)}


def _says_something(answer: Mapping[str, Any]) -> bool:
    content = answer["content"]
    return bool(content.strip() if isinstance(content, str) else content) or bool(
        answer.get("tool_calls")
    )
