"""Preference rows: a prompt and an answer that was chosen with one that was rejected,
or one answer and a label that calls it good or bad.

A stored row holds prompt and answers as JSON: texts, or lists of messages (then all are lists).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.datasets.readers.rows import Row
from tasks.datasets.shapes.canonical import says_something
from tasks.datasets.shapes.format import (
    as_messages,
    asked_with,
    chat_in_cell,
    format_row,
    message_in_cell,
    text_of,
    tools_of,
)
from tasks.datasets.shapes.marks import LABELS, label_of
from tasks.datasets.shapes.problems import FILL_IN, EmptyRow, RowProblem
from tasks.datasets.shapes.shape import Shape, extras, listed, needs, recognise_shape, refuse_untold
from tasks.datasets.shapes.values import is_missing
from tasks.errors import DatasetError
from trainyard.contract.config import DataConfig

_PROMPTS = (
    *("prompt", "question", "instruction", "input"),
    *("conversations", "conversation", "messages"),
)
_ANSWERS = {"chosen": "preferred_output", "rejected": "non_preferred_output"}
"""As OpenAI's fine-tuning calls them, beside an ``input`` that holds ``messages``."""
_HUMAN = re.compile(r"\n\n(Human|Assistant): ?")
"""What Anthropic's hh-rlhf parts its turns with."""
GOOD, BAD = "true", "false"
"""As labels are stored."""


def recognise_preference(columns: Sequence[str], data: DataConfig, method: str) -> Shape:
    """Recognise what ``columns`` mean for preference methods; ``data.columns`` may tell it.

    Raises DatasetError that names the columns and what is needed.
    """
    roles = dict(data.columns or {})
    refuse_untold(columns, roles, method)
    by_lower = {column.lower(): column for column in reversed(columns)}
    for role in ("chosen", "rejected"):
        found = next((name for name in (role, _ANSWERS[role]) if name in by_lower), None)
        if role not in roles and found is not None:
            roles[role] = by_lower[found]
    if not {"chosen", "rejected"} <= set(roles):
        raise DatasetError(
            f"No usable column in the data set: its columns are {listed(columns)}.",
            needs(method, columns),
        )
    prompt = next((by_lower[name] for name in _PROMPTS if name in by_lower), None)
    if "prompt" not in roles and prompt is not None:
        roles["prompt"] = prompt
    names = ("prompt", "chosen", "rejected")
    made = {name: roles[name] for name in names if name in roles}
    return Shape("preference", made | extras(by_lower, made, data.columns or None))


def format_preference(row: Row, shape: Shape) -> dict[str, str]:
    """Return ``prompt``, ``chosen`` and ``rejected`` of one row, each as JSON. Raises RowProblem.

    Answers that are whole conversations are split where they begin to differ.
    """
    columns = shape.columns
    chosen, rejected = (_answer(row.get(columns[name])) for name in ("chosen", "rejected"))
    prompt = _asked(row.get(columns["prompt"])) if "prompt" in columns else None
    if "prompt" not in columns and isinstance(chosen, str) and isinstance(rejected, str):
        chosen, rejected = _turns(chosen), _turns(rejected)
    through_template = set(columns) - {"prompt", "chosen", "rejected"} or _is_question(shape)
    parts: tuple[Any, ...]
    if through_template or any(isinstance(part, list) for part in (chosen, rejected, prompt)):
        asked, *answers = _conversation(
            as_messages(chosen, "assistant", columns["chosen"]),
            as_messages(rejected, "assistant", columns["rejected"]),
            prompt,
            columns.get("prompt", "prompt"),
        )
        parts = (asked_with(asked, row, columns), *answers)
    else:
        names = ("prompt", "chosen", "rejected")
        parts = tuple(text_of(row, columns[name], asked=name == "prompt") for name in names)
    prompt, chosen, rejected = (json.dumps(part, ensure_ascii=False) for part in parts)
    if chosen == rejected:
        raise RowProblem("the chosen and the rejected answer are the same")
    made = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    tools = tools_of(row, columns)
    return made if tools is None else {**made, "tools": json.dumps(tools, ensure_ascii=False)}


def _is_question(shape: Shape) -> bool:
    """Whether the prompt's column is one whose text goes through the chat template for sft too."""
    return shape.columns.get("prompt", "").lower() in ("question", "instruction", "input")


def _turns(text: str) -> list[dict[str, Any]]:
    """The turns of a text in the manner of hh-rlhf. Raises RowProblem."""
    first, *parts = _HUMAN.split(f"\n\n{text.lstrip()}")
    if first.strip() or len(parts) < 4:
        raise RowProblem(
            "there is no prompt, and the answers are no conversations",
            "Name the prompt's column in config.data.columns, or write both answers as "
            "conversations (messages, or turns that begin with Human: and Assistant:).",
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[name], "content": said.strip()}
        for name, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _asked(value: Any) -> Any:
    """A prompt; of an object of messages and tools, as OpenAI's, those. Raises RowProblem."""
    if not isinstance(value, Mapping) or "messages" not in value:
        return chat_in_cell(value)
    if value.get("tools"):
        raise RowProblem(
            "the prompt holds tools", "Give the row a column 'tools' beside its messages."
        )
    return value["messages"]


def _answer(value: Any) -> Any:
    value = message_in_cell(chat_in_cell(value))
    return [value] if isinstance(value, dict) else value


def _conversation(
    chosen: list[dict[str, Any]], rejected: list[dict[str, Any]], prompt: Any, column: str
) -> tuple[list[dict[str, Any]], ...]:
    prompt, chosen, rejected = _parted(chosen, rejected, prompt, column)
    for answer in (chosen, rejected):
        if any(message["role"] != "assistant" for message in answer):
            raise RowProblem(
                "an answer holds messages of others, which would be trained on",
                "Let the two conversations differ in the assistant's last message alone.",
            )
        if not all(message.get("train", True) for message in answer):
            raise RowProblem(
                "an answer is not to be trained on (weight 0)", "Remove the row, or the weight."
            )
        if not all(says_something(message) for message in answer):
            raise EmptyRow("an answer is empty", FILL_IN)
    return prompt, chosen, rejected


def _parted(
    chosen: list[dict[str, Any]], rejected: list[dict[str, Any]], prompt: Any, column: str
) -> tuple[list[dict[str, Any]], ...]:
    if chosen[0]["role"] == "assistant" and rejected[0]["role"] == "assistant":
        if is_missing(prompt) or not prompt:
            raise EmptyRow("there is no prompt")
        asked = as_messages(prompt, "user", column)
        if asked[-1]["role"] == "assistant":
            raise RowProblem(
                f"{column!r} ends with an answer, where the chosen and the rejected one belong",
                "Take that message out.",
            )
        return asked, chosen, rejected
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    if same == 0:
        raise RowProblem("the two conversations do not begin with the same prompt")
    if same == len(chosen) or same == len(rejected):
        raise RowProblem("one of the two conversations has no answer of its own")
    _refuse_another(prompt, chosen[:same], column)
    return chosen[:same], chosen[same:], rejected[same:]


def _refuse_another(prompt: Any, asked: list[dict[str, Any]], column: str) -> None:
    """Raise RowProblem for a prompt that is another than what the conversations begin with."""
    if is_missing(prompt) or not prompt:
        return
    prompts = [said["content"].strip() for said in as_messages(prompt, "user", column)]
    said = [message["content"].strip() for message in asked]
    if not any(one in other or (other and other in one) for one in prompts for other in said):
        raise RowProblem(
            f"{column!r} is another than what the two conversations begin with",
            "Write one of them, or leave the prompt's column out.",
        )


def recognise_labelled(columns: Sequence[str], data: DataConfig, method: str) -> Shape:
    """Recognise what ``columns`` mean; ``data.columns`` may tell it. Raises DatasetError."""
    told = dict(data.columns or {})
    by_lower = {column.lower(): column for column in reversed(columns)}
    label = told.pop("label", next((by_lower[n] for n in LABELS if n in by_lower), None))
    if label is None or label not in columns:
        raise DatasetError(
            f"No column {label or LABELS[0]!r} in the data set says which answers are good: its "
            f"columns are {listed(columns)}.",
            needs(method, columns),
        )
    rest = [column for column in columns if column != label]
    shape = recognise_shape(rest, data.model_copy(update={"columns": told}), method)
    if shape.name == "text":
        raise DatasetError(
            f"No answer in the data set: its columns are {listed(columns)}.", needs(method)
        )
    return Shape(shape.name, {**shape.columns, "label": label})


def format_labelled(row: Row, shape: Shape) -> dict[str, str]:
    """``prompt`` and ``completion`` of one row, each as JSON, and its ``label``.

    Raises RowProblem.
    """
    label = {"label": _label(row.get(shape.columns["label"]), shape.columns["label"])}
    made = format_row(row, shape)
    if "messages" not in made:
        texts = {name: json.dumps(made[name], ensure_ascii=False) for name in made}
        return {**texts, **label}
    *prompt, answer = json.loads(made["messages"])
    if answer["role"] != "assistant" or not answer.get("train", True):
        raise RowProblem(
            "the conversation does not end with an answer to learn from",
            "Let its last message be the assistant's, which the label is about.",
        )
    if not prompt:
        raise RowProblem("the conversation begins with the answer: there is no prompt")
    tools = {"tools": made["tools"]} if made.get("tools") else {}
    parts = {"prompt": prompt, "completion": [answer]}
    texts = {name: json.dumps(part, ensure_ascii=False) for name, part in parts.items()}
    return {**texts, **tools, **label}


def _label(value: Any, column: str) -> str:
    if is_missing(value) or value == "":
        raise EmptyRow(f"{column!r} is missing", FILL_IN)
    good = label_of(value)
    if good is None:
        raise RowProblem(
            f"{column!r} is {str(value)[:40]!r}, which says neither that the answer is good nor "
            "that it is bad",
            "Write true or false, or 1 or 0.",
        )
    return GOOD if good else BAD
