"""Reasons for which a job waits though it may be its turn: nobody who may run it takes jobs, or
one makes way for another."""

from __future__ import annotations

from collections.abc import Sequence

from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.host_waits import waits_for
from trainyard.scheduling.slots import Slot, SlotState
from trainyard.store.job import Job
from trainyard.store.queueing.holds import held_for


def waiting_reason(job: Job, present: Sequence[Slot]) -> str | None:
    """In words; None if the job only waits for its turn. ``present``: slots whose host is there."""
    if job.status is not JobStatus.QUEUED:
        return None
    if job.held:
        return held_for(job)
    able = [slot for slot in present if not job.is_bound or slot.info.get("home") == job.home]
    if job.is_bound and not able:
        return waits_for(job)
    if able and all(slot.state is SlotState.DRAINED for slot in able):
        names = ", ".join(slot.name for slot in able)
        near = " that has its checkpoints" if job.is_bound else ""
        return f"waits for `trainyard undrain`: every slot{near} is drained ({names})"
    at_rest = (SlotState.DRAINED, SlotState.RESTING)
    if able and all(slot.state in at_rest for slot in able):
        opens = [f"{slot.name} until {slot.until}" for slot in able if slot.until]
        return f"waits for the hours of its slots (ACTIVE_HOURS): {', '.join(opens)}"
    return _way(job)


def _way(job: Job) -> str | None:
    if job.made_way:
        return f"made way: {job.made_way}; it goes on by itself"
    asked = job.slips_before.rpartition(":")[0]
    return f"slips in: job {asked} makes way at its next step" if asked else None
