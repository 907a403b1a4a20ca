"""Trainers of pairs without a reference: TRL's experimental ones, over tokenised rows."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import torch

# TRL says at the import that it may change in any release; tests hold what is used of it.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.orpo.orpo_trainer import log1mexp
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from tasks.methods.counting.token_scores import TokenScores
from tasks.methods.preference import PairsTrainer

__all__ = [
    "CPOConfig",
    "CPOTrainer",
    "ORPOConfig",
    "ORPOTrainer",
    "ReferenceFreeTrainer",
    "log1mexp",
]


class _Tokenised:
    """Rows that come tokenised, in front of a trainer that would map each of them again."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def map(self, *_: Any, **__: Any) -> _Tokenised:
        return self


class ReferenceFreeTrainer(PairsTrainer):
    """Mixin for one of these trainers."""

    _peft_has_been_casted_to_bf16: bool
    _stored_metrics: Any

    def __init__(self, *, train_dataset: Any, eval_dataset: Any = None, **arguments: Any) -> None:
        super().__init__(
            train_dataset=_Tokenised(train_dataset),
            eval_dataset=None if eval_dataset is None else _Tokenised(eval_dataset),
            data_collator=DataCollatorForPreference(arguments["processing_class"].pad_token_id),
            **arguments,
        )
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        # As TRL's other trainers; these ask for it only if the configuration switches it on.
        text = self.model.config.get_text_config()
        self.router_aux_loss_coef = getattr(text, "router_aux_loss_coef", 0.0)
        self.aux_loss_enabled = (
            hasattr(text, "output_router_logits") and self.router_aux_loss_coef != 0.0
        )
        self._metrics = self._stored_metrics
        self._total_train_tokens = 0
        base = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "is_top1"))

    def score_in_half(self, model: Any, inputs: Any) -> tuple[TokenScores, torch.Tensor]:
        """Scores of the answers' tokens, with each answer's mean log probability."""
        half = torch.autocast(self.accelerator.device.type)
        with half if self._peft_has_been_casted_to_bf16 else nullcontext():
            scores = self.score_answers(model, inputs)
        tokens = inputs["completion_mask"][:, 1:].sum(1).clamp(min=1)
        return scores, scores.log_probs.float().sum(1) / tokens
