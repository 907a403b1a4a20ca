"""Trainer of answers whose tokens are scored together: by the model, and by its reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.methods.counting.token_scores import TokenScores
from tasks.methods.counting.trainer import CountingTrainer
from tasks.models.adapter import REFERENCE


class AnswersTrainer(CountingTrainer):
    """Mixin for a trainer whose batches say which tokens are answers (``completion_mask``)."""

    beta: float
    ref_model: Any

    def score_answers(self, model: Any, inputs: Mapping[str, Any]) -> TokenScores:
        """Score the tokens of the answers (rows x length - 1)."""
        kept = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED_LABEL)
        return self.score(model, kept, labels)

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """The frozen reference, without gradients: with an adapter, the model without it; with one
        that is trained on, the model with it as it was."""
        with self.without_gradients():
            if self.ref_model is not None:
                yield self.ref_model
                return
            model = self.accelerator.unwrap_model(self.model)
            with use_adapter(model, REFERENCE if REFERENCE in model.peft_config else None):
                yield self.model

    @contextmanager
    def without_gradients(self) -> Iterator[None]:
        """The body computes no gradient, and no activation is computed again for one."""
        unused = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), unused:
            yield
