"""Health check of this machine's workers, whether they take jobs: ``python -m worker.health``."""

from __future__ import annotations

import sys
from socket import gethostname

from redis.exceptions import RedisError

from trainyard.scheduling.slot_leases import SlotLeases
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.settings import settings
from trainyard.store.connection import connect
from worker.launcher import slot_gpus

TIMEOUT_S = 5.0


def troubles() -> list[str]:
    """What is wrong with the launcher's workers; one that was told to take no jobs is well.

    Raises SettingsError and RedisError.
    """
    current = settings()
    with connect(current.redis_location, retries=0, timeout_s=TIMEOUT_S) as redis:
        registry = SlotRegistry(redis)
        seen = {slot.name: slot for slot in registry.present()}
        out = registry.out_of_service()
        holders = SlotLeases(redis).holders()
    found = []
    for name in slot_gpus(current):
        slot = seen.get(name)
        if slot is None:
            found.append(f"{name} gives no sign of life")
        elif name in out:
            found.append(f"{name} is out of service: {out[name]}")
        elif slot.state is SlotState.SILENT:
            found.append(f"{name}: {slot.idle_reason}")
        elif name in holders and holders[name].host != gethostname():
            found.append(f"{name} has its worker on {holders[name].host}, not here")
    return found


def main() -> int:
    """Exit code 0 if all are well, 1 if one is not."""
    try:
        found = troubles()
    except RedisError as error:
        found = [f"Redis does not answer ({error})"]
    print("; ".join(found) if found else "all workers take jobs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
