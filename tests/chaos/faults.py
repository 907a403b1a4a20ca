"""Faults of a soak: each kind of ``plan.KINDS``, struck while a job runs, and how each ends."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import requests
from redis.exceptions import RedisError

from tests.support.faked_clock import FakedClock
from tests.support.small_disk import fill
from tests.support.stack import Stack
from trainyard.contract.statuses import TERMINAL, JobStatus

LASTS_S = {
    "redis": (0.1, 6.0),
    "stop": (0.1, 6.0),
    "network": (0.1, 4.0),
    "backend": (0.5, 3.0),
    "disk": (0.2, 3.0),
}
"""The lease is 3 s: some of them outlast it, and some do not."""
HOUR_S = 3600
_REPORTS = ({"method": "PATCH"}, {"method": "PUT"}, {"method": "POST", "path_contains": "/logs"})
_WRONG: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 429},
    {"status": 502, "html": True},
    {"status": 503, "retry_after_s": 1},
)
_LOST: tuple[dict[str, Any], ...] = (
    {"lose_answer": True},
    {"half_body": True},
    {"reset": True},
)
_PREY_S = 120.0
"""For how long a strike waits for something to strike."""


class Faults:
    """Strikes ``stack``; ``struck`` counts by kind, ``note`` is told what was done.

    ``clock``: Redis's, if it can be set. ``small_disk``: whether the stack has a disk of its own.
    ``short_of_disk``: the jobs that were not at their end while it was full. ``meanwhile``: what
    keeps the stack alive, and gives it work, while a strike waits for it.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        clock: FakedClock | None,
        small_disk: bool,
        note: Callable[[str], None],
        meanwhile: Callable[[], None],
    ) -> None:
        self._stack, self._clock = stack, clock
        self._note, self._meanwhile = note, meanwhile
        lacking = {"set clock": clock is None, "fill disk": not small_disk}
        self.lacking = {kind for kind, lacks in lacking.items() if lacks}
        self.struck: Counter[str] = Counter()
        self.short_of_disk: set[str] = set()
        self._mends: dict[str, tuple[float, Callable[[], object]]] = {}
        self._heard = 0

    def strike(self, kind: str, pick: float, length: float) -> None:
        """Strike once, as soon as there is something to strike; both numbers are in [0, 1)."""
        if kind not in self.lacking:
            self._wait(lambda: self._a_job_runs() and self._strike(kind, pick, length), kind)
            self.struck[kind] += 1

    def mend(self, *, now: bool = False) -> None:
        """End what has lasted long enough, or everything."""
        for what, (due_at, call) in sorted(self._mends.items()):
            if now or time.monotonic() >= due_at:
                call()
                del self._mends[what]
                self._note(f"mended: {what}")

    @property
    def disk_is_full(self) -> bool:
        return "disk" in self._mends

    # ------------------------------------------------------------ one strike

    def _strike(self, kind: str, pick: float, length: float) -> bool:  # noqa: PLR0911 (one each)
        """False if it would hit nothing now."""
        redis = self._stack.redis_server
        match kind.split(maxsplit=1):
            case ["kill", "redis"]:
                return self._take_redis_away(kind, length, redis.kill, redis.start)
            case ["restart", "redis"]:
                return self._take_redis_away(kind, 0.0, redis.stop, redis.start)
            case ["stop", "redis"]:
                return self._stop_redis(length)
            case ["kill", "everything"]:
                return self._kill_everything(length)
            case ["kill", which]:
                return self._signal(which, pick, psutil.Process.kill) is not None
            case ["stop", which]:
                return self._stop(which, pick, length)
            case [how, "network"]:
                return self._break_network(how, pick, length)
            case ["backend", how]:
                return self._spoil_backend(how, pick, length)
            case ["set", "clock"]:
                return self._set_clock(pick)
            case _:
                return self._fill_disk(length)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PREY_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {_PREY_S:g} s in vain to strike: {what}"
            self._meanwhile()
            time.sleep(0.05)

    def _a_job_runs(self) -> bool:
        try:
            return any(job.status is JobStatus.RUNNING for job in self._stack.store.jobs())
        except RedisError:
            return bool(self._stack.attempt_processes("training"))

    def _lasts(self, what: str) -> bool:
        return what in self._mends

    def _later(self, what: str, kind: str, length: float, mend: Callable[[], object]) -> None:
        self._mends[what] = time.monotonic() + _lasts_s(kind, length), mend

    # ------------------------------------------------------------ processes

    def _signal(
        self, which: str, pick: float, call: Callable[[psutil.Process], None]
    ) -> psutil.Process | None:
        """Who was hit of that kind; None if there is none."""
        pids = self._pids(which)
        try:
            process = psutil.Process(pids[int(pick * len(pids))])
            call(process)
        except (IndexError, psutil.NoSuchProcess):
            return None
        self._note(f"{call.__name__} {which} {process.pid}")
        return process

    def _stop(self, which: str, pick: float, length: float) -> bool:
        process = self._signal(which, pick, psutil.Process.suspend)
        if process is not None:
            self._later(f"stop {which} {process.pid}", "stop", length, lambda: _resume(process))
        return process is not None

    def _pids(self, which: str) -> list[int]:
        if which == "bridge":
            found = [self._stack.bridge_process.pid]
        elif which == "worker":
            found = [worker.pid for worker in self._stack.workers]
        else:
            found = [process.pid for process in self._stack.attempt_processes(which)]
        return sorted(pid for pid in found if pid is not None)

    def _kill_everything(self, length: float) -> bool:
        """Like a loss of power: Redis and every process of ours, the bridge too."""
        redis = self._stack.redis_server
        if not self._take_redis_away("kill everything", length, redis.kill, redis.start):
            return False
        for process in self._stack.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return True

    # ------------------------------------------------------------ Redis and the network

    def _take_redis_away(
        self, kind: str, length: float, take: Callable[[], None], give_back: Callable[[], None]
    ) -> bool:
        if self._lasts("redis"):
            return False
        self._note(kind)
        take()
        self._later("redis", "redis", length, give_back)
        return True

    def _stop_redis(self, length: float) -> bool:
        """Ends before it returns: a soak that asks it meanwhile would wait as well."""
        if self._lasts("redis"):
            return False
        process = psutil.Process(self._stack.redis_server.pid)
        self._note("stop redis")
        process.suspend()
        time.sleep(_lasts_s("redis", length))
        process.resume()
        return True

    def _set_clock(self, pick: float) -> bool:
        assert self._clock is not None
        by_s = HOUR_S if pick < 0.5 else -HOUR_S
        if abs(self._clock.offset_s + by_s) > HOUR_S:
            by_s = -by_s
        self._note(f"set the clock of Redis by {by_s} s")
        self._clock.set_by(by_s)
        return True

    def _break_network(self, how: str, pick: float, length: float) -> bool:
        number = int(pick * len(self._stack.networks))
        network, what = self._stack.networks[number], f"network {number}"
        if self._lasts(what):
            return False
        self._note(f"{how} {what}")
        if how == "swallow":
            network.swallow()
        else:
            network.cut()
            self._later(what, "network", length, network.mend)
        return True

    # ------------------------------------------------------------ the backend

    def _spoil_backend(self, how: str, pick: float, length: float) -> bool:
        """It misbehaves towards reports, until one has met that and some time is over."""
        if self._lasts("backend"):
            return False
        ways: dict[str, tuple[dict[str, Any], ...]] = {
            "answers wrong": _WRONG,
            "loses answers": _LOST,
            "knows nothing": ({"status": 404},),
            "is down": ({"down_s": 0.5 + 3 * length, "times": 1},),
        }
        way = ways[how][int(pick * len(ways[how]))]
        reports = _REPORTS[-1:] if how == "is down" else _REPORTS
        backend = self._stack.backend
        try:
            self._has_met_a_fault()  # so that older ones count no more
            for report in reports:
                backend.add_fault(**report, **way)
        except requests.ConnectionError:  # it was down, and is not back
            return False
        self._note(f"backend {how}: {way}")
        self._wait(self._has_met_a_fault, f"a report meets {way}")
        self._later("backend", "backend", length, self._mend_backend)
        return True

    def _has_met_a_fault(self) -> bool:
        query = {"after": self._heard, "limit": 100_000}
        try:
            found = self._stack.backend.call("GET", "/api/dev/requests", params=query)["requests"]
        except requests.ConnectionError:
            return True  # it is down
        self._heard = max((item["sequence"] for item in found), default=self._heard)
        return any(item["fault"] for item in found)

    def _mend_backend(self) -> None:
        """Waits for one that is down."""
        deadline = time.monotonic() + _PREY_S
        while True:
            try:
                return self._stack.backend.clear_faults()
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "the backend does not come back"
                time.sleep(0.05)

    # ------------------------------------------------------------ the disk

    def _fill_disk(self, length: float) -> bool:
        if self.disk_is_full:
            return False
        try:
            jobs = self._stack.store.jobs()
        except RedisError:
            return False
        self.short_of_disk |= {job.job_id for job in jobs if job.status not in TERMINAL}
        self._note("fill the disk")
        filler = fill(self._stack.home)
        self._later("disk", "disk", length, filler.unlink)
        return True


def _lasts_s(kind: str, length: float) -> float:
    shortest, longest = LASTS_S[kind]
    return shortest + length * (longest - shortest)


def _resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()
