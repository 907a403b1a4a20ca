"""Cancelling a job, whatever it is doing."""

from __future__ import annotations

from dataclasses import dataclass

from backend_bridge.contract import OCCUPYING, attempt_id
from backend_bridge.job_store import JobStore
from backend_bridge.queue import JobQueue


@dataclass(frozen=True)
class Cancelled:
    """Answer to a cancel: whether it took effect, a sentence, and the state before."""

    success: bool
    message: str
    previous_status: str | None


def cancel(store: JobStore, queue: JobQueue, job_id: str, *, force: bool = False) -> Cancelled:
    """Cancel at once what does not run; ask what runs, and with ``force`` kill it.

    The flag in the job store is what counts: the revoke only makes the supervisor act on it at
    once, and one that gets lost costs a second at most.
    """
    before = store.cancel(job_id, force=force)
    if before is None:
        job = store.get(job_id)
        if job is None:
            return Cancelled(False, f"there is no job {job_id}", None)
        return Cancelled(False, f"job {job_id} has already ended: {job.status}", job.status)
    run = attempt_id(job_id, before.attempt)
    if before.status not in OCCUPYING:
        queue.remove(run)
        return Cancelled(True, f"job {job_id} is cancelled", before.status)
    if force:
        queue.revoke(run, before.worker)
        return Cancelled(True, f"job {job_id} is being killed", before.status)
    return Cancelled(True, f"job {job_id} stops at its next step", before.status)
