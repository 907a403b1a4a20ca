"""Reference of a training that compares with its base model: the adapter, switched off, is it.

Whatever is trained beside the adapter's own weights (biases, say) moves the reference too, and the
loss is of a comparison that drifts (https://github.com/huggingface/peft/pull/741).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from trl.trainer.utils import use_adapter

from tasks.models.adapter import REFERENCE

_STEP = 0.1
"""Added to each trained weight: far more than a step of a training."""


def drift(model: Any, logits: Callable[[], torch.Tensor]) -> float:
    """How much ``logits()`` of ``model`` change without its adapter (of one that is trained on:
    with it as it was) as the trained weights move, relative to their size: 0 if the reference
    stands still. The weights are put back to the bit."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    kept = [weight.detach().clone() for weight in trained]
    stands = REFERENCE if REFERENCE in model.peft_config else None
    with use_adapter(model, stands):
        before = logits()
    try:
        for weight in trained:
            weight.add_(_STEP)
        with use_adapter(model, stands):
            after = logits()
    finally:
        for weight, value in zip(trained, kept, strict=True):
            weight.copy_(value)
    return float((after - before).abs().max() / before.abs().max().clamp(min=1e-9))
