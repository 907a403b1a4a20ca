"""Weights of a model: whether they are finite."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor


def has_finite_weights(model: torch.nn.Module) -> bool:
    """False if a trained weight is NaN or infinite; of a sharded model this process's share.

    Reads each weight once and makes no copy, since a GPU may have no room for one.
    """
    trained = (parameter.detach() for parameter in model.parameters() if parameter.requires_grad)
    local = (value.to_local() if isinstance(value, DTensor) else value for value in trained)
    ends = [end for value in local if value.numel() for end in torch.aminmax(value)]
    return all(bool(torch.isfinite(end)) for end in ends)
