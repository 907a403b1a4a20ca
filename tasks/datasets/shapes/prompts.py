"""Rows for the method rlhf: a prompt, and where the data has one the right answer to it.

The answers that are trained on are the model's own; a reward function may compare them with the
right one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.format import RowProblem, format_row, messages_of, text_of
from tasks.datasets.shapes.shape import Shape, listed, needs, recognise_shape
from tasks.errors import DatasetError

_MESSAGES = pyarrow.list_(
    pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
)
_FIELDS = [("row", pyarrow.int64()), ("answer", pyarrow.string())]


def recognise_prompts(
    columns: Sequence[str],
    *,
    text_field: str | None = None,
    told: Mapping[str, str] | None = None,
    dataset_format: str | None = None,
    method: str,
) -> Shape:
    """As :func:`recognise_shape`; a column ``prompt`` alone will do. Raises DatasetError."""
    roles = dict(told or {})
    prompt = roles.get("prompt", "prompt")
    if prompt in columns and set(roles) <= {"prompt"}:
        others = {"completion", "response", "output", "answer"} & set(columns)
        if not others:
            return Shape("prompt", {"prompt": prompt})
    shape = recognise_shape(
        columns, text_field=text_field, told=told, dataset_format=dataset_format, method=method
    )
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
    if shape.name == "prompt":
        value = row.get(shape.columns["prompt"])
        asked: Any = (
            messages_of(value, shape.columns["prompt"])
            if isinstance(value, list)
            else text_of(row, shape.columns["prompt"])
        )
        return _stored(asked, "")
    formatted = format_row(row, shape)
    if "messages" not in formatted:
        return _stored(formatted["prompt"], formatted["completion"])
    messages = json.loads(formatted["messages"])
    last = max(n for n, message in enumerate(messages) if message["role"] == "assistant")
    if last == 0:
        raise RowProblem("the conversation begins with an answer")
    return _stored(messages[:last], str(messages[last]["content"]))


def _stored(prompt: Any, answer: str) -> dict[str, str]:
    if isinstance(prompt, list):
        prompt = [{"role": item["role"], "content": str(item["content"])} for item in prompt]
    return {"prompt": json.dumps(prompt, ensure_ascii=False), "completion": answer}
