"""Preference rows → ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``, cached by content."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow

from tasks.datasets.cache import Columns, Facts, cached_with_facts, key_of
from tasks.datasets.shapes.format import RowProblem
from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import Rendered, chat_texts
from tasks.datasets.tokens.spans import labelled
from tasks.datasets.tokens.tokenise import (
    Tally,
    Tokenised,
    encoded_batches,
    from_facts,
    indices_key,
    tokenizer_key,
)

_IDS = pyarrow.list_(pyarrow.int32())
SCHEMA = pyarrow.schema(
    [
        ("row", pyarrow.int64()),
        ("prompt_ids", _IDS),
        ("chosen_ids", _IDS),
        ("rejected_ids", _IDS),
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
    """Tokenise ``rows[indices]``; see :func:`tasks.datasets.tokens.tokenise.tokenise`.

    A prompt keeps its last ``max_prompt_length`` tokens; prompt and answer together are cut to
    ``max_length``, and a row whose prompt leaves no room for an answer is dropped. ``tokens``
    counts both sequences of a row, ``trained_tokens`` the answers'.
    """
    settings = (max_length, max_prompt_length, add_eos)
    key = key_of(
        "preference", source_key, indices_key(indices), tokenizer_key(tokenizer), *settings
    )

    def batches(facts: Facts) -> Iterator[Columns]:
        tally = Tally(max_length)
        rendered = partial(_render, tokenizer=tokenizer, add_eos=add_eos)
        for numbers, items, encodings in encoded_batches(rows, indices, tokenizer, rendered):
            columns: Columns = {name: [] for name in SCHEMA.names}
            for place, number in enumerate(numbers):
                three = slice(3 * place, 3 * place + 3)
                _append(
                    columns,
                    tally,
                    number,
                    items[three],
                    encodings[three],
                    tokenizer.eos_token_id,
                    max_prompt_length,
                )
            yield columns
        facts.update(tally.as_facts())

    path = cache_dir / "tokenised" / f"{key}.arrow"
    written, facts = cached_with_facts(path, SCHEMA, batches)
    return from_facts(written.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"]), facts)


def _render(
    rows: Sequence[Mapping[str, Any]], tokenizer: Any, add_eos: bool
) -> list[Rendered | RowProblem]:
    """Three of each row, side by side: the prompt, and it with either answer."""
    parts = [[json.loads(row[name]) for name in ("prompt", "chosen", "rejected")] for row in rows]
    chats = [row for row in parts if not isinstance(row[0], str)]
    texts = zip(
        chat_texts(tokenizer, [prompt for prompt, _, _ in chats], prompt=True),
        chat_texts(tokenizer, [prompt + chosen for prompt, chosen, _ in chats]),
        chat_texts(tokenizer, [prompt + rejected for prompt, _, rejected in chats]),
        strict=True,
    )
    items: list[Rendered | RowProblem] = []
    for prompt, chosen, rejected in parts:
        if isinstance(prompt, str):
            for text, eos in (
                (prompt, False),
                (prompt + chosen, add_eos),
                (prompt + rejected, add_eos),
            ):
                items.append(Rendered(text, (), special=True, ends_with_eos=eos))
        else:
            for found in next(texts):
                items.append(
                    found
                    if isinstance(found, RowProblem)
                    else Rendered(found, (), special=False, ends_with_eos=False)
                )
    return items


def _append(
    columns: Columns,
    tally: Tally,
    number: int,
    items: Sequence[Rendered | RowProblem],
    encodings: Sequence[Any],
    eos: int,
    max_prompt_length: int | None,
) -> None:
    """An answer starts where it and the prompt's own tokens part."""
    ids = []
    for item, encoding in zip(items, encodings, strict=True):
        if isinstance(item, RowProblem):
            tally.refuse(number, item)
            return
        ids.append(labelled(item, encoding, eos)[0])
    alone, better, worse = ids
    same = min(_common(alone, better), _common(alone, worse))
    prompt, chosen, rejected = better[:same], better[same:], worse[same:]
    longer = max(len(chosen), len(rejected))
    tally.lengths[same + longer] += 1
    kept = prompt if max_prompt_length is None else prompt[-max_prompt_length:]
    room = tally.max_length - len(kept)
    if room <= 0 or not len(chosen) or not len(rejected) or not len(kept):
        tally.dropped += 1
        return
    tally.first_row = tally.first_row or number
    chosen, rejected = chosen[:room], rejected[:room]
    tally.cut += len(kept) < len(prompt) or longer > room
    tally.trained_tokens += len(chosen) + len(rejected)
    tally.tokens += 2 * len(kept) + len(chosen) + len(rejected)
    for name, value in zip(SCHEMA.names, (number, kept, chosen, rejected), strict=True):
        columns[name].append(value)


def _common(left: Any, right: Any) -> int:
    shorter = min(len(left), len(right))
    apart = numpy.flatnonzero(left[:shorter] != right[:shorter])
    return int(apart[0]) if len(apart) else shorter
