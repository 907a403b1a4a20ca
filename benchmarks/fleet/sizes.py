"""Fleet: what many slots on one Redis cost, found without training.

    fleet_redis    Redis's processor time for each slot, and how it grows with their number
    fleet_renew    p99 of a lease's renewal while so many slots are at work
    fleet_status   p99 of reading a job's status meanwhile
    fleet_lag      an event's append in the slot, to its arrival at the backend, p99

Every simulated slot does what a worker and its courier do, by the product's own code: it renews its
lease, appends a metric and five log lines a second, stamps and beats, takes requests, reaps, and
has a forwarder that posts to a backend; one job in twenty ends each minute. Several slots share a
process, so that two cores carry more of them than they would of real workers.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from benchmarks.measure import Measure, Target, percentile
from tests.support.redis_server import RedisServer
from tests.support.store_calls import job_store

ROOT = Path(__file__).resolve().parents[2]
SIZES = (10, 30, 100)
SIZES_FULL = (10, 30, 100, 200, 300)
SLOTS_PER_PROCESS = 50
SETTLE_S, MEASURE_S = 8.0, 20.0
STATUS_EVERY_S = 0.05


@dataclass(frozen=True)
class Figures:
    """What one size of a fleet gave. ``cores``: share of a core that Redis took."""

    slots: int
    cores: float
    renew_ms: list[float]
    status_ms: list[float]
    lag_ms: list[float]
    late_ms: float
    """How late the simulated slots were with their own work (p99): large, the machine was full."""


def fleet(full: bool = False) -> list[Measure]:
    """A row of each kind for each size, and the exponent of the growth."""
    found = [run(size) for size in (SIZES_FULL if full else SIZES)]
    measures = []
    for one in found:
        late = f"simulated slots {one.late_ms:.0f} ms late (p99)"
        per_slot = [1000 * one.cores / one.slots]
        name = f"{one.slots} slots"
        measures += [
            Measure(f"fleet_redis: {name}", "ms/s of a slot", per_slot, note=late),
            Measure(f"fleet_renew: {name}", "ms (p99)", [percentile(one.renew_ms, 0.99)]),
            Measure(f"fleet_status: {name}", "ms (p99)", [percentile(one.status_ms, 0.99)]),
            Measure(f"fleet_lag: {name}", "ms (p99)", [percentile(one.lag_ms, 0.99)]),
        ]
    growth = Target("value", "<=", 1.05)
    note = "1: each slot costs the same however many there are"
    measures.append(
        Measure("fleet_growth", "exponent", [exponent(found)], target=growth, note=note)
    )
    return measures


def exponent(found: list[Figures]) -> float:
    """Slope of the logarithm of Redis's time over that of the slots, by least squares."""
    xs = [math.log(one.slots) for one in found]
    ys = [math.log(one.cores) for one in found]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return above / sum((a - x) ** 2 for a in xs)


def run(slots: int) -> Figures:
    """Let so many slots work for a while, and look at Redis meanwhile."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(append_only=True))
        redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        backend = stack.enter_context(_started("benchmarks.fleet.backend"))
        url = _line_of(backend)["url"]
        workers = [
            stack.enter_context(
                _started(
                    "benchmarks.fleet.slots",
                    *(server.url, url, str(first), str(min(SLOTS_PER_PROCESS, slots - first))),
                )
            )
            for first in range(0, slots, SLOTS_PER_PROCESS)
        ]
        for worker in workers:
            _line_of(worker)  # its jobs run
        time.sleep(SETTLE_S)
        began, used = time.monotonic(), _redis_seconds(redis)
        _tell([backend, *workers], "measure")
        status_ms = _read_statuses(redis, began + MEASURE_S)
        cores = (_redis_seconds(redis) - used) / (time.monotonic() - began)
        _tell([backend, *workers], "stop")
        lag_ms = _line_of(backend)["lag_ms"]
        told = [_line_of(worker) for worker in workers]
    return Figures(
        slots,
        cores,
        renew_ms=[ms for one in told for ms in one["renew_ms"]],
        status_ms=status_ms,
        lag_ms=lag_ms,
        late_ms=percentile([ms for one in told for ms in one["late_ms"]], 0.99),
    )


def _read_statuses(redis: Redis, until: float) -> list[float]:
    store, taken = job_store(redis), []
    while (now := time.monotonic()) < until:
        assert store.get("fleet-0") is not None
        taken.append(1000 * (time.monotonic() - now))
        time.sleep(STATUS_EVERY_S)
    return taken


def _redis_seconds(redis: Redis) -> float:
    """Processor time of the server since its start."""
    used = redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


def _started(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def _line_of(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a process of the fleet has died"
    found: dict[str, object] = json.loads(line)
    return found


def _tell(processes: list[subprocess.Popen[str]], word: str) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
