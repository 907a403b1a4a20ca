"""Sample of a job's own rows, as tokens, that its model is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

TOKENS_MIN = 16
TOKENS_MAX = 64
"""Of a row. The logits of all tokens are held at once, which training may not have memory for."""


@dataclass(frozen=True)
class TrialRows:
    """Two rows, and a third: the first with other tokens from ``kept`` on.

    ``batch``: ``input_ids`` and ``attention_mask`` (3 x longest), padded on the right; ``labels``
    of all tokens but the padding.
    """

    batch: Mapping[str, torch.Tensor]
    labels: torch.Tensor
    kept: int


def sample_of(trainer: Any) -> TrialRows:
    """The first rows that ``trainer`` trains on, on its device."""
    dataset, tokenizer = trainer.train_dataset, trainer.processing_class
    rows = [_tokens(dataset[number], tokenizer) for number in range(min(2, len(dataset)))]
    first, second = rows[0], rows[-1]
    kept = len(first) // 2
    return _padded(
        [first, second, changed(first, kept, [*first, *second])], kept, tokenizer, trainer
    )


def _tokens(row: Mapping[str, Any], tokenizer: Any) -> list[int]:
    """The row's tokens, of a pair those of the chosen answer; repeated if they are few."""
    if "input_ids" in row:
        found = row["input_ids"]
    elif "prompt_ids" in row:
        found = [*row["prompt_ids"], *(row.get("chosen_ids") or row["completion_ids"])]
    else:
        prompt = row["prompt"]
        text = prompt if isinstance(prompt, str) else "\n".join(str(m["content"]) for m in prompt)
        # A prompt may be empty.
        found = tokenizer(text)["input_ids"] or [tokenizer.eos_token_id]
    times = -(-TOKENS_MIN // len(found))
    return list(found)[:TOKENS_MAX] * times


def changed(tokens: list[int], kept: int, among: list[int]) -> list[int]:
    """``tokens`` with another one in each place from ``kept`` on, of those that occur."""
    known = sorted(set(among))
    other = dict(zip(known, [*known[1:], known[0]], strict=True))
    if len(known) == 1:
        other = {known[0]: max(known[0] - 1, 0) or known[0] + 1}
    return [*tokens[:kept], *(other[token] for token in tokens[kept:])]


def _padded(rows: list[list[int]], kept: int, tokenizer: Any, trainer: Any) -> TrialRows:
    longest = max(len(row) for row in rows)
    pad = tokenizer.pad_token_id

    def tensor(values: list[list[int]]) -> torch.Tensor:
        return torch.tensor(values, device=trainer.args.device)

    batch = {
        "input_ids": tensor([row + [pad] * (longest - len(row)) for row in rows]),
        "attention_mask": tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    return TrialRows(batch, labels, kept)
