"""Causality: no token sees those after it.

A model that does reads its answers in the question: its loss falls, and it learns nothing
(https://github.com/huggingface/transformers/issues/12704).
"""

from __future__ import annotations

import torch


def leak(one: torch.Tensor, other: torch.Tensor, kept: int, *, half_precision: bool) -> float:
    """How much the logits (tokens x vocabulary) of the first ``kept`` tokens differ between two
    rows that are the same up to there, relative to their size: 0 if the model is causal.

    That of the worst token; in half precision that of the median one, since there rounding may send
    a token to another expert.
    """
    before, after = one[:kept].float(), other[:kept].float()
    differences = (before - after).abs().amax(dim=-1)
    worst = differences.median() if half_precision else differences.max()
    return float(worst / before.abs().max().clamp(min=1e-9))
