"""Preferences: pairs of a chosen answer w and a rejected answer l to a prompt x.

Direct preference optimisation (``dpo``; Rafailov et al. 2023, arXiv:2305.18290, eq. 7):

    loss = - mean over pairs of log sigmoid(beta (log p(w|x) / r(w|x) - log p(l|x) / r(l|x)))

p is the model, r the frozen reference; log p(y|x) sums over the tokens of an answer. Other losses
of a pair are in ``pair_losses.py``. The means of an eval are over its pairs, those of a training
over the pairs of the steps since the last logged one. A mixture of experts adds its auxiliary loss
to what is minimised, and to no ``loss``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from trl import DPOTrainer

from tasks.methods.counting.answers import AnswersTrainer
from tasks.methods.counting.token_scores import TokenScores
from tasks.methods.counting.trainer import Totals
from tasks.methods.pair_losses import LOSSES, Pairs


class PairsTrainer(AnswersTrainer):
    """Mixin for a trainer whose batches are those of TRL's ``DataCollatorForPreference``: the
    chosen rows, then the rejected ones."""

    def pair_totals(
        self, inputs: Mapping[str, Any], scores: TokenScores, rewards: torch.Tensor
    ) -> Totals:
        """Sums that every method of pairs has; ``rewards`` of the rows, chosen rows first."""
        chosen, rejected = rewards.detach().chunk(2)
        right, _ = scores.is_top1.chunk(2)
        answers = inputs["completion_mask"][:, 1:]
        of_chosen, _ = answers.chunk(2)
        return {
            "pairs": chosen.new_full((), len(chosen), dtype=torch.long),
            "seen": inputs["attention_mask"].sum(),
            "answer_tokens": answers.sum(),
            "chosen_tokens": of_chosen.sum(),
            "entropy": scores.entropy.sum(),
            "right": right.sum(),
            "rewards/chosen": chosen.sum(),
            "rewards/rejected": rejected.sum(),
            "rewards/accuracies": (chosen > rejected).sum(),
            "rewards/margins": (chosen - rejected).sum(),
        }

    def pair_figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over pairs, and over tokens: all answers' entropy, the chosen ones' accuracy."""
        of_pairs = ("rewards/", "logps/", "log_odds")
        means = {
            name: total / max(sums["pairs"], 1.0)
            for name, total in sums.items()
            if name.startswith(of_pairs)
        }
        means["entropy"] = sums["entropy"] / max(sums["answer_tokens"], 1.0)
        means["mean_token_accuracy"] = sums["right"] / max(sums["chosen_tokens"], 1.0)
        if "router" in sums:
            means["aux_loss"] = sums["router"] / max(sums["pairs"], 1.0)
        return means


class PreferenceTrainer(PairsTrainer, DPOTrainer):  # type: ignore[misc]  # trl has no types
    """Direct preference optimisation; ``rewards`` are beta log p(y|x) / r(y|x)."""

    counted = ("pairs",)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """The rows come tokenised."""
        return dataset

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Pairs."""
        ids = batch["input_ids"]
        return (ids.new_full((), len(ids) // 2),)

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over pairs."""
        scores = self.score_answers(model, inputs)
        log_probs = scores.log_probs.sum(1)
        with self.reference() as reference:
            of_reference = self.score_answers(reference, inputs).log_probs.sum(1)
        ratios = log_probs - of_reference
        totals = self.pair_totals(inputs, scores, self.beta * ratios)
        for name, of_rows in zip(("chosen", "rejected"), log_probs.detach().chunk(2), strict=True):
            totals[f"logps/{name}"] = of_rows.sum()
        [loss_type] = self.args.loss_type
        chosen, rejected = ratios.chunk(2)
        tokens_chosen, tokens_rejected = inputs["completion_mask"][:, 1:].sum(1).chunk(2)
        smoothing = self.args.label_smoothing_factor
        pairs = Pairs(chosen, rejected, tokens_chosen, tokens_rejected, self.beta, smoothing)
        totals["pair_loss"] = LOSSES[loss_type](pairs).sum()
        return {**totals, **self.router_total(scores, totals["pairs"])}

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """The loss above, and the router's."""
        return self.with_router(totals["pair_loss"] / counts["pairs"], totals, counts["pairs"])

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over pairs and tokens."""
        return {"loss": sums["pair_loss"] / max(sums["pairs"], 1.0), **self.pair_figures(sums)}
