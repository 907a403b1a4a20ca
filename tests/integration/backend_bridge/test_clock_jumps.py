"""The clock of Redis is set by an hour, either way, under a reaper and a living worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend_bridge.reaper import Reaper
from tests.support.celery_app import bridge_celery
from tests.support.faked_clock import LIBRARIES, FakedClock
from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.dispatch import open_dispatcher
from trainyard.store.job import Job

LEASE_S, RENEW_EVERY_S, HOUR_S = 3.0, 0.25, 3600

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")


class Scene:
    """A reaper over a Redis whose clock can be set, and ``job-1``, claimed."""

    def __init__(self, redis: Any, app: Any, clock: FakedClock) -> None:
        self.store = job_store(redis, lease_s=LEASE_S, max_restarts=1)
        self.reaper = Reaper(open_dispatcher(self.store, app, redis))
        self.set_clock = clock.set_by
        self.stop = threading.Event()
        self.worker_dies = threading.Event()
        self.store.admit(start_request("job-1"), slots=1)
        assert self.store.claim("job-1", 1, slot="box-0", worker="w")
        work: tuple[Callable[[], None], ...] = (self._renew, lambda: self.reaper.run(self.stop))
        self._threads = [threading.Thread(target=one) for one in work]

    def __enter__(self) -> Scene:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.worker_dies.set()
        for thread in self._threads:
            thread.join(30)

    def _renew(self) -> None:
        while not self.worker_dies.wait(RENEW_EVERY_S):
            self.store.renew("job-1", 1)

    def job(self) -> Job:
        job = self.store.get("job-1")
        assert job is not None
        return job


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("backend_bridge.reaper.EVERY_S", 0.2)
    clock = FakedClock(tmp_path / "offset")
    with RedisServer(environment=clock.environment) as server, server.client() as redis:
        wait_for("Redis is up for a lease", lambda: server_age_s(redis) > LEASE_S)
        with bridge_celery(server.url) as app, Scene(redis, app, clock) as scene:
            yield scene


def server_age_s(redis: Any) -> float:
    return float(redis.info("server")["uptime_in_seconds"])


def test_no_jump_costs_a_living_worker_its_job(scene: Scene) -> None:
    for by_s in (HOUR_S, HOUR_S, -HOUR_S, HOUR_S, -HOUR_S, -HOUR_S):
        scene.set_clock(by_s)
        time.sleep(0.7)
    job = scene.job()
    assert (job.status, job.attempt, job.restarts) == (JobStatus.RUNNING, 1, 0)
    assert scene.store.renew("job-1", 1).held


@pytest.mark.parametrize("by_s", [HOUR_S, -HOUR_S])
def test_a_dead_workers_job_goes_on_soon_after_a_jump(scene: Scene, by_s: int) -> None:
    scene.worker_dies.set()
    scene.set_clock(by_s)
    wait_for("it is queued again", lambda: scene.job().attempt == 2, 10 * LEASE_S)
    assert scene.job().restarts == 1
