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
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.split import Indices
from tasks.datasets.tokens.encode import encoded_batches
from tasks.datasets.tokens.render import Rendered, Rendering
from tasks.datasets.tokens.spans import Labels
from tasks.datasets.tokens.template import Messages
from tasks.datasets.tokens.tokenise import (
    Tally,
    Tokenised,
    from_facts,
    indices_key,
    rendering_key,
)
from tasks.datasets.tokens.turns import Turns, turns_of

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
    how: Rendering,
    *,
    max_length: int,
    max_prompt_length: int | None,
    cache_dir: Path,
    source_key: str,
) -> Tokenised:
    """Tokenise ``rows[indices]``; see :func:`tasks.datasets.tokens.tokenise.tokenise`.

    A prompt keeps its last ``max_prompt_length`` tokens; prompt and answer together are cut to
    ``max_length``, and a row whose prompt leaves no room for an answer is dropped. ``tokens``
    counts both sequences of a row, ``trained_tokens`` the answers'.
    """
    settings = (max_length, max_prompt_length)
    key = key_of("preference", source_key, indices_key(indices), rendering_key(how), *settings)

    def batches(facts: Facts) -> Iterator[Columns]:
        tally = Tally(max_length)
        rendered, labels_of = partial(_render, how=how), Labels(how.tokenizer)
        # The last tokens of a prompt are known only when all of it is encoded.
        limit = max_length if max_prompt_length is None else None
        batches = encoded_batches(rows, indices, how.tokenizer, rendered, limit)
        for numbers, items, encodings in batches:
            columns: Columns = {name: [] for name in SCHEMA.names}
            for place, number in enumerate(numbers):
                three = slice(3 * place, 3 * place + 3)
                _append(
                    columns,
                    tally,
                    number,
                    items[three],
                    encodings[three],
                    labels_of,
                    max_prompt_length,
                )
            yield columns
        facts.update(tally.as_facts())

    path = cache_dir / "tokenised" / f"{key}.arrow"
    written, facts = cached_with_facts(path, SCHEMA, batches)
    return from_facts(written.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"]), facts)


def _render(rows: Sequence[Mapping[str, Any]], how: Rendering) -> list[Rendered | RowProblem]:
    """Three of each row, side by side: the prompt, and it with either answer."""
    parts = [[json.loads(row[name]) for name in ("prompt", "chosen", "rejected")] for row in rows]
    chats = [number for number, three in enumerate(parts) if not isinstance(three[0], str)]
    tools = [json.loads(rows[n]["tools"]) if rows[n].get("tools") else None for n in chats]
    better, worse = (
        turns_of(how.chat_template, [parts[n][0] + parts[n][answer] for n in chats], tools)
        if chats
        else []
        for answer in (1, 2)
    )
    turns = zip(better, worse, strict=True)
    items: list[Rendered | RowProblem] = []
    for prompt, chosen, rejected in parts:
        if isinstance(prompt, str):
            items += [
                how.plain(text, (0, 0), ends=ends)
                for text, ends in ((prompt, False), (prompt + chosen, True))
            ]
            items.append(how.plain(prompt + rejected, (0, 0)))
        else:
            items += _split(prompt, *next(turns), how)
    return items


def _split(
    prompt: Messages, better: Turns | RowProblem, worse: Turns | RowProblem, how: Rendering
) -> list[Rendered | RowProblem]:
    """A pair of rendered conversations, split where the answers begin."""
    for turns in (better, worse):
        if isinstance(turns, RowProblem):
            return [turns] * 3
    assert isinstance(better, Turns) and isinstance(worse, Turns)
    parts = [_parted(turns, len(prompt)) for turns in (better, worse)]
    problem = _no_pair(*parts)
    if problem is not None:
        return [problem] * 3
    left_out = tuple({*better.left_out, *worse.left_out})
    return [
        how.conversation(parts[0][0], (), left_out),
        how.conversation(better.text, ()),
        how.conversation(worse.text, ()),
    ]


def _parted(turns: Turns, messages: int) -> tuple[str, str]:
    """The text before the answer that follows so many messages, and the rest."""
    start = min(begin for number, (begin, _) in turns.spans if number >= messages)
    return turns.text[:start], turns.text[start:]


def _no_pair(better: tuple[str, str], worse: tuple[str, str]) -> RowProblem | None:
    if better[0] != worse[0]:
        return RowProblem(
            "the chat template renders the prompt otherwise before the chosen answer than before "
            "the rejected one",
            "Give both answers the same form (reasoning, tool calls), or use another template.",
        )
    if better[1] == worse[1]:
        return RowProblem(
            "the chosen and the rejected answer are the same as the model sees them",
            "Remove the row: the chat template leaves out what tells them apart.",
        )
    return None


def _append(
    columns: Columns,
    tally: Tally,
    number: int,
    items: Sequence[Rendered | RowProblem],
    encodings: Sequence[Any],
    labels_of: Labels,
    max_prompt_length: int | None,
) -> None:
    """An answer starts where it and the prompt's own tokens part."""
    ids, beyond = [], []
    for item, encoding in zip(items, encodings, strict=True):
        if isinstance(item, RowProblem):
            tally.refuse(number, item)
            return
        ids.append(labels_of.labelled(item, encoding)[0])
        beyond.append(item.beyond)
        tally.left_out.update(item.left_out)
    alone, better, worse = ids
    same = min(_common(alone, better), _common(alone, worse))
    prompt, chosen, rejected = better[:same], better[same:], worse[same:]
    longer = max(len(chosen) + beyond[1], len(rejected) + beyond[2])
    tally.lengths[same + longer] += 1
    if not any(beyond) and any(isinstance(item, Rendered) and item.conversation for item in items):
        tally.turn_ends[labels_of.turn_end(chosen)] += 1
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
