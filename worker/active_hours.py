"""Active hours of this worker's slot: outside of them it takes no jobs, and what runs makes way.

They go by Redis's clock, as all dates do: those of hosts differ.
"""

from __future__ import annotations

from redis import Redis

from trainyard.contract.statuses import JobStatus
from trainyard.settings import Settings
from trainyard.store.job_store import open_job_store


class SlotHours:
    """``until``: when the slot takes jobs again, in words; "" within its hours, or without any.

    Each method raises RedisError.
    """

    def __init__(self, redis: Redis, slot: str, settings: Settings) -> None:
        self.until = ""
        self._store = open_job_store(redis, settings)
        self._slot = slot
        self._hours = settings.hours

    def look(self) -> None:
        """See what the clock says now."""
        if self._hours is not None:
            self.until = self._hours.closed_until(self._store.redis.time()[0])

    def clear_the_slot(self) -> None:
        """Ask what runs to make way; again and again, for a job may have been on its way here."""
        for job in self._store.jobs(self._store.occupying()):
            runs_here = job.slot == self._slot and job.status is JobStatus.RUNNING
            if runs_here and not job.is_to_make_way:
                self._store.ask_way(job, f"the hours of {self._slot} are over until {self.until}")
