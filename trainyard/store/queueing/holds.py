"""Held jobs: queued, and not to run before a time, or before other jobs have completed.

They are in no queue of the broker, and none waits behind them; the reapers release them
(``store/lua/release.lua``).
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.store.job import Job
from trainyard.store.queueing.admissions import AwaitsInVain

_NAMED_MAX = 5
"""Of a hundred that it may await: the list of all jobs says this of each."""


def held_for(job: Job, zone: tzinfo | None = None) -> str:
    """The reason of such a job, for people; ``zone``: this machine's if None."""
    parts = []
    if job.awaits:
        jobs = "job" if len(job.awaits) == 1 else "jobs"
        named, more = job.awaits[:_NAMED_MAX], len(job.awaits) - _NAMED_MAX
        parts.append(f"for {jobs} {' and '.join(named)}{f' and {more} more' if more > 0 else ''}")
    if job.not_before is not None:
        due = datetime.fromtimestamp(job.not_before, UTC).astimezone(zone)
        parts.append(f"until {due:%Y-%m-%d %H:%M %Z}")
    return f"waits {' and '.join(parts)}; `trainyard force-start {job.job_id}` does not wait"


def in_vain(held: AwaitsInVain) -> ErrorReport:
    """Why a job fails whose awaited one did not complete."""
    how = f"is {held.status}" if held.status else "was removed before it had completed"
    return ErrorReport(
        kind=ErrorKind.AWAITED_JOB,
        message=f"It was to run after the job {held.awaited}, which {how}.",
        hint=f"`trainyard force-start {held.job_id}` queues it all the same.",
    )
