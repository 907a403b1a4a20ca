"""Rows for the method rlhf: a prompt, and where the data has one the right answer to it.

The answers that are trained on are the model's own; a reward function may compare them with the
right one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from tasks.datasets.format import RowProblem, format_row, messages_of, text_of
from tasks.datasets.render import chat_texts
from tasks.datasets.rows import Row
from tasks.datasets.shape import Shape, listed, needs, recognise_shape
from tasks.datasets.split import Indices
from tasks.datasets.store import Columns, Facts, cached_with_facts, key_of
from tasks.datasets.tokenise import (
    ROWS_PER_BATCH,
    Tally,
    Tokenised,
    from_facts,
    indices_key,
    tokenizer_key,
)
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
) -> Shape:
    """As :func:`recognise_shape`; a column ``prompt`` alone will do. Raises DatasetError."""
    roles = dict(told or {})
    prompt = roles.get("prompt", "prompt")
    if prompt in columns and set(roles) <= {"prompt"}:
        others = {"completion", "response", "output", "answer"} & set(columns)
        if not others:
            return Shape("prompt", {"prompt": prompt})
    shape = recognise_shape(
        columns, text_field=text_field, told=told, dataset_format=dataset_format, method="rlhf"
    )
    if shape.name == "text":
        raise DatasetError(
            f"No prompts in the data set: its columns are {listed(columns)}.",
            needs("rlhf", columns),
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


def collect_prompts(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    *,
    max_length: int,
    cache_dir: Path,
    source_key: str,
) -> Tokenised:
    """``prompt`` (text or messages) and ``answer`` of ``rows[indices]``; cached by content.

    A prompt of more than ``max_length`` tokens is dropped. ``trained_tokens`` is 0: what is trained
    on is generated later. Raises DatasetError where no prompt is left.
    """
    chat = isinstance(json.loads(rows[0]["prompt"]), list)
    schema = pyarrow.schema([("prompt", _MESSAGES if chat else pyarrow.string()), *_FIELDS])
    key = key_of(
        "prompts", source_key, indices_key(indices), tokenizer_key(tokenizer), max_length, chat
    )

    def batches(facts: Facts) -> Iterator[Columns]:
        tally = Tally(max_length)
        for start in range(0, len(indices), ROWS_PER_BATCH):
            yield _columns(tally, rows[indices[start : start + ROWS_PER_BATCH]], tokenizer, chat)
        facts.update(tally.as_facts())

    path = cache_dir / "tokenised" / f"{key}.arrow"
    written, facts = cached_with_facts(path, schema, batches)
    found = from_facts(written.select_columns(["prompt", "answer"]), facts)
    if len(written) == 0 and not found.refused:
        raise DatasetError(
            f"Of {len(indices)} prompts, none has {max_length} tokens or fewer.",
            "Raise config.training.max_length, or lower training.rlhf.max_completion_length.",
        )
    return found


def _columns(tally: Tally, batch: dict[str, list[Any]], tokenizer: Any, chat: bool) -> Columns:
    prompts = [json.loads(prompt) for prompt in batch["prompt"]]
    texts = chat_texts(tokenizer, prompts, prompt=True) if chat else prompts
    columns: Columns = {"prompt": [], **{name: [] for name, _ in _FIELDS}}
    for number, prompt, answer, text in zip(
        batch["row"], prompts, batch["completion"], texts, strict=True
    ):
        if isinstance(text, RowProblem):
            tally.refuse(number, text)
            continue
        length = len(tokenizer(text, add_special_tokens=not chat)["input_ids"])
        tally.lengths[length] += 1
        if length > tally.max_length:
            tally.dropped += 1
            continue
        tally.tokens += length
        for name, value in zip(columns, (prompt, number, answer), strict=True):
            columns[name].append(value)
    return columns
