"""Simple preference optimisation (``simpo``; Meng et al. 2024, arXiv:2405.14734, eq. 6).

With w the chosen and l the rejected answer to a prompt x, and |y| the number of y's tokens:

    loss = - mean over pairs of log sigmoid(beta / |w| log p(w|x) - beta / |l| log p(l|x) - gamma)

There is no reference model. gamma is ``simpo_gamma``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from tasks.methods.counting.trainer import Totals
from tasks.methods.reference_free import CPOTrainer, ReferenceFreeTrainer


class SimpleTrainer(ReferenceFreeTrainer, CPOTrainer):  # type: ignore[misc]  # trl has no types
    """``rewards`` are beta / |y| log p(y|x)."""

    counted = ("pairs",)

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Pairs."""
        ids = batch["input_ids"]
        return (ids.new_full((), len(ids) // 2),)

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over pairs."""
        scores, mean_log_probs = self.score_in_half(model, inputs)
        rewards = self.beta * mean_log_probs
        chosen, rejected = rewards.chunk(2)
        totals = self.pair_totals(inputs, scores, rewards)
        return {
            **totals,
            "pair_loss": -logsigmoid(chosen - rejected - self.args.simpo_gamma).sum(),
            **self.router_total(scores, totals["pairs"]),
        }

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """The loss above, and the router's."""
        return self.with_router(totals["pair_loss"] / counts["pairs"], totals, counts["pairs"])

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over pairs and tokens."""
        return {"loss": sums["pair_loss"] / max(sums["pairs"], 1.0), **self.pair_figures(sums)}
