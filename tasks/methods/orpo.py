"""Odds ratio preference optimisation (``orpo``; Hong et al. 2024, arXiv:2403.07691, eq. 6).

With w the chosen and l the rejected answer to a prompt x, and P(y|x) the geometric mean of the
probabilities of y's tokens (eq. 3: the exponential of their mean logarithm):

    loss = NLL(w) - beta mean over pairs of log sigmoid(log odds(w|x) - log odds(l|x))
    odds(y|x) = P(y|x) / (1 - P(y|x))

NLL(w) is the mean over the tokens of all chosen answers, and of nothing else: a prompt is not
trained on (TRL's trainer takes it in). beta is the paper's lambda.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn import functional

# TRL says at the import that it may change in any release; a test holds what is used of it.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.orpo.orpo_trainer import log1mexp
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from tasks.methods.counting.trainer import Totals
from tasks.methods.preference import PairsTrainer

__all__ = ["ORPOConfig", "OddsRatioTrainer"]


class _Tokenised:
    """Rows that come tokenised, in front of a trainer that would map each of them again."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def map(self, *_: Any, **__: Any) -> _Tokenised:
        return self


class OddsRatioTrainer(PairsTrainer, ORPOTrainer):  # type: ignore[misc]  # trl has no types
    """``rewards`` are beta log P(y|x); ``nll_loss`` is NLL(w)."""

    counted = ("chosen_tokens", "pairs")

    def __init__(self, *, train_dataset: Any, eval_dataset: Any = None, **arguments: Any) -> None:
        super().__init__(
            train_dataset=_Tokenised(train_dataset),
            eval_dataset=None if eval_dataset is None else _Tokenised(eval_dataset),
            data_collator=DataCollatorForPreference(arguments["processing_class"].pad_token_id),
            **arguments,
        )
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        # As TRL's other trainers; this one asks for it only if the configuration switches it on.
        text = self.model.config.get_text_config()
        self.router_aux_loss_coef = getattr(text, "router_aux_loss_coef", 0.0)
        self.aux_loss_enabled = (
            hasattr(text, "output_router_logits") and self.router_aux_loss_coef != 0.0
        )
        self._metrics = self._stored_metrics
        self._total_train_tokens = 0
        base = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))

    def count(self, batch: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        """Tokens of chosen answers; pairs."""
        ids, answers = batch["input_ids"], batch["completion_mask"]
        pairs = len(ids) // 2
        return answers[:pairs, 1:].sum(), ids.new_full((), pairs)

    def totals(self, model: Any, inputs: dict[str, Any]) -> Totals:
        """Sums over the tokens of chosen answers, and over pairs."""
        half = torch.autocast(self.accelerator.device.type)
        with half if self._peft_has_been_casted_to_bf16 else nullcontext():
            scores = self.score_answers(model, inputs)
        log_probs = scores.log_probs.float().sum(1)
        mean_log_probs = log_probs / inputs["completion_mask"][:, 1:].sum(1).clamp(min=1)
        chosen, rejected = mean_log_probs.chunk(2)
        log_odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
        ratio = functional.logsigmoid(log_odds)
        totals = self.pair_totals(inputs, scores, self.beta * mean_log_probs)
        return {
            **totals,
            "nll": -log_probs.chunk(2)[0].sum(),
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
