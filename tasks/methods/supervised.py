"""Supervised fine-tuning (``sft``) and continued pre-training (``cpt``): the loss of next tokens.

With y the tokens that are learnt (the labels but -100, and but a row's first, which nothing
predicts), of all rows of a step, of the steps since the last logged one or of an eval set:

    NLL = - sum over y of log p(y | all before it) / number of y        (nats a token)

which is the cross-entropy of Brown et al. 2020 (arXiv:2005.14165, sec. 2) and exp(NLL) the
perplexity of Jelinek et al. 1977. ``loss`` is the NLL. Minimised is NLL + c A, with the auxiliary
loss A of a mixture of experts, reported as ``aux_loss``, and the coefficient c of its own
configuration (Fedus et al. 2021, arXiv:2101.03961, eq. 4); A is no part of ``loss``. Nor is label
smoothing (Szegedy et al. 2016, arXiv:1512.00567, sec. 7), which minimises (1 - e) NLL + e U in the
place of the NLL, with U the same for a label spread evenly over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from trl import SFTTrainer

from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.methods.counting.trainer import CountingTrainer, Totals


class SupervisedTrainer(CountingTrainer, SFTTrainer):  # type: ignore[misc]  # trl has no types
    """``loss`` in nats a token; ``mean_token_accuracy`` and ``entropy`` are means over tokens."""

    counted = ("tokens",)

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Tokens that are learnt."""
        return ((batch["labels"][..., 1:] != IGNORED_LABEL).sum(),)

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over the tokens that are learnt."""
        labels = inputs.pop("labels")
        smoothed = self.model.training and self.args.label_smoothing_factor > 0
        scores = self.score(model, inputs, labels, uniform=smoothed)
        (tokens,) = self.count({"labels": labels})
        return {
            "tokens": tokens,
            "nll": -scores.log_probs.sum(),
            "entropy": scores.entropy.sum(),
            "right": scores.is_top1.sum(),
            "seen": _seen(inputs),
            **({} if scores.uniform is None else {"uniform": -scores.uniform.sum()}),
            **self.router_total(scores, tokens),
        }

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """NLL + c A; the NLL smoothed, if that was asked for."""
        nll = totals["nll"]
        if "uniform" in totals:
            nll = torch.lerp(nll, totals["uniform"], self.args.label_smoothing_factor)
        loss = nll / counts["tokens"]
        return self.with_router(loss, totals, counts["tokens"])

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over tokens."""
        tokens = max(sums["tokens"], 1.0)
        named = {
            "loss": "nll",
            "entropy": "entropy",
            "mean_token_accuracy": "right",
            "aux_loss": "router",
        }
        return {name: sums[total] / tokens for name, total in named.items() if total in sums}


def _seen(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Tokens but padding. Rows that lie end to end have none."""
    if "attention_mask" in inputs:
        seen: torch.Tensor = inputs["attention_mask"].sum()
        return seen
    ids: torch.Tensor = inputs["input_ids"]
    return ids.new_full((), ids.numel())
