"""Prompts with one answer or two → ``prompt_ids`` and the answers' ids, cached by content."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import datasets
import numpy
import pyarrow
import pyarrow.compute

from tasks.datasets.cache import Columns
from tasks.datasets.shapes.preference import GOOD
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.encode import encoded_batches
from tasks.datasets.tokens.render import Rendered, Rendering
from tasks.datasets.tokens.spans import Labels
from tasks.datasets.tokens.template import Messages
from tasks.datasets.tokens.tokenise import ChosenRows, Tally, Tokenised
from tasks.datasets.tokens.turns import Turns, turns_of

_IDS = pyarrow.list_(pyarrow.int32())


def tokenise_preferences(
    chosen: ChosenRows,
    how: Rendering,
    max_prompt_length: int | None,
    *,
    answers: Sequence[str] = ("chosen", "rejected"),
    labelled: bool = False,
) -> Tokenised:
    """Tokenise ``chosen``; see :func:`tasks.datasets.tokens.tokenise.tokenise`.

    A prompt keeps its last ``max_prompt_length`` tokens; prompt and answer together are cut to
    ``max_length``, and a row whose prompt leaves no room for an answer is dropped. ``tokens``
    counts all sequences of a row, ``trained_tokens`` the answers'. ``answers``: their columns;
    ``labelled``: whether a row says if its answer is good.
    """
    ids = ["prompt_ids", *(f"{name}_ids" for name in answers)]
    labels = [("label", pyarrow.bool_())] if labelled else []
    schema = pyarrow.schema([("row", pyarrow.int64()), *((name, _IDS) for name in ids), *labels])

    def columns(tally: Tally) -> Iterator[Columns]:
        rendered, labels_of = partial(_render, how=how, answers=answers), Labels(how.tokenizer)
        # The last tokens of a prompt are known only when all of it is encoded.
        limit = chosen.max_length if max_prompt_length is None else None
        rows, indices = chosen.rows, chosen.indices
        good = iter(_labels(rows)[indices].tolist()) if labelled else itertools.repeat(None)
        for numbers, items, encodings in encoded_batches(
            rows, indices, how.tokenizer, rendered, limit
        ):
            made: Columns = {name: [] for name in schema.names}
            # The labels go on from batch to batch, and are asked for last.
            for place, (number, label) in enumerate(zip(numbers, good, strict=False)):
                those = slice(len(ids) * place, len(ids) * (place + 1))
                row = _Row(number, items[those], encodings[those], label)
                _append(made, tally, row, labels_of, max_prompt_length)
            yield made

    key = ["preference", chosen.max_length, max_prompt_length, *([list(answers)] * labelled)]
    return chosen.tokenised(key, how, schema, columns)


def _labels(rows: datasets.Dataset) -> Any:
    """Whether the answer of each row is good."""
    return pyarrow.compute.equal(rows.data.column("label"), GOOD).to_numpy()


@dataclass(frozen=True)
class _Row:
    """One row: its prompt, and the prompt with each answer."""

    number: int
    items: Sequence[Rendered | RowProblem]
    encodings: Sequence[Any]
    label: bool | None


def _render(
    rows: Sequence[Mapping[str, Any]], how: Rendering, answers: Sequence[str]
) -> list[Rendered | RowProblem]:
    """Several of each row, side by side: the prompt, and it with each answer."""
    parts = [[json.loads(row[name]) for name in ("prompt", *answers)] for row in rows]
    chats = [number for number, those in enumerate(parts) if not isinstance(those[0], str)]
    tools = [json.loads(rows[n]["tools"]) if rows[n].get("tools") else None for n in chats]
    rendered = [
        turns_of(how.chat_template, [parts[n][0] + parts[n][place] for n in chats], tools)
        if chats
        else []
        for place in range(1, len(answers) + 1)
    ]
    turns = zip(*rendered, strict=True)
    items: list[Rendered | RowProblem] = []
    for prompt, *given in parts:
        if isinstance(prompt, str):
            items.append(how.plain(prompt, (0, 0), ends=False))
            items += [how.plain(prompt + answer, (0, 0)) for answer in given]
        else:
            items += _split(prompt, next(turns), how)
    return items


def _split(
    prompt: Messages, rendered: Sequence[Turns | RowProblem], how: Rendering
) -> list[Rendered | RowProblem]:
    """Rendered conversations that begin alike, split where the answers begin."""
    sound = [turns for turns in rendered if isinstance(turns, Turns)]
    problem = next((turns for turns in rendered if isinstance(turns, RowProblem)), None)
    parts = [_parted(turns, len(prompt)) for turns in sound]
    if problem is None and len(parts) > 1:
        problem = _no_pair(*parts)
    if problem is not None:
        return [problem] * (len(rendered) + 1)
    left_out = tuple({name for turns in sound for name in turns.left_out})
    asked = how.conversation(parts[0][0], (), left_out)
    return [asked, *(how.conversation(turns.text, ()) for turns in sound)]


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
    row: _Row,
    labels_of: Labels,
    max_prompt_length: int | None,
) -> None:
    """An answer starts where it and the prompt's own tokens part."""
    ids, beyond = [], []
    for item, encoding in zip(row.items, row.encodings, strict=True):
        if isinstance(item, RowProblem):
            tally.refuse(row.number, item)
            return
        ids.append(labels_of.labelled(item, encoding)[0])
        beyond.append(item.beyond)
        tally.left_out.update(item.left_out)
    alone, *whole = ids
    same = min(_common(alone, one) for one in whole)
    prompt, answers = whole[0][:same], [one[same:] for one in whole]
    longest = max(len(one) + more for one, more in zip(answers, beyond[1:], strict=True))
    tally.lengths[same + longest] += 1
    if not any(beyond) and any(isinstance(i, Rendered) and i.conversation for i in row.items):
        tally.turn_ends[labels_of.turn_end(answers[0])] += 1
    kept = prompt if max_prompt_length is None else prompt[-max_prompt_length:]
    room = tally.max_length - len(kept)
    if room <= 0 or not len(kept) or not all(map(len, answers)):
        tally.dropped += 1
        return
    tally.first_row = tally.first_row or row.number
    answers = [one[:room] for one in answers]
    tally.cut += len(kept) < len(prompt) or longest > room
    tally.trained_tokens += sum(map(len, answers))
    tally.tokens += sum(len(kept) + len(one) for one in answers)
    values = (row.number, kept, *answers, *(() if row.label is None else (row.label,)))
    for name, value in zip(columns, values, strict=True):
        columns[name].append(value)


def _common(left: Any, right: Any) -> int:
    shorter = min(len(left), len(right))
    apart = numpy.flatnonzero(left[:shorter] != right[:shorter])
    return int(apart[0]) if len(apart) else shorter
