"""Scores of tokens: what a model says of each label, by TRL's fused head or by its own forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from tasks.datasets.tokens.spans import IGNORED_LABEL


@dataclass(frozen=True)
class TokenScores:
    """Of each label but a row's first (rows x length - 1), zero if the label is ignored.

    ``log_probs``: of the label, natural logarithm. ``entropy``: of the prediction, without a
    gradient. ``is_top1``: whether the label is the likeliest token. ``router_loss``: the auxiliary
    loss of a mixture of experts, not yet weighted. ``uniform``: the mean of the log probabilities
    of the whole vocabulary, with its gradient. The last two are None if they were not asked for.
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    is_top1: torch.Tensor
    router_loss: torch.Tensor | None
    uniform: torch.Tensor | None = None


def score_tokens(
    model: Any,
    inputs: Mapping[str, Any],
    labels: torch.Tensor,
    *,
    fused: bool,
    router_loss: bool = False,
    uniform: bool = False,
) -> TokenScores:
    """Score ``labels`` (rows x length) by one forward over ``inputs``, which have none.

    ``fused``: TRL's head, which makes no logits of the whole vocabulary, but leaves out what an
    architecture has between its backbone and its head; it has no ``uniform``.
    """
    asked = {**inputs, "use_cache": False}
    if router_loss:
        asked["output_router_logits"] = True
    if fused and not uniform:
        found = model(**asked, labels=labels, fused_lm_head=True)
        return TokenScores(found.log_probs, found.entropy, found.is_top1, found.aux_loss)
    outputs = model(**asked)
    scores = _of_logits(outputs.logits, labels, uniform=uniform)
    return replace(scores, router_loss=outputs.aux_loss) if router_loss else scores


def _of_logits(logits: torch.Tensor, labels: torch.Tensor, *, uniform: bool) -> TokenScores:
    targets = labels[:, 1:]
    ignored = targets == IGNORED_LABEL
    of_vocabulary = logits[:, :-1].float().log_softmax(-1)
    chosen = of_vocabulary.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        entropy = -(of_vocabulary.exp() * of_vocabulary).sum(-1)
        is_top1 = of_vocabulary.argmax(-1) == targets
    return TokenScores(
        chosen.masked_fill(ignored, 0.0),
        entropy.masked_fill(ignored, 0.0),
        is_top1 & ~ignored,
        router_loss=None,
        uniform=of_vocabulary.mean(-1).masked_fill(ignored, 0.0) if uniform else None,
    )
