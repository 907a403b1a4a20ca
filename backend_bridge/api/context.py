"""Dependencies of the routes: the bridge that they work with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from backend_bridge.api.monitoring.request_times import RequestTimes
from backend_bridge.intake.job_control import a_sweep, no_such_job
from backend_bridge.wiring import Wiring
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.estimate import StartEstimate, estimate_now
from trainyard.scheduling.slots import SlotState
from trainyard.scheduling.waiting_reasons import waiting_reason
from trainyard.settings import Settings
from trainyard.store.connection import ping
from trainyard.store.event_log import EventLog
from trainyard.store.job import Job
from trainyard.store.keys import Key
from trainyard.store.usage.months import prices

HEALTH_TIMEOUT_S = 2.0
"""The backend waits 5 s for an answer of ``/health``."""


class Bridge(Wiring):
    """One application's store, queue, slots and so on, with what only its routes need."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "bridge")
        self.events = EventLog(self.redis)
        self.request_times = RequestTimes()
        self.prices = prices(settings)

    def check_redis(self) -> None:
        """Raises RedisError within HEALTH_TIMEOUT_S if Redis does not answer."""
        ping(self.settings.redis_location, HEALTH_TIMEOUT_S)

    def check_writes(self) -> None:
        """Raises RedisError if Redis does not take a write, its memory or its disk being full."""
        self.redis.set(Key.PROBE, "health", px=1000)

    def outlook(self, job: Job, position: int | None) -> tuple[str | None, float | None]:
        """Why the job waits, if not for its turn, and the estimate of when it starts in seconds,
        at ``position`` of the queue."""
        waits = position is not None or job.status is JobStatus.QUEUED
        present = self.slots.present() if waits else []
        reason = waiting_reason(job, present)
        if position is None:
            return reason, None
        alive = [slot.name for slot in present if slot.state is SlotState.CONSUMING]
        return reason, self.estimate(alive).at(position)

    def estimate(self, slots: Collection[str]) -> StartEstimate:
        """Of the starts of all that waits, over the slots that take jobs."""
        return estimate_now(self.store, slots, self.settings.slip_ins_per_hour)

    def waiting_reasons(self, jobs: Sequence[Job]) -> list[str | None]:
        """Of each job why it waits, if not for its turn."""
        queued = any(job.status is JobStatus.QUEUED for job in jobs)
        present = self.slots.present() if queued else []
        return [waiting_reason(job, present) for job in jobs]

    def job(self, job_id: str) -> Job:
        """Answers 404 if it is not there."""
        return self.job_in_queue(job_id)[0]

    def job_in_queue(self, job_id: str) -> tuple[Job, int | None]:
        """The job and its place in the queue. Answers 404 if it is not there."""
        job, position = self.store.get_in_queue(job_id)
        if job is None:
            known = bool(self.store.group(job_id))
            raise HTTPException(404, a_sweep(job_id) if known else no_such_job(job_id))
        return job, position


async def _bridge(request: Request) -> Bridge:
    bridge: Bridge = request.app.state.bridge
    return bridge


ThisBridge = Annotated[Bridge, Depends(_bridge)]
"""Of a route's parameter ``bridge``: the one of the application that serves it."""
