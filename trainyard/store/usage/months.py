"""Monthly sums of what attempts have used, which outlive the jobs.

The script that ends an attempt adds to them (``account`` in ``lua/prelude.lua``), in the step that
ends it: once, whoever says so and how often. A month is one of UTC; an attempt counts in each that
it ran in. One that runs is in none yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from redis import Redis

from trainyard.contract.usage.used import Prices, Usage
from trainyard.settings import Settings
from trainyard.store.keys import Key

By = Literal["user", "model", "slot"]
MONTH_PATTERN = r"^[0-9]{4}-(0[1-9]|1[0-2])$"


@dataclass(frozen=True)
class Sum:
    """What the attempts of one ``name`` have used; ``attempts``: those that ended in the month."""

    name: str
    attempts: int
    used: Usage


def read_month(redis: Redis, month: str, by: By | Literal["all"] = "all") -> list[Sum]:
    """Sums of a month (``2026-11``), the longest in a slot first; of ``all`` one, or none.

    ``redis`` must decode responses to str. Raises redis.RedisError.
    """
    client: Any = redis  # redis-py types every answer as bytes or str, sync or async
    raw: dict[str, str] = client.hgetall(f"{Key.USAGE}:{month}:{by}")
    sums = [_sum(name, *map(int, figures.split())) for name, figures in raw.items()]
    return sorted(sums, key=lambda one: (-one.used.slot_s, one.name))


def month_now(redis: Redis) -> str:
    """The month by Redis's clock, which the sums go by."""
    client: Any = redis
    seconds, _ = client.time()
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m")


def prices(settings: Settings) -> Prices:
    """As the settings have them now."""
    return Prices(
        per_gpu_hour=settings.price_per_gpu_hour,
        per_kwh=settings.price_per_kwh,
        currency=settings.currency,
    )


def _sum(
    name: str, attempts: int, slot_ms: int, gpu_ms: int, metered_ms: int, energy_mj: int
) -> Sum:
    used = Usage(
        slot_s=slot_ms / 1000,
        gpu_s=gpu_ms / 1000,
        metered_s=metered_ms / 1000,
        energy_j=energy_mj / 1000 if metered_ms else None,
    )
    return Sum(name, attempts, used)
