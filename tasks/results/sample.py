"""Sample of what was trained on: a few short rows, by which a result is recognised."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tasks.datasets.tokens.spans import IGNORED_LABEL

ROWS = 3
_ROWS_LOOKED_AT = 50
TOKENS_MAX = 128
"""Of a row that is looked at; the rest is left out."""


@dataclass(frozen=True)
class SampleRow:
    """One row. ``trained``: index of its first token that is trained on.

    ``ends``: whether its last trained token is one that ends an answer; ``end`` is its index.
    """

    ids: list[int]
    trained: int
    end: int
    ends: bool


def sample_rows(dataset: Any, tokenizer: Any, ends: Collection[int]) -> list[SampleRow]:
    """The shortest of the first rows. ``ends``: the tokens that end an answer."""
    count = min(_ROWS_LOOKED_AT, len(dataset))
    rows = [_row(dataset[number], tokenizer, ends) for number in range(count)]
    return sorted(rows, key=lambda row: len(row.ids))[:ROWS]


def _row(row: dict[str, Any], tokenizer: Any, ends: Collection[int]) -> SampleRow:
    if "input_ids" in row:
        ids, labels = list(row["input_ids"]), list(row["labels"])
    elif "prompt_ids" in row:
        answer = row.get("chosen_ids") or row["completion_ids"]
        ids = [*row["prompt_ids"], *answer]
        labels = [IGNORED_LABEL] * len(row["prompt_ids"]) + list(answer)
    else:  # a prompt, whose answers the model makes up
        prompt = row["prompt"]
        if isinstance(prompt, str):
            ids = list(tokenizer(prompt)["input_ids"])
        else:
            ids = list(
                tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
            )
        labels = [IGNORED_LABEL] * len(ids)
    whole = len(ids) <= TOKENS_MAX
    trained = [place for place, label in enumerate(labels) if label != IGNORED_LABEL]
    first, last = (trained[0], trained[-1]) if trained else (len(ids), len(ids) - 1)
    end = next((place for place in reversed(trained) if ids[place] in ends), last)
    return SampleRow(
        ids=ids[:TOKENS_MAX],
        trained=max(first, 1),
        end=end,
        ends=whole and bool(trained) and ids[end] in ends,
    )
