"""Findings about Redis and the slots that speak through it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from redis import Redis

from trainyard.local.finding import Finding, Level, clock_finding
from trainyard.local.redis_binaries import HOLE, has_known_hole, version_of
from trainyard.redis_check.suitability import troubles
from trainyard.scheduling.slots import SlotRegistry, SlotState


def troubles_of(url: str) -> Iterator[Finding]:
    for trouble in troubles(url):
        level: Level = "warning" if trouble.kind == "risk" else "failure"
        yield Finding("redis", level, _sentence(trouble.sentence), _sentence(trouble.mend))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def redis_findings(redis: Redis) -> Iterator[Finding]:
    started = time.perf_counter()
    seconds, micros = redis.time()
    taken_s = time.perf_counter() - started
    server = redis.info("server")
    version = server["redis_version"]
    yield Finding("redis", "ok", f"Redis {version} answers in {1000 * taken_s:.1f} ms.")
    if "valkey_version" not in server and has_known_hole(version_of(version)):
        yield Finding(
            "redis",
            "warning",
            f"Redis {version} has a known hole ({HOLE}): a script may take the server over.",
            "Update it: 6.2.20, 7.2.11, 7.4.6, 8.2.2, or your distribution's redis-server.",
        )
    yield clock_finding("Redis", seconds + micros / 1e6)


def slot_findings(redis: Redis) -> Iterator[Finding]:
    registry = SlotRegistry(redis)
    alive = registry.alive()
    if alive:
        names = ", ".join(slot.name for slot in alive)
        are = "slot is" if len(alive) == 1 else "slots are"
        yield Finding("slots", "ok", f"{len(alive)} {are} alive: {names}.")
    else:
        mend = "Start them with `trainyard up`, or `celery -A worker.app worker -Q gpu -c 1`."
        yield Finding("slots", "failure", "No worker is alive: jobs wait.", mend)
    for name, reason in registry.out_of_service().items():
        mend = (
            "End what holds its GPU, or mend what the workers' log names, then restart its worker."
        )
        yield Finding("slots", "failure", f"{name} takes no jobs: {reason}", mend)
    for slot in registry.present():
        said = f"{slot.name} takes no jobs: {slot.idle_reason}"
        if slot.state is SlotState.DRAINED:
            mend = "`celery -A worker.app control add_consumer gpu` lets it, or a restart of it."
            yield Finding("slots", "warning", said, mend)
        elif slot.state is SlotState.SILENT:
            mend = "Its launcher restarts it in a minute; without one, restart it."
            yield Finding("slots", "failure", said, mend)
