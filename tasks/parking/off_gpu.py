"""GPU memory of a parked training: its tensors leave the GPU, for other jobs, and come back."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import torch

from trainyard.contract.units import MB

logger = logging.getLogger(__name__)


class OffTheGpu:
    """Keeps a trainer's models and optimizer state on the host while it is parked.

    On a machine without a GPU there is nothing to move.
    """

    def __init__(self, trainer: Any) -> None:
        self._models = [
            model for model in (trainer.model, getattr(trainer, "ref_model", None)) if model
        ]
        self._optimizer = trainer.optimizer
        self._device = trainer.args.device
        self._moved: list[tuple[dict[str, Any], str]] = []

    def leave(self) -> None:
        """Move everything to the host's memory and give the GPU's back to its driver."""
        if self._device.type != "cuda":
            return
        for model in self._models:
            model.to("cpu")
        for state, name in self._optimizer_tensors():
            state[name] = state[name].cpu()
            self._moved.append((state, name))
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        logger.info("Off the GPU: %.0f MB are left there", torch.cuda.memory_reserved() / MB)

    def come_back(self) -> None:
        """Move everything back, bit for bit."""
        if self._device.type != "cuda":
            return
        for model in self._models:
            model.to(self._device)
        for state, name in self._moved:
            state[name] = state[name].to(self._device)
        self._moved.clear()
        torch.cuda.synchronize()

    def _optimizer_tensors(self) -> Iterator[tuple[dict[str, Any], str]]:
        for state in self._optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and value.is_cuda:
                    yield state, name


def can_leave_the_gpu(trainer: Any) -> bool:
    """Whether the model can be moved: a quantised one, or one with paged state, cannot."""
    quantised = getattr(trainer.model, "is_quantized", False)
    return not quantised and "paged" not in str(trainer.args.optim)
