"""Diagnosis of a yard, `trainyard doctor`: what is wrong, and what to do about it.

Every check is a function that gives findings. What another finding explains is no finding: without
Redis nobody can say that workers or reports are missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from trainyard.local.diagnosis.backend_findings import pull_findings
from trainyard.local.diagnosis.delivery_findings import delivery_findings, request_findings
from trainyard.local.diagnosis.finding import Absence, Finding, Level
from trainyard.local.diagnosis.machine_findings import machine_findings
from trainyard.local.diagnosis.redis_findings import (
    findings_of,
    host_findings,
    redis_findings,
    slot_findings,
)
from trainyard.local.diagnosis.service_findings import backend_findings, bridge_findings
from trainyard.redis_check.suitability import troubles
from trainyard.redis_check.troubles import NO_DISK, Trouble
from trainyard.settings import Settings, SettingsError
from trainyard.store.connection import connect

STARTING_S = 30.0
"""Since Redis came up: so long who is not there may be starting, torch with a cold cache."""


def examine(settings: Settings) -> list[Finding]:
    """Every check; takes a few seconds at most if nothing answers."""
    machine, backend = machine_findings(settings), [*backend_findings(settings)]
    found = _troubles(settings)
    is_well = all(trouble.kind == "risk" for trouble in found)
    bridge = [*bridge_findings(settings, redis_is_well=is_well)]
    if settings.redis_url is None and _are(machine, "disk", "failure"):
        found = [trouble for trouble in found if trouble != NO_DISK]
    elsewhere = _are(bridge, "home", "failure")
    findings = [
        *findings_of(() if elsewhere else found),
        *_through_redis(settings, found, backend, bridge),
        *machine,
        *backend,
        *pull_findings(settings),
        *bridge,
    ]
    up_s = _up_s(settings) if is_well else STARTING_S
    if up_s >= STARTING_S:
        return findings
    return [one.while_starting(up_s) if isinstance(one, Absence) else one for one in findings]


def _up_s(settings: Settings) -> float:
    """Seconds that Redis is up."""
    try:
        with connect(settings.redis_location, retries=0) as redis:
            return float(redis.info("server")["uptime_in_seconds"])
    except RedisError:
        return STARTING_S


def _troubles(settings: Settings) -> list[Trouble]:
    try:
        return troubles(settings.redis_location)
    except SettingsError as error:
        start = "start the services with `trainyard up`, or set REDIS_URL to a Redis that runs"
        return [Trouble(error.sentence.rstrip("."), start, kind="away")]


def _through_redis(
    settings: Settings, found: Sequence[Trouble], backend: Sequence[Finding],
    bridge: Sequence[Finding],
) -> list[Finding]:  # fmt: skip
    """What Redis knows. One that takes no writes hears of no slot and of no delivery."""
    kinds = {trouble.kind for trouble in found}
    if "away" in kinds:
        return []
    with connect(settings.redis_location, retries=0) as redis:
        try:
            embedded = settings.redis_url is None
            known = [*redis_findings(redis, embedded=embedded), *request_findings(redis)]
            if "passing" not in kinds:
                slots = [*slot_findings(redis)]
                answers = not _are(backend, "backend", "failure")
                due = _are(slots, "slots", "ok") or _are(bridge, "bridge", "ok")
                known += [*slots, *host_findings(redis)]
                known += delivery_findings(redis, backend_answers=answers, couriers_due=due)
        except RedisError:
            return []  # it still reads its data, or lets nobody in: its trouble is told
        return known


def _are(findings: Sequence[Finding], check: str, level: Level) -> bool:
    return any(one.check == check and one.level == level for one in findings)
