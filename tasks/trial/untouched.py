"""Untouched training: whatever is tried on it leaves it as it was, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tasks.callbacks.random_numbers import random_numbers_kept


@contextmanager
def untouched(model: torch.nn.Module) -> Iterator[None]:
    """The body computes in eval mode and without gradients; random numbers, the modules' modes and
    the buffers are afterwards as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with random_numbers_kept(), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for module, name, buffer, values in buffers:
                module._buffers[name] = buffer.copy_(values)
