"""Reward model (method ``reward_model``): a number for a text, higher for the chosen answer.

With s(x, y) the number that the model gives to the prompt x with the answer y, over pairs of a
chosen answer w and a rejected answer l (Ouyang et al. 2022, arXiv:2203.02155, eq. 1):

    loss = - mean over pairs of log sigmoid(s(x, w) - s(x, l))

The model is the causal one with a new head in the place of its own, at the last token of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid
from trl import RewardTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from tasks.methods.counting.trainer import CountingTrainer, Totals


class ScoringTrainer(CountingTrainer, RewardTrainer):  # type: ignore[misc]  # trl has no types
    """``rewards`` are s(x, y)."""

    counted = ("pairs",)

    def __init__(self, **arguments: Any) -> None:
        pad = arguments["processing_class"].pad_token_id
        super().__init__(data_collator=DataCollatorForPreference(pad), **arguments)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """The rows come tokenised."""
        return dataset

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Pairs."""
        ids = batch["input_ids"]
        return (ids.new_full((), len(ids) // 2),)

    def scores(self, model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        """s of each row."""
        kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        found: torch.Tensor = model(**kept, use_cache=False).logits[:, 0].float()
        return found

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over pairs."""
        chosen, rejected = self.scores(model, inputs).chunk(2)
        return {
            "pairs": self.count(inputs)[0],
            "seen": inputs["attention_mask"].sum(),
            "pair_loss": -logsigmoid(chosen - rejected).sum(),
            "rewards/chosen": chosen.detach().sum(),
            "rewards/rejected": rejected.detach().sum(),
            "rewards/accuracies": (chosen > rejected).sum(),
            "rewards/margins": (chosen - rejected).detach().sum(),
        }

    def objective(self, totals: Totals, counts: Totals) -> torch.Tensor:
        """The loss above."""
        return totals["pair_loss"] / counts["pairs"]

    def figures(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Means over pairs."""
        pairs = max(sums["pairs"], 1.0)
        means = {name: sums[name] / pairs for name in sums if name.startswith("rewards/")}
        return {"loss": sums["pair_loss"] / pairs, **means}
