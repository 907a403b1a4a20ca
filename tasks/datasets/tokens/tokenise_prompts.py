"""Prompts as token ids, for the method that samples its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow

from tasks.datasets.cache import Columns, Facts, cached_with_facts, key_of
from tasks.datasets.shapes.format import RowProblem
from tasks.datasets.shapes.prompts import _FIELDS, _MESSAGES
from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import chat_texts
from tasks.datasets.tokens.tokenise import (
    ROWS_PER_BATCH,
    Tally,
    Tokenised,
    from_facts,
    indices_key,
    tokenizer_key,
)
from tasks.errors import DatasetError


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
