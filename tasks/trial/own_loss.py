"""Loss that a training minimises, against the one of the model's own logits.

TRL computes the loss from the backbone's output and the weight of the head alone
(``add_fused_lm_head``), which spares memory for the logits. What an architecture has between the
two is left out: such a model learns what it does not compute when it is used.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from peft import PeftModel
from trl.trainer.utils import FusedCausalLMOutput, entropy_from_logits

from tasks.datasets.tokens.spans import IGNORED_LABEL
from tasks.methods.counting.trainer import CountingTrainer


def log_probs_of_logits(
    logits: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Log-probability of each next token (rows x tokens - 1) by the logits (rows x tokens x
    vocabulary) at ``temperature``; 0 if its label is IGNORED_LABEL."""
    targets = labels[:, 1:]
    chosen = (logits[:, :-1].float() / temperature).log_softmax(dim=-1)
    found = chosen.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return found.masked_fill(targets == IGNORED_LABEL, 0)


def log_probs_of_training(
    trainer: Any, batch: Mapping[str, torch.Tensor], labels: torch.Tensor
) -> torch.Tensor:
    """The same as ``trainer`` computes them for its loss."""
    if isinstance(trainer, CountingTrainer):
        return trainer.score(trainer.model, batch, labels).log_probs.float()
    found: torch.Tensor = trainer.model(**batch, labels=labels, fused_lm_head=True).log_probs
    return found.float()


def use_plain_forward(trainer: Any) -> None:
    """Let ``trainer`` compute from the logits of its models' own forward, not by TRL's head."""
    if isinstance(trainer, CountingTrainer):
        trainer.plain_forward = True
        return
    # What samples answers is TRL's own: it asks its models for the head's outputs.
    model = trainer.model
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    for each in (base, trainer.ref_model):
        if each is not None:
            _replace_head(each, float(trainer.temperature))


def _replace_head(model: Any, temperature: float) -> None:
    forward = types.MethodType(type(model).forward, model)

    @wraps(type(model).forward)
    def plain(
        self: Any, *arguments: Any, fused_lm_head: bool = False, labels: Any = None, **more: Any
    ) -> Any:
        if not fused_lm_head:
            return forward(*arguments, **more, **({} if labels is None else {"labels": labels}))
        count = more.pop("num_items_in_batch", None)
        more["use_cache"] = False
        found = forward(*arguments, **more)
        return _output(found, labels, temperature, count)

    model.forward = types.MethodType(plain, model)


def _output(found: Any, labels: torch.Tensor, temperature: float, count: Any) -> Any:
    log_probs = log_probs_of_logits(found.logits, labels, temperature)
    targets = labels[:, 1:]
    mask = targets != IGNORED_LABEL
    with torch.no_grad():
        logits = found.logits[:, :-1].float() / temperature
        entropy = entropy_from_logits(logits).masked_fill(~mask, 0)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / (mask.sum().clamp(min=1) if count is None else count),
        log_probs=log_probs,
        entropy=entropy,
        is_top1=(logits.argmax(dim=-1) == targets) & mask,
        label_mask=mask,
        aux_loss=getattr(found, "aux_loss", None),
    )
