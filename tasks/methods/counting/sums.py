"""Sums of what a training and its evals count, on the device until they are read.

A mean of batch means depends on how the rows fell into batches; one sum divided by another does
not: not on the batch size, not on gradient accumulation, not on the number of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class Sums:
    """Named sums over micro-batches. Adding to them waits for no GPU; only ``read`` does."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, totals: Mapping[str, torch.Tensor]) -> None:
        """Add the totals of one micro-batch, each a scalar on the device."""
        for name, total in totals.items():
            value = total.detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def clear(self) -> None:
        """Begin again from nothing."""
        self._sums.clear()

    def read(self) -> dict[str, float]:
        """Every sum of this process, by one transfer."""
        return self._by_name(torch.stack(self._ordered()).tolist() if self._sums else [])

    def over_processes(self, accelerator: Any) -> dict[str, float]:
        """Every sum over all processes, which come here together with sums of the same names."""
        if accelerator.num_processes == 1 or not self._sums:
            return self.read()
        return self._by_name(accelerator.reduce(torch.stack(self._ordered()), "sum").tolist())

    def put_back(self, sums: Mapping[str, float], device: torch.device) -> None:
        """Go on from ``sums``, which ``read`` gave: to the bit, since they are float64."""
        self._sums = {
            name: torch.tensor(value, dtype=torch.float64, device=device)
            for name, value in sums.items()
        }

    def _ordered(self) -> list[torch.Tensor]:
        return [self._sums[name] for name in sorted(self._sums)]

    def _by_name(self, values: list[float]) -> dict[str, float]:
        return dict(zip(sorted(self._sums), values, strict=True))
