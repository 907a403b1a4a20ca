"""Answers about usage: hours, energy, and the cost at the prices of this bridge's settings."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from trainyard.contract.usage.used import HOUR_S, KWH_J, Prices, Usage
from trainyard.store.usage.months import By, Sum


class UsageFigures(BaseModel):
    """``gpu_hours``: hours in a slot, times its GPUs. ``energy_kwh`` is that of the GPUs, known of
    ``metered_hours`` of the ``slot_hours``, null if of none; ``cost``, of what is known of both,
    null without a price."""

    slot_hours: float
    gpu_hours: float
    metered_hours: float
    energy_kwh: float | None
    cost: float | None
    currency: str | None

    @classmethod
    def of(cls, used: Usage, prices: Prices) -> Self:
        cost = prices.of(used)
        return cls(
            slot_hours=round(used.slot_s / HOUR_S, 6),
            gpu_hours=round(used.gpu_s / HOUR_S, 6),
            metered_hours=round(used.metered_s / HOUR_S, 6),
            energy_kwh=None if used.energy_j is None else round(used.energy_j / KWH_J, 6),
            cost=None if cost is None else round(cost, 4),
            currency=None if cost is None else prices.currency or None,
        )


class UsageRow(BaseModel):
    """``attempts``: how many ended in the month."""

    name: str
    attempts: int
    usage: UsageFigures

    @classmethod
    def of(cls, one: Sum, prices: Prices) -> Self:
        return cls(name=one.name, attempts=one.attempts, usage=UsageFigures.of(one.used, prices))


class UsageAnswer(BaseModel):
    """What attempts that have ended used of a month (UTC). ``running``: what those that run have
    used so far, since their start: it is in no month yet."""

    month: str
    by: By | None
    rows: list[UsageRow]
    attempts: int
    total: UsageFigures
    running: UsageFigures
