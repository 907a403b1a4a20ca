"""Health of the yard: what keeps jobs from being trained, or their reports from arriving."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import RedisError

from backend_bridge.api.context import Bridge
from trainyard.redis_check.troubles import trouble_of
from trainyard.scheduling.slots import SlotState
from trainyard.store.connection import is_passing
from trainyard.store.delivery_report import delivery_report

JOBS_LOOKED_AT = 100
"""Of those whose reports wait: an answer is due within seconds."""


@dataclass(frozen=True)
class Reason:
    """A reason for ``degraded``: ``what`` for anybody, ``detail`` for who may know the yard."""

    what: str
    detail: str = ""

    def sentence(self, *, stranger: bool) -> str:
        return self.what if stranger or not self.detail else f"{self.what}: {self.detail}"


def reasons(bridge: Bridge) -> list[Reason]:
    """Everything that degrades the yard; [] if it is well. Raises RedisError if Redis is away."""
    return [*_of_redis(bridge), *_of_slots(bridge), *_of_couriers(bridge), *_of_reports(bridge)]


def _of_redis(bridge: Bridge) -> Iterator[Reason]:
    try:
        bridge.check_writes()
    except RedisError as error:
        if not is_passing(error):
            raise
        yield Reason("Redis takes no writes", trouble_of(error).sentence)


def _of_slots(bridge: Bridge) -> Iterator[Reason]:
    present = bridge.slots.present()
    if all(slot.state not in (SlotState.CONSUMING, SlotState.RESTING) for slot in present):
        yield Reason("no worker takes jobs")
    out = bridge.slots.out_of_service()
    # One that a person has drained does what it was told, and one that rests what its hours say.
    out |= {s.name: s.idle_reason or "" for s in present if s.state is SlotState.SILENT}
    for name, why in out.items():
        yield Reason("a slot is out of service", f"{name}: {why}")


def _of_couriers(bridge: Bridge) -> Iterator[Reason]:
    if not bridge.couriers.count():
        yield Reason("no courier works", "nothing is reported, and nobody sees a lost worker")


def _of_reports(bridge: Bridge) -> Iterator[Reason]:
    stuck = delivery_report(bridge.redis, JOBS_LOOKED_AT).stuck
    if stuck:
        oldest, jobs = stuck[0], "1 job" if len(stuck) == 1 else f"{len(stuck)} jobs"
        why = f": {oldest.last_error}" if oldest.last_error else ""
        yield Reason("reports are stuck", f"{jobs}, the oldest {oldest.age_s:.0f} s{why}")
