"""Clock of Redis, watched against this process's own: whether leases can be judged by it now.

A lease says something of its worker only if whoever looks at it was awake meanwhile. After a freeze
of everything (a paused VM, ``docker compose pause``, a laptop's suspend), after Redis was away or
restarted, and after its clock was set, nobody could renew: every worker has one whole lease to show
that it lives before anybody takes its job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

LATE_SHARE = 0.5
"""Share of a lease by which a look may come late: a lease is renewed eight times at least, so that
one which holds has more left."""


@dataclass(frozen=True)
class RedisInstant:
    """Redis's clock, and which run of the server it is, up for so long."""

    now_s: float
    run_id: str
    uptime_s: float


class WatchedClock:
    """Told of Redis's clock about every ``every_s`` seconds. ``monotonic`` is our own."""

    def __init__(
        self, lease_s: float, every_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._late_s = LATE_SHARE * lease_s
        self._every_s = every_s
        self._monotonic = monotonic
        self._last: tuple[RedisInstant, float] | None = None
        self._judges_from = 0.0

    def out_of_sight(self) -> None:
        """Redis did not answer: whether anybody could renew meanwhile is unknown."""
        self._judges_from = float("inf")

    def judges_until_s(self, redis: RedisInstant) -> float | None:
        """Redis's time until which leases may be judged by this look; None: not by this one.

        A freeze may come at any moment, also between the look and what is done about it.
        """
        now, last = self._monotonic(), self._last
        self._last = (redis, now)
        if last is None:
            if 0 <= redis.uptime_s <= self._lease_s or self._judges_from > now:
                self._judges_from = now + self._lease_s
            return None
        before, looked_at = last
        passed_s = now - looked_at
        moved_s = redis.now_s - before.now_s
        if (
            passed_s > self._every_s + self._late_s
            or abs(moved_s - passed_s) > self._late_s
            or redis.run_id != before.run_id
            or self._judges_from > now + self._lease_s
        ):
            self._judges_from = now + self._lease_s
        return redis.now_s + self._late_s if now >= self._judges_from else None
