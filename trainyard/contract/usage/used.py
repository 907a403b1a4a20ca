"""Usage: what was used of slots, of their GPUs and of energy, and what it costs.

Only sums are written down. Prices are those of whoever reads, so that one that is set late, or
corrected, holds for all that was used before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BaseModel, Field

HOUR_S = 3600.0
KWH_J = 3_600_000.0


class Usage(BaseModel):
    """What one or several attempts have used.

    ``gpu_s``: seconds in a slot, times its GPUs. ``energy_j``: of those GPUs, by NVML's own
    counter; it is known of ``metered_s`` of the ``slot_s`` seconds, and None if of none.
    """

    slot_s: float = 0.0
    gpu_s: float = 0.0
    metered_s: float = 0.0
    energy_j: float | None = None

    @property
    def metered(self) -> bool:
        """Whether the energy of all of it is known."""
        return self.energy_j is not None and self.metered_s >= self.slot_s

    @classmethod
    def sum(cls, parts: Iterable[Usage]) -> Self:
        """All of them together."""
        every = list(parts)
        known = [part.energy_j for part in every if part.energy_j is not None]
        return cls(
            slot_s=sum(part.slot_s for part in every),
            gpu_s=sum(part.gpu_s for part in every),
            metered_s=sum(part.metered_s for part in every),
            energy_j=sum(known) if known else None,
        )


class Prices(BaseModel):
    """What an hour of a GPU and a kWh cost; None: no such price."""

    per_gpu_hour: float | None = None
    per_kwh: float | None = None
    currency: str = ""

    def of(self, used: Usage) -> float | None:
        """What is known of the cost of ``used``; None if nothing is, or nothing has a price."""
        parts = []
        if self.per_gpu_hour is not None and used.gpu_s:
            parts.append(self.per_gpu_hour * used.gpu_s / HOUR_S)
        if self.per_kwh is not None and used.energy_j is not None:
            parts.append(self.per_kwh * used.energy_j / KWH_J)
        return sum(parts) if parts else None


NO_PRICES = Prices()


class SlotUsage(BaseModel):
    """What a training is told of it: ``before``, what earlier attempts of its job have used; the
    slot's ``gpus``; its ``devices`` as CUDA_VISIBLE_DEVICES names them, "" if nobody can tell
    whose energy theirs is."""

    before: Usage = Usage()
    gpus: Annotated[int, Field(ge=0)] = 0
    devices: str = ""
    prices: Prices = NO_PRICES
