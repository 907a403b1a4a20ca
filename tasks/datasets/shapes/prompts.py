"""Rows for the method rlhf: a prompt, and the right answer to it if the data has one.

The answers that are trained on are the model's own; a reward function may compare them with the
right one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.format import (
    asked_with,
    chat_in_cell,
    format_row,
    messages_of,
    question_of,
    text_of,
    tools_of,
)
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.shapes.shape import Shape, extras, listed, needs, recognise_shape
from tasks.errors import DatasetError
from trainyard.contract.config import DataConfig

_MESSAGES = pyarrow.list_(
    pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
)
_FIELDS = [("row", pyarrow.int64()), ("answer", pyarrow.string())]


_TOOLS = "the conversation has tools or tool calls, which the answers that are sampled cannot use"


def recognise_prompts(columns: Sequence[str], data: DataConfig, method: str) -> Shape:
    """As :func:`recognise_shape`; a column ``prompt`` alone will do. Raises DatasetError."""
    roles = data.columns or {}
    prompt = roles.get("prompt", "prompt")
    if prompt in columns and set(roles) <= {"prompt"}:
        right = next((name for name in ("solution", "ground_truth") if name in columns), None)
        others = {"completion", "response", "output", "answer"} & set(columns)
        if not others and right is not None and not roles:
            told = {"question": prompt, "answer": right}
            return recognise_shape(columns, DataConfig(columns=told), method)
        if not others:
            made = {"prompt": prompt}
            by_lower = {column.lower(): column for column in reversed(columns)}
            return Shape("prompt", made | extras(by_lower, made, data.columns or None))
    shape = recognise_shape(columns, data, method)
    if shape.name == "text":
        raise DatasetError(
            f"No prompts in the data set: its columns are {listed(columns)}.",
            needs(method, columns),
        )
    return shape


def format_prompt(row: Row, shape: Shape) -> dict[str, str]:
    """``prompt`` (JSON: a text or messages) and ``completion`` (the right answer, may be empty).

    Raises RowProblem.
    """
    columns = shape.columns
    if shape.name == "prompt":
        value = chat_in_cell(row.get(columns["prompt"]))
        if len(columns) == 1 and not isinstance(value, list):
            return _stored(text_of(row, columns["prompt"], asked=True), "")
        _refuse_tools(tools_of(row, columns))
        return _stored(asked_with(question_of(row, columns["prompt"]), row, columns), "")
    if shape.name == "messages":
        asked = messages_of(row.get(columns["messages"]), columns["messages"])
        if asked[-1]["role"] != "assistant":  # a prompt that has no answer yet
            _refuse_tools(tools_of(row, columns))
            return _stored(asked_with(asked, row, columns), "")
    formatted = format_row(row, shape)
    if "messages" not in formatted:
        return _stored(formatted["prompt"], formatted["completion"])
    _refuse_tools(formatted.get("tools"))
    messages = json.loads(formatted["messages"])
    last = max(n for n, message in enumerate(messages) if message["role"] == "assistant")
    if last == 0:
        raise RowProblem("the conversation begins with an answer")
    _refuse_tools(messages[last].get("tool_calls"))
    return _stored(messages[:last], messages[last]["content"])


def _refuse_tools(found: Any) -> None:
    if found:
        raise RowProblem(_TOOLS, "Send config.training.method sft, or leave the tools out.")


def _stored(prompt: Any, answer: str) -> dict[str, str]:
    if isinstance(prompt, list):
        if prompt[-1]["role"] not in ("user", "tool"):
            raise RowProblem(
                f"the prompt ends with a message of the {prompt[-1]['role']}, where a question "
                "belongs that the model answers",
                "Take that message out.",
            )
        if any(message.get("tool_calls") or message["role"] == "tool" for message in prompt):
            _refuse_tools(prompt)
        if any("reasoning_content" in message for message in prompt):
            raise RowProblem("the prompt holds reasoning_content", "Leave it out of the prompt.")
        prompt = [{"role": item["role"], "content": item["content"]} for item in prompt]
    return {"prompt": json.dumps(prompt, ensure_ascii=False), "completion": answer}
