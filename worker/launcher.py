"""Launcher of one Celery worker per slot, kept running: ``python -m worker.launcher``.

A slot is a GPU (with GPUS_PER_SLOT: as many), pinned by UUID; on a machine without one, or with
SLOTS set, as many slots as asked. Ends on SIGTERM, when every worker has put back or ended what it
runs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event

from redis.exceptions import RedisError

from trainyard.child_process import ChildProcess
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.names import QUEUE_GPU
from trainyard.home import home_id, keep_private
from trainyard.scheduling.slot_leases import SlotLeases
from trainyard.scheduling.slot_names import host_name, slot_name
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.service.process_limits import check_limits
from trainyard.service.stop_signals import stop_event
from trainyard.service_logs import log_to_stderr
from trainyard.settings import Settings, SettingsError, settings
from trainyard.store.connection import connect
from worker.kept_worker import KeptWorker
from worker.machine.gpu import SHARED, Gpu, list_gpus
from worker.slot_lease import this_process, wait_for_name

CHECK_EVERY_S, LOOK_EVERY_S = 0.5, 5.0
REDIS_TIMEOUT_S = 2.0
logger = logging.getLogger(__name__)


def worker_command(slot: str) -> list[str]:
    """Command line of the worker of one slot: concurrency 1, on the queue of all and its own."""
    celery = Path(sys.executable).with_name("celery")
    return [
        str(celery),
        *("-A", "worker.app", "worker"),
        *("-Q", f"{QUEUE_GPU},{QUEUE_GPU}.{slot}"),
        *("-c", "1"),
        *("-n", f"{slot}@{host_name()}"),
        *("--without-mingle", "--without-gossip"),
        *("-l", "INFO"),
    ]


def slot_environment(slot: str, gpus: Sequence[Gpu], *, shared: bool = False) -> dict[str, str]:
    """Environment of one slot: its name, the GPUs that its processes can see, and whether another
    slot has them too."""
    environment = {"TRAINYARD_SLOT": slot}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.uuid for gpu in gpus)
    if shared:
        environment[SHARED] = "1"
    return environment


def gpu_groups(gpus: Sequence[Gpu], per_slot: int) -> list[list[Gpu]]:
    """GPUs of each slot, neighbours in NVML's order together; a remainder belongs to none.

    Raises SettingsError if there are GPUs, but too few for one slot.
    """
    groups = [list(gpus[start : start + per_slot]) for start in range(0, len(gpus), per_slot)]
    whole = [group for group in groups if len(group) == per_slot]
    if gpus and not whole:
        raise SettingsError(
            f"wrong settings:\n  GPUS_PER_SLOT: it is {per_slot}, and this machine has {len(gpus)}"
        )
    if left := len(gpus) - per_slot * len(whole):
        logger.warning(
            "GPUS_PER_SLOT=%d leaves %d of %d GPUs unused",
            per_slot,
            left,
            len(gpus),
            extra={"action": "gpus_unused"},
        )
    return whole


def slot_gpus(current: Settings) -> dict[str, list[Gpu]]:
    """Every slot of this machine and its GPUs. More slots than GPUs allow share them in turn.

    Raises SettingsError.
    """
    groups = gpu_groups(list_gpus(), current.gpus_per_slot)
    count = current.slots or len(groups) or 1
    return {slot_name(n): groups[n % len(groups)] if groups else [] for n in range(count)}


def workers(current: Settings) -> dict[str, ChildProcess]:
    """One worker per slot, not yet started. Raises SettingsError."""
    slots = slot_gpus(current)
    taken = Counter(gpu for gpus in slots.values() for gpu in gpus)
    return {
        slot: ChildProcess(
            f"worker of slot {slot}",
            [sys.executable, *worker_command(slot)],
            env=slot_environment(slot, gpus, shared=any(taken[gpu] > 1 for gpu in gpus)),
        )
        for slot, gpus in slots.items()
    }


class Keeping:
    """Every worker of this machine, kept running and working."""

    def __init__(self, children: Mapping[str, ChildProcess], current: Settings) -> None:
        now = time.monotonic()
        self._kept = [
            KeptWorker(slot, child, now, current.stop_timeout_seconds + 20)
            for slot, child in children.items()
        ]
        redis = connect(current.redis_location, retries=0, timeout_s=REDIS_TIMEOUT_S)
        self._registry = SlotRegistry(redis)
        self._look_at = now + LOOK_EVERY_S
        self._untold: dict[str, str] = {}

    def round(self, now: float) -> None:
        """Start what has died; look, now and then, who takes no jobs."""
        for kept in self._kept:
            if reason := kept.keep(now):
                self._untold[kept.slot] = reason
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        try:
            seen = {slot.name: slot for slot in self._registry.present()}
            for slot, reason in self._untold.items():
                if slot not in seen or seen[slot].state is SlotState.SILENT:
                    self._registry.take_out(slot, reason)  # else another worker has the slot
            self._untold = {}
        except RedisError as error:
            logger.debug("nobody is judged: Redis is away: %s", error)
            return
        for kept in self._kept:
            kept.look(seen.get(kept.slot), now)


def wait_for_names(slots: Iterable[str], current: Settings, stop: Event) -> None:
    """Raises NameTaken if one of these slots has a worker; not if Redis is away."""
    me = this_process("", home_id(current.trainyard_home))
    with connect(current.redis_location, retries=0) as redis:
        leases = SlotLeases(redis)
        try:
            for slot in slots:
                ask = partial(leases.look, slot, me)
                wait_for_name(slot, me.home, ask, current.lease_seconds, stop.wait)
        except RedisError as error:
            logger.warning("names not checked: %s", error, extra={"action": "redis_away"})


def main() -> int:
    """Run until SIGTERM, SIGINT or SIGHUP."""
    keep_private()
    log_to_stderr("launcher")
    stop = stop_event()
    try:
        check_limits()
        current = settings()
        children = workers(current)
        wait_for_names(children, current, stop)
        keeping = Keeping(children, current)
    except TrainyardError as error:
        print(f"launcher: {error}", file=sys.stderr)
        return 2
    if not stop.is_set():
        for child in children.values():
            child.start()
    while not stop.wait(CHECK_EVERY_S):
        keeping.round(time.monotonic())
    for child in children.values():
        child.terminate()
    for child in children.values():
        child.stop(current.stop_timeout_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
