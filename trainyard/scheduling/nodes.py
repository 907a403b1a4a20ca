"""Nodes: every slot whose host is there, with all that an operator asks of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from trainyard.scheduling.slot_names import host_of
from trainyard.scheduling.slots import SlotRegistry
from trainyard.store.job_reads import JobReads


@dataclass(frozen=True)
class Node:
    """One slot. ``state``: of its worker, or ``out of service``; ``reason``: why it takes no jobs,
    "" if it does; ``hours``: when it does at all, "" for always; ``gpus``: their names; ``job_id``:
    what runs there, ``since`` (ISO 8601, UTC)."""

    host: str
    slot: str
    state: str
    reason: str
    hours: str
    gpus: tuple[str, ...]
    job_id: str | None
    since: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def nodes_of(redis: Redis) -> list[Node]:
    """All of them, by name. Raises RedisError."""
    registry, store = SlotRegistry(redis), JobReads(redis)
    out = registry.out_of_service()
    running = {job.slot: job for job in store.jobs(store.occupying())}
    found = []
    for slot in registry.present():
        job = running.get(slot.name)
        found.append(
            Node(
                host=host_of(slot.name),
                slot=slot.name,
                state="out of service" if slot.name in out else str(slot.state),
                reason=out.get(slot.name) or slot.idle_reason or "",
                hours=str(slot.info.get("hours", "")),
                gpus=tuple(str(gpu.get("name", "")) for gpu in slot.info.get("gpus") or ()),
                job_id=job.job_id if job else None,
                since=_iso(job.attempt_started_at) if job else None,
            )
        )
    return found


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat()
