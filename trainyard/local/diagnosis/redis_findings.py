"""Findings about Redis and the slots that speak through it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from redis import Redis

from trainyard.local.diagnosis.finding import Absence, Finding, Level, clock_finding
from trainyard.local.redis_binaries import HOLE, has_known_hole, version_of
from trainyard.redis_check.troubles import Trouble
from trainyard.scheduling.host_waits import HostWaits, waits_for
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.store.job_reads import JobReads

_UPDATE = "Update it: 6.2.20, 7.2.11, 7.4.6, 8.2.2, or your distribution's redis-server."
_CHOOSE_ANOTHER = (
    "Install your distribution's redis-server (`apt install redis-server`) and start "
    "`trainyard up` again, which takes that one; jobs stay."
)


def findings_of(troubles: Iterable[Trouble]) -> Iterator[Finding]:
    for trouble in troubles:
        level: Level = "warning" if trouble.kind == "risk" else "failure"
        yield Finding("redis", level, _sentence(trouble.sentence), _sentence(trouble.mend))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def redis_findings(redis: Redis, *, embedded: bool = False) -> Iterator[Finding]:
    """``embedded``: it is the one that `trainyard up` starts, and chooses."""
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
            _CHOOSE_ANOTHER if embedded else _UPDATE,
        )
    yield clock_finding("Redis", seconds + micros / 1e6)


def slot_findings(redis: Redis) -> Iterator[Finding]:
    """Slots that take jobs, and each other one with its reason."""
    registry = SlotRegistry(redis)
    alive, present, out = registry.alive(), registry.present(), registry.out_of_service()
    if alive:
        names = ", ".join(slot.name for slot in alive)
        are = "slot is" if len(alive) == 1 else "slots are"
        yield Finding("slots", "ok", f"{len(alive)} {are} alive: {names}.")
    elif not present and not out:
        mend = "Start them with `trainyard up`, or `python -m worker.launcher` on each host."
        yield Absence("slots", "failure", "No worker is alive: jobs wait.", mend)
    for name, reason in out.items():
        mend = (
            "Mend what that names; it tries again by itself within a minute, or restart its worker."
        )
        yield Finding("slots", "failure", f"{name} takes no jobs: {reason}", mend)
    for slot in present:
        if slot.info.get("hours"):
            said = f"{slot.name} takes jobs {slot.info['hours']} (ACTIVE_HOURS)"
            yield Finding(
                "slots", "ok", f"{said}; closed until {slot.until}." if slot.until else f"{said}."
            )
        if slot.name in out:
            continue
        said = f"{slot.name} takes no jobs: {slot.idle_reason}"
        if slot.state is SlotState.DRAINED:
            mend = f"`trainyard undrain {slot.name}` lets it, or that of its host."
            yield Finding("slots", "warning", said, mend)
        elif slot.state is SlotState.PROVING:
            yield Finding("slots", "warning", said, "It takes seconds at its worker's start.")
        elif slot.state is SlotState.SILENT:
            mend = "Its launcher restarts it in a minute; without one, restart it."
            yield Finding("slots", "failure", said, mend)
    lost = registry.expected() - {slot.name for slot in present} if present else ()
    for name in sorted(lost):
        mend = f"Start its worker again, or `trainyard drain {name}` if it is not to come back."
        yield Finding("slots", "warning", f"{name} is gone, and did not leave in order.", mend)


def host_findings(redis: Redis) -> Iterator[Finding]:
    """Jobs that wait for a host that is not there."""
    jobs = JobReads(redis).jobs(HostWaits(redis).waited_s())
    if jobs:
        sentence = f"{len(jobs)} jobs wait, the longest, {jobs[0].job_id}, {waits_for(jobs[0])}."
        mend = "Start the workers of that host; its name is theirs (TRAINYARD_HOST)."
        yield Finding("hosts", "warning", sentence, mend)
