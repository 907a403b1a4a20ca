"""A yard that is well, as the doctor sees one, and what breaks it: by the real thing if that is
cheap, else by what it leaves in Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_bridge import FakeBridge
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from trainyard.local.diagnosis import doctor
from trainyard.scheduling.couriers import CourierRegister
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.store.keys import JobKey


class WellYard:
    """A slot that takes jobs, a courier, a bridge and a backend that answer."""

    def __init__(self, redis: Any, http: FakeBridge, environment: pytest.MonkeyPatch) -> None:
        self.redis = redis
        self.http = http
        self.environment = environment
        self.slots = SlotRegistry(redis)
        self.slots.beat("box-0", {"gpus": []})
        self.slots.stamp("box-0", SlotState.CONSUMING)
        CourierRegister(redis).beat()

    def set(self, **settings: str) -> None:
        for name, value in settings.items():
            self.environment.setenv(name, value)

    def reports_wait(self, job_id: str = "job-1", *, error: str = "", heard: bool = True) -> None:
        """A job whose first report was written in 1970, and has not arrived."""
        RunningJob(self.redis, job_id)
        events, index = JobKey.EVENTS.of(job_id), JobKey.STATUS_INDEX.of(job_id)
        ((_, fields),) = self.redis.xrange(events)
        self.redis.delete(events, index)
        self.redis.xadd(events, fields, id="1-1")
        self.redis.rpush(index, "1-1")
        state = {"heard": heard, "last_error": error}
        self.redis.hset(JobKey.DELIVERY.of(job_id), "state", json.dumps(state))


@contextmanager
def well_yard(
    server: RedisServer, redis: Any, environment: pytest.MonkeyPatch, home: Path
) -> Iterator[WellYard]:
    environment.setattr(doctor, "STARTING_S", 0.0)  # the tests' Redis is young
    with FakeBridge() as http:
        http.answers["GET", "/health"] = 200, {"version": "1", "slots_out_of_service": {}}
        yard = WellYard(redis, http, environment)
        yard.set(
            REDIS_URL=server.url,
            HTTP_PROXY="http://127.0.0.1:9",  # dead, and for other hosts
            BRIDGE_PORT=str(http.port),
            BACKEND_URL=f"http://127.0.0.1:{http.port}",
            TRAINYARD_HOME=str(home),
        )
        yield yard
