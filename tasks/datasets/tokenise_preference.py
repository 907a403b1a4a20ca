"""Preference rows → ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``, cached by content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.compute

from tasks.datasets.split import Indices
from tasks.datasets.store import cached_arrow, key_of
from tasks.datasets.tokenise import (
    ROWS_PER_BATCH,
    Tokenised,
    chat_text,
    indices_key,
    nothing_left,
    tokenizer_key,
)

_IDS = pyarrow.list_(pyarrow.int32())
SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),
        ("prompt_ids", _IDS),
        ("chosen_ids", _IDS),
        ("rejected_ids", _IDS),
        ("cut", pyarrow.bool_()),
    ]
)


def tokenise_preferences(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    *,
    max_length: int,
    max_prompt_length: int | None,
    add_eos: bool,
    cache_dir: Path,
    source_key: str,
) -> Tokenised:
    """Tokenise ``rows[indices]``; see :func:`tasks.datasets.tokenise.tokenise`.

    A prompt keeps its last ``max_prompt_length`` tokens; prompt and answer together are cut to
    ``max_length``, and a row whose prompt leaves no room for an answer is dropped. ``tokens``
    counts both sequences of a row, ``trained_tokens`` the answers'.
    """
    settings = (max_length, max_prompt_length, add_eos)
    key = key_of(
        "preference", source_key, indices_key(indices), tokenizer_key(tokenizer), *settings
    )
    written = cached_arrow(
        cache_dir / "tokenised" / f"{key}.arrow",
        SCHEMA,
        lambda: _batches(rows, indices, tokenizer, *settings),
    )
    if len(written) == 0:
        raise nothing_left(max_length, len(indices))
    prompts, chosen, rejected = (
        _sum(pyarrow.compute.list_value_length(written.data.column(name)))
        for name in ("prompt_ids", "chosen_ids", "rejected_ids")
    )
    return Tokenised(
        written.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"]),
        tokens=2 * prompts + chosen + rejected,
        trained_tokens=chosen + rejected,
        dropped=len(indices) - len(written),
        cut=_sum(written.data.column("cut")),
    )


def _sum(column: Any) -> int:
    return int(pyarrow.compute.sum(column).as_py() or 0)


def _batches(
    rows: datasets.Dataset,
    indices: Indices,
    tokenizer: Any,
    max_length: int,
    max_prompt_length: int | None,
    add_eos: bool,
) -> Iterator[dict[str, list[Any]]]:
    for start in range(0, len(indices), ROWS_PER_BATCH):
        batch = rows[indices[start : start + ROWS_PER_BATCH]]
        columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        for number, prompt, chosen, rejected in zip(
            batch["row"], batch["prompt"], batch["chosen"], batch["rejected"], strict=True
        ):
            parts = [json.loads(part) for part in (prompt, chosen, rejected)]
            ids = _ids(parts[0], parts[1], parts[2], tokenizer, add_eos)
            _append(columns, number, *ids, max_length, max_prompt_length)
        if columns["row"]:
            yield columns


def _ids(
    prompt: Any, chosen: Any, rejected: Any, tokenizer: Any, add_eos: bool
) -> tuple[list[int], list[int], list[int]]:
    """Prompt, chosen and rejected; an answer starts where it and the prompt's own tokens part."""
    special = isinstance(prompt, str)
    if special:
        texts = [prompt, prompt + chosen, prompt + rejected]
    else:
        texts = [
            chat_text(tokenizer, prompt, prompt=True),
            chat_text(tokenizer, prompt + chosen),
            chat_text(tokenizer, prompt + rejected),
        ]
    alone, better, worse = tokenizer(
        texts, add_special_tokens=special, return_attention_mask=False
    )["input_ids"]
    if special and add_eos:
        better, worse = (_with_eos(ids, tokenizer.eos_token_id) for ids in (better, worse))
    same = min(_common(alone, better), _common(alone, worse))
    return better[:same], better[same:], worse[same:]


def _with_eos(ids: list[int], eos: int) -> list[int]:
    return ids if ids and ids[-1] == eos else [*ids, eos]


def _common(left: list[int], right: list[int]) -> int:
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _append(
    columns: dict[str, list[Any]],
    number: int,
    prompt: list[int],
    chosen: list[int],
    rejected: list[int],
    max_length: int,
    max_prompt_length: int | None,
) -> None:
    kept = prompt if max_prompt_length is None else prompt[-max_prompt_length:]
    room = max_length - len(kept)
    if room <= 0 or not chosen or not rejected or not kept:
        return
    columns["row"].append(number)
    columns["prompt_ids"].append(kept)
    columns["chosen_ids"].append(chosen[:room])
    columns["rejected_ids"].append(rejected[:room])
    columns["cut"].append(len(kept) < len(prompt) or max(len(chosen), len(rejected)) > room)
