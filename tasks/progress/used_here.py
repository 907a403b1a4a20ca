"""Usage of a job as its training knows it: what earlier attempts used, and this one until now."""

from __future__ import annotations

import time

from tasks.progress.energy import energy_j
from trainyard.contract.usage.used import HOUR_S, SlotUsage, Usage

JOULES_PER_WH = 3600.0


class UsedHere:
    """Begins with the attempt. A parked training begins another with the attempt that goes on."""

    def __init__(self, usage: SlotUsage) -> None:
        self._usage = usage
        self._began = time.monotonic()
        self._energy_at_start = energy_j(usage.devices)

    def so_far(self) -> Usage:
        """By all attempts of the job."""
        slot_s, now = time.monotonic() - self._began, energy_j(self._usage.devices)
        energy = None
        if now is not None and self._energy_at_start is not None:
            energy = max(0.0, now - self._energy_at_start)
        here = Usage(
            slot_s=slot_s,
            gpu_s=slot_s * self._usage.gpus,
            metered_s=0.0 if energy is None else slot_s,
            energy_j=energy,
        )
        return Usage.sum([self._usage.before, here])

    def figures(self) -> dict[str, float]:
        """What is known of it, by its name for people. Of energy and cost, only if of all of it."""
        used, prices = self.so_far(), self._usage.prices
        hours, what = (used.gpu_s, "GPU hours") if used.gpu_s else (used.slot_s, "hours in a slot")
        found = {f"{what}, until this card was written": hours / HOUR_S}
        if used.energy_j is not None and used.metered:
            found["energy of the GPUs until then, Wh"] = used.energy_j / JOULES_PER_WH
        known = used.metered or prices.per_kwh is None
        if known and (cost := prices.of(used)) is not None:
            found[f"cost until then, {prices.currency}".rstrip(", ")] = cost
        return found
