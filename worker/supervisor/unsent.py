"""Unsent records: what an earlier attempt left in the job's folder and the stream lacks."""

from __future__ import annotations

from trainyard.store.job import Job
from trainyard.store.job_store import JobStore
from trainyard.store.unsent_records import find_unsent, sizes_of_records
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import Record


def take_over_records(
    events: EventBuffer, log_file: Record, job: Job, home: str, store: JobStore
) -> None:
    """Send it before anything of this attempt; ``home``: the id of this host's TRAINYARD_HOME."""
    folder = log_file.path.parent
    if job.home not in ("", home):
        events.set_fields(**sizes_of_records(folder))
        return
    unsent = find_unsent(folder, job, store.log_lines_kept)
    events.take_over(unsent)
    log_file.append("".join(f"{line}\n" for line in unsent.owed))
    events.set_fields(owed_lines="[]")
