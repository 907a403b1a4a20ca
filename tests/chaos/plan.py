"""Plan of one round of the soak, drawn from its seed."""

from __future__ import annotations

import random

ASKS = {
    "submit": 8,
    "pause": 8,
    "resume": 8,
    "cancel": 1,
    "force-cancel": 1,
    "force-start": 1.5,
    "start-again": 1,
    "slip-in": 8,
}
"""What people ask for, by weight."""
_OURS = ("worker", "pool child", "slot process", "keeper", "training", "courier", "bridge")
KINDS = (
    *(f"kill {which}" for which in (*_OURS, "redis", "everything")),
    *(f"stop {which}" for which in (*_OURS, "redis")),
    *("restart redis", "set clock"),
    *("cut network", "swallow network"),
    *("backend answers wrong", "backend loses answers", "backend knows nothing", "backend is down"),
    "fill disk",
)
"""Kinds of fault; see ``faults``."""


def draw_plan(rng: random.Random, asks: int, strikes: int) -> list[str]:
    """So many ``asks``, and each kind of fault ``strikes`` times, in any order."""
    plan = [*rng.choices(list(ASKS), list(ASKS.values()), k=asks), *KINDS * strikes]
    rng.shuffle(plan)
    return plan
