"""Odds ratio preference optimisation (``orpo``; Hong et al. 2024, arXiv:2403.07691, eq. 6).

With w the chosen and l the rejected answer to a prompt x, and P(y|x) the geometric mean of the
probabilities of y's tokens (eq. 3: the exponential of their mean logarithm):

    loss = NLL(w) - beta mean over pairs of log sigmoid(log odds(w|x) - log odds(l|x))
    odds(y|x) = P(y|x) / (1 - P(y|x))

NLL(w) is the mean over the tokens of all chosen answers, and of nothing else: a prompt is not
trained on (TRL's trainer takes it in). beta is the paper's lambda.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from tasks.methods.counting.trainer import Totals
from tasks.methods.reference_free import ORPOTrainer, ReferenceFreeTrainer, log1mexp


class OddsRatioTrainer(ReferenceFreeTrainer, ORPOTrainer):  # type: ignore[misc]  # trl has no types
    """``rewards`` are beta log P(y|x); ``nll_loss`` is NLL(w)."""

    counted = ("chosen_tokens", "pairs")

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Tokens of chosen answers; pairs."""
        ids, answers = batch["input_ids"], batch["completion_mask"]
        pairs = len(ids) // 2
        return answers[:pairs, 1:].sum(), ids.new_full((), pairs)

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over the tokens of chosen answers, and over pairs."""
        scores, mean_log_probs = self.score_in_half(model, inputs)
        chosen, rejected = mean_log_probs.chunk(2)
        log_odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
        ratio = functional.logsigmoid(log_odds)
        totals = self.pair_totals(inputs, scores, self.beta * mean_log_probs)
        return {
            **totals,
            "nll": -scores.log_probs.float().chunk(2)[0].sum(),
            "log_odds_ratio": ratio.sum(),
            "log_odds_chosen": log_odds.sum(),
            "logps/chosen": chosen.sum(),
            "logps/rejected": rejected.sum(),
            **self.router_total(scores, totals["pairs"]),
        }

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """The loss above, and the router's."""
        odds = self.beta * totals["log_odds_ratio"] / counts["pairs"]
        loss = totals["nll"] / counts["chosen_tokens"] - odds
        return self.with_router(loss, totals, counts["pairs"])

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over pairs and tokens."""
        figures = self.pair_figures(sums)
        nll = sums["nll"] / max(sums["chosen_tokens"], 1.0)
        return {
            "loss": nll - self.beta * figures["log_odds_ratio"],
            "nll_loss": nll,
            **figures,
        }
