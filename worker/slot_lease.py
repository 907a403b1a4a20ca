"""Lease on a slot's name: waited for before its worker starts, then renewed from the worker's loop.

A worker that was killed cannot give the name back. If it ran on this machine its end can be seen;
of any other the lease runs out.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable

from redis import Redis
from redis.exceptions import RedisError

from trainyard.scheduling.slot_leases import LEASE_S, Holder, NameTaken, SlotLease, SlotLeases
from worker.machine.process_tree import birth_of, has_ended

LOOK_EVERY_S = 0.25
logger = logging.getLogger(__name__)


def this_process(worker: str, home: str) -> Holder:
    """This process as the holder of a name; ``worker``: the name of its slot process's socket."""
    pid = os.getpid()
    return Holder(worker, socket.gethostname(), pid, birth_of(pid), home)


def wait_for_name(
    slot: str,
    home: str,
    ask: Callable[[str], SlotLease | None],
    attempt_lease_s: float,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Ask until no lease of another worker stands. ``ask`` is told of a worker that has ended.

    Raises NameTaken if that worker lives: it renews, or an attempt of it does, whose lease is as
    long as ``attempt_lease_s``. Raises RedisError. Gives up if ``sleep`` says so.
    """
    gone, first = "", None
    deadline = time.monotonic() + max(LEASE_S, attempt_lease_s) + LOOK_EVERY_S
    while (lease := ask(gone)) is not None:
        if has_ended(lease.holder.pid, lease.holder.birth):
            gone = lease.holder.worker
            continue
        if first is None:
            first = lease
            logger.warning(
                "slot %s: waiting whether its worker, process %d on %s, still lives",
                *(slot, lease.holder.pid, lease.holder.host),
                extra={"action": "name_held"},
            )
        if lease.ends_ms > first.ends_ms or time.monotonic() > deadline:
            raise _taken(slot, lease.holder, home)
        if sleep(LOOK_EVERY_S):
            return


class NameLease:
    """The lease of this worker on ``slot``, as its main process ``me``.

    ``held``: as far as is known; nothing may be taken from a queue without it.
    """

    def __init__(self, redis: Redis, slot: str, me: Holder) -> None:
        self.held = False
        self._leases = SlotLeases(redis)
        self._slot = slot
        self._me = me

    def wait(self, attempt_lease_s: float) -> None:
        """As :func:`wait_for_name`; then it is ours."""
        leases, slot, me = self._leases, self._slot, self._me
        wait_for_name(slot, me.home, lambda gone: leases.take(slot, me, gone), attempt_lease_s)
        self.held = True

    def renew(self) -> None:
        """Raises NameTaken if another worker has it by now, and RedisError."""
        lease = self._leases.take(self._slot, self._me)
        self.held = lease is None
        if lease is not None:
            raise _taken(self._slot, lease.holder, self._me.home)

    def release(self) -> None:
        """Another worker may have it at once. Redis may be away: then the lease runs out."""
        self.held = False
        try:
            self._leases.release(self._slot, self._me)
        except RedisError as error:
            logger.warning("name not given back: %s", error, extra={"action": "redis_away"})


def _taken(slot: str, holder: Holder, home: str) -> NameTaken:
    over = ", over another TRAINYARD_HOME" if holder.home != home else ""
    return NameTaken(
        f"the slot {slot} has a worker already: process {holder.pid} on {holder.host}{over}",
        "end that one, or set a name that nobody has: TRAINYARD_HOST for this host, or "
        "TRAINYARD_SLOT for a worker that is started by hand",
    )
