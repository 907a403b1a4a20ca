"""Turn a row of any recognised shape into a training row of one fixed schema.

A training row holds strings alone: ``text``; ``prompt`` and ``completion``; or ``messages``, a JSON
array of ``{"role", "content", ...}``. Messages stay JSON so that rows with and without tool calls
share one schema.
"""

from __future__ import annotations

import json
from typing import Any

from tasks.datasets.recognise import Shape
from tasks.datasets.rows import Row

SIMPLE_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] + '\n\n' }}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}"
    "{%- else -%}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '### Response:\n' }}{%- endif -%}"
)
"""What a tokenizer without a chat template of its own gets (in Alpaca's manner)."""

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}


class RowProblem(ValueError):
    """Why one row cannot be trained on, and what to do about it; the caller adds its place."""

    def __init__(self, reason: str, fix: str = "Mend or remove the row.") -> None:
        super().__init__(reason)
        self.fix = fix


def format_row(row: Row, shape: Shape) -> dict[str, str]:
    """Return the training row: some of ``text``, ``prompt``, ``completion``, ``messages``.

    A prompt/completion row that holds lists of messages becomes a ``messages`` row. Raises
    RowProblem.
    """
    columns = shape.columns
    if shape.name == "text":
        return {"text": text_of(row, columns["text"])}
    if shape.name == "messages":
        return _conversation(messages_of(row.get(columns["messages"]), "messages"))
    if shape.name == "dialogue":
        return _conversation(_dialogue(row, shape))
    prompt, completion = row.get(columns["prompt"]), row.get(columns["completion"])
    if isinstance(prompt, list) or isinstance(completion, list):
        return _conversation(messages_of(prompt, "prompt") + messages_of(completion, "completion"))
    return {
        "prompt": text_of(row, columns["prompt"]),
        "completion": text_of(row, columns["completion"]),
    }


def format_paragraph(row: Row, shape: Shape) -> dict[str, str]:
    """A paragraph of one text that goes on: the blank line after it belongs to it."""
    return {"text": text_of(row, shape.columns["text"]) + "\n\n"}


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
        raise RowProblem(f"{column!r} is missing")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowProblem(f"{column!r} holds {type(value).__name__} where text is needed")
    text = str(value)
    if not text.strip():
        raise RowProblem(f"{column!r} is empty")
    return text


def messages_of(value: Any, column: str) -> list[dict[str, Any]]:
    """The messages in ``value``, of the column of that name. Raises RowProblem."""
    if isinstance(value, str):
        try:
            value = json.loads(value)  # a CSV cell, say
        except ValueError:
            raise RowProblem(f"{column!r} holds text that is no JSON list of messages") from None
    if not isinstance(value, list) or not value:
        raise RowProblem(f"{column!r} holds no list of messages")
    return [_message(item, column) for item in value]


def _message(item: Any, column: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise RowProblem(f"{column!r} holds an item that is no message")
    role, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(role, str):
        raise RowProblem(f"a message in {column!r} has no role")
    if content is None and not item.get("tool_calls"):
        raise RowProblem(f"a message in {column!r} has no content")
    rest = {
        key: inner
        for key, inner in item.items()
        if key not in ("role", "from", "content", "value") and inner is not None
    }
    return {"role": _ROLES.get(role, role), "content": "" if content is None else content, **rest}


def _conversation(messages: list[dict[str, Any]]) -> dict[str, str]:
    if not any(message["role"] == "assistant" for message in messages):
        raise RowProblem("the conversation has no assistant message to train on")
    return {"messages": json.dumps(messages, ensure_ascii=False)}
