"""What one round of the soak does, drawn from its seed."""

from __future__ import annotations

import random

WEIGHTS = {
    "submit": 8,
    "pause": 8,
    "resume": 8,
    "cancel": 1,
    "force-cancel": 1,
    "force-start": 1.5,
    "start-again": 1,
    "kill training": 3,
    "kill keeper": 3,
    "kill pool child": 2,
    "kill courier": 1.5,
    # These cost a slot the import of torch, and all others a quiet time.
    "kill slot process": 0.5,
    "kill worker": 0.5,
    "kill bridge": 0.5,
    "kill redis": 0.5,
    "kill everything": 0.2,
}
KILLS = frozenset(what for what in WEIGHTS if what.startswith("kill "))


def draw_plan(rng: random.Random, actions: int) -> list[str]:
    """``actions`` things to do, by weight and in any order; each kind of kill is among them."""
    drawn = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=max(0, actions - len(KILLS)))
    plan = [*drawn, *sorted(KILLS)]
    rng.shuffle(plan)
    return plan
