"""Dependencies of the routes: the bridge that they work with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request

from backend_bridge.intake.job_control import no_such_job
from backend_bridge.wiring import Wiring
from trainyard.scheduling.estimate import estimate_now
from trainyard.settings import Settings
from trainyard.store.connection import ping
from trainyard.store.event_log import EventLog
from trainyard.store.job import Job

HEALTH_TIMEOUT_S = 2.0
"""The backend waits 5 s for an answer of ``/health``."""


class Bridge(Wiring):
    """One application's store, queue, slots and so on, with what only its routes need."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "bridge")
        self.events = EventLog(self.redis)

    def check_redis(self) -> None:
        """Raises RedisError within HEALTH_TIMEOUT_S if Redis does not answer."""
        ping(self.settings.redis_location, HEALTH_TIMEOUT_S)

    def starts_in_s(self, position: int | None) -> float | None:
        """Estimate of when the job at ``position`` of the queue starts."""
        if position is None:
            return None
        return estimate_now(self.store, self.slot_count()).at(position)

    def job(self, job_id: str) -> Job:
        """Answers 404 if it is not there."""
        job = self.store.get(job_id)
        if job is None:
            raise HTTPException(404, no_such_job(job_id))
        return job


async def _bridge(request: Request) -> Bridge:
    bridge: Bridge = request.app.state.bridge
    return bridge


ThisBridge = Annotated[Bridge, Depends(_bridge)]
"""Of a route's parameter ``bridge``: the one of the application that serves it."""
