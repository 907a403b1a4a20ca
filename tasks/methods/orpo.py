"""Odds ratio preference optimisation (``orpo``; Hong et al. 2024, arXiv:2403.07691)."""

from __future__ import annotations

import os
from typing import Any

import torch

# TRL says at the import that it may change in any release; a test holds what is used of it.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.utils import pad

from tasks.methods.exact_trainer import ExactTrainer

__all__ = ["ORPOConfig", "OddsRatioTrainer"]

IGNORED_LABEL = -100


class _Tokenised:
    """Rows that come tokenised, in front of a trainer that would map each of them again."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def map(self, *_: Any, **__: Any) -> _Tokenised:
        return self


class PreferenceCollator:
    """Rows of token ids → the padded tensors (rows x longest) that TRL's ORPOTrainer reads."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Tensors named ``{chosen,rejected}_{input_ids,attention_mask,labels}``."""
        batch = {}
        for name in ("chosen", "rejected"):
            prompts = [row["prompt_ids"] for row in rows]
            answers = [row[f"{name}_ids"] for row in rows]
            both = list(zip(prompts, answers, strict=True))
            columns = {
                "input_ids": ([p + a for p, a in both], self._pad_token_id),
                "attention_mask": ([[1] * len(p + a) for p, a in both], 0),
                "labels": ([[IGNORED_LABEL] * len(p) + a for p, a in both], IGNORED_LABEL),
            }
            for column, (values, padding) in columns.items():
                tensors = [torch.tensor(value) for value in values]
                batch[f"{name}_{column}"] = pad(tensors, padding_value=padding)
        return batch


class OddsRatioTrainer(ExactTrainer, ORPOTrainer):  # type: ignore[misc]  # trl has no types
    """TRL's trainer, with the sums that its other trainers keep."""

    def __init__(self, *, train_dataset: Any, eval_dataset: Any, **arguments: Any) -> None:
        super().__init__(
            train_dataset=_Tokenised(train_dataset),
            eval_dataset=None if eval_dataset is None else _Tokenised(eval_dataset),
            data_collator=PreferenceCollator(arguments["processing_class"].pad_token_id),
            **arguments,
        )
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.use_dpo_data_collator = True  # its batches are those of that collator
        self._metrics = self._stored_metrics
        self._total_train_tokens = 0

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **more: Any) -> Any:
        """As TRL's, counting the tokens that are no padding, over all processes."""
        masks = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
        self._total_train_tokens += int(self.accelerator.gather(masks).sum().item())
        return super().compute_loss(model, inputs, *arguments, **more)

    def log(self, logs: dict[str, float], *arguments: Any, **more: Any) -> None:
        """Add the count of tokens."""
        if "loss" in logs:
            logs["num_tokens"] = self._total_train_tokens
        super().log(logs, *arguments, **more)
