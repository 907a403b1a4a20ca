"""Reference of a result: what the trained model itself says to a few rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.results.sample import SampleRow

_LOGITS_MAX = 2**23
"""Of one row; of a large vocabulary fewer positions are compared."""
_OF_TEXTS = 2
"""Dimensions of the logits of a model that scores texts."""
EXACT = 1e-3
ROUGH = 5e-2
"""The largest difference of logits, relative to their size, that is rounding: in float32 on a CPU;
in half precision, or on a GPU, whose kernels order their sums otherwise."""


@dataclass(frozen=True)
class RowReference:
    """Logits at ``places`` of a row, and whether the row is known by heart: each token that was
    trained is the likeliest after those before it."""

    row: SampleRow
    places: list[int]
    logits: Any
    by_heart: bool


def logits_of(model: Any, ids: Sequence[int]) -> Any:
    """The logits of a row, float32 on the CPU, shape (tokens, vocabulary), or (1, 1): its score.

    Draws no random number.

    A collective of all ranks if the model is sharded.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            given = model(input_ids=torch.tensor([ids], device=model.device))
    finally:
        model.train(training)
    logits = given.logits.float().cpu()
    return logits if logits.dim() == _OF_TEXTS else logits[0]


def reference(model: Any, rows: Sequence[SampleRow]) -> list[RowReference]:
    """What ``model`` says to ``rows``."""
    found = []
    for row in rows:
        logits = logits_of(model, row.ids)
        likeliest = logits.argmax(dim=-1).tolist()
        trained = range(row.trained, row.end + 1)
        by_heart = row.ends and all(likeliest[at - 1] == row.ids[at] for at in trained)
        count = max(1, min(len(logits), _LOGITS_MAX // logits.shape[-1]))
        places = torch.linspace(0, len(logits) - 1, count).long().tolist()
        found.append(RowReference(row, places, logits[places].numpy(), by_heart))
    return found


def difference(one: Any, other: Any) -> float:
    """The largest difference of logits, relative to the largest of ``one``; inf if not a number."""
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    if one.shape != other.shape:
        return float("inf")
    apart = torch.where(one == other, torch.zeros_like(one), (one - other).abs())
    # A single score has no others to tell its size by.
    size = one[torch.isfinite(one)].abs().max().clamp(min=1e-9 if one.numel() > 1 else 0.1)
    found = float(apart.max() / size)
    return float("inf") if math.isnan(found) else found
