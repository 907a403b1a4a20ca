"""Weights of a model: the trained ones aligned in memory, and whether they are finite.

transformers maps weights from the safetensors file, whose header is padded to 8 bytes only
(https://github.com/huggingface/safetensors#format): on a CPU a training would read and write them
across cache lines. torch itself allocates at 64 bytes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor

ALIGNMENT_BYTES = 64
"""A cache line; the alignment of torch's own allocations on a CPU."""


def align_trained_weights(model: Any) -> int:
    """Move the trained weights of ``model`` that lie badly in a CPU's memory; return how many.

    Their values stay. Frozen weights stay mapped: they cost no memory of their own.
    """
    badly_placed = [
        weight
        for weight in model.parameters()
        if weight.requires_grad
        and weight.device.type == "cpu"
        and weight.data_ptr() % ALIGNMENT_BYTES
    ]
    with torch.no_grad():
        for weight in badly_placed:
            weight.data = weight.data.clone()
    return len(badly_placed)


def has_finite_weights(model: torch.nn.Module) -> bool:
    """False if a trained weight is NaN or infinite; of a sharded model this process's share.

    Reads each weight once and makes no copy, since a GPU may have no room for one.
    """
    trained = (parameter.detach() for parameter in model.parameters() if parameter.requires_grad)
    local = (value.to_local() if isinstance(value, DTensor) else value for value in trained)
    ends = [end for value in local if value.numel() for end in torch.aminmax(value)]
    return all(bool(torch.isfinite(end)) for end in ends)
