"""Preferences: pairs of a chosen answer w and a rejected answer l to a prompt x.

Direct preference optimisation (``dpo``; Rafailov et al. 2023, arXiv:2305.18290, eq. 7):

    loss = - mean over pairs of log sigmoid(beta (log p(w|x) / r(w|x) - log p(l|x) / r(l|x)))

p is the model, r the frozen reference; log p(y|x) sums over the tokens of an answer. The means of
an eval are over its pairs, those of a training over the pairs of the steps since the last logged
one. A mixture of experts adds its auxiliary loss to what is minimised, and to no ``loss``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from trl import DPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.methods.counting.token_scores import TokenScores
from tasks.methods.counting.trainer import CountingTrainer, Totals


class PairsTrainer(CountingTrainer):
    """Mixin for a trainer whose batches are those of TRL's ``DataCollatorForPreference``: the
    chosen rows, then the rejected ones."""

    beta: float

    def score_answers(self, model: Any, inputs: Mapping[str, Any]) -> TokenScores:
        """Score the tokens of the answers (rows x length - 1), chosen rows first."""
        kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED_LABEL)
        return self.score(model, kept, labels)

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
        with self._reference() as reference:
            of_reference = self.score_answers(reference, inputs).log_probs.sum(1)
        rewards = self.beta * (log_probs - of_reference)
        chosen, rejected = rewards.chunk(2)
        totals = self.pair_totals(inputs, scores, rewards)
        for name, of_rows in zip(("chosen", "rejected"), log_probs.detach().chunk(2), strict=True):
            totals[f"logps/{name}"] = of_rows.sum()
        totals["pair_loss"] = -functional.logsigmoid(chosen - rejected).sum()
        return {**totals, **self.router_total(scores, totals["pairs"])}

    @contextmanager
    def _reference(self) -> Iterator[Any]:
        """The frozen reference, without gradients: with an adapter, the model without it."""
        unused = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), unused:
            if self.ref_model is not None:
                yield self.ref_model
                return
            with self.accelerator.unwrap_model(self.model).disable_adapter():
                yield self.model

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """The loss above, and the router's."""
        return self.with_router(totals["pair_loss"] / counts["pairs"], totals, counts["pairs"])

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over pairs and tokens."""
        return {"loss": sums["pair_loss"] / max(sums["pairs"], 1.0), **self.pair_figures(sums)}
