"""Pull mode with real processes: a courier that fetches from the development backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend_bridge.intake.pull_notes import PullNotes
from tests.support.dev_backend import DevBackend
from tests.support.paths import REPOSITORY
from tests.support.redis_server import RedisServer
from tests.support.requests import request_body
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.scheduling.slots import SlotRegistry, SlotState

KEY = "key-of-this-yard"


@pytest.fixture(scope="module")
def backend() -> Iterator[DevBackend]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULL_API_KEY", KEY)
        with DevBackend(options=["--poll-interval", "0.2"]) as running:
            yield running


def offer(backend: DevBackend, job_id: str, **config: Any) -> None:
    """A row that waits for a worker that fetches it."""
    job = {"job_id": job_id, "model_name": "tiny", "dataset_path": "data.jsonl", "config": config}
    backend.call("POST", "/api/training/local/jobs", json={**job, "user_id": "ana"})


@contextmanager
def courier(server: RedisServer, backend: DevBackend, home: Path) -> Iterator[Any]:
    pull = {"PULL_URL": backend.url, "PULL_API_KEY": KEY}
    yard = {"REDIS_URL": server.url, "TRAINYARD_HOME": str(home), "TRAINYARD_SLOT": "slot-0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "backend_bridge.courier"],
        cwd=REPOSITORY,
        env={**os.environ, **pull, **yard},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def wait_working(redis: Redis, what: str, condition: Callable[[], Any]) -> None:
    """Wait, while the slot's worker says that it takes jobs."""
    registry = SlotRegistry(redis)

    def look() -> Any:
        registry.stamp("slot-0", SlotState.CONSUMING)
        return condition()

    wait_for(what, look)


def notes(home: Path) -> list[str]:
    return [path.name for path in (home / "pull").glob("*.json")]


def test_a_job_is_fetched_reported_and_a_bad_one_fails(
    redis_server: RedisServer, real_redis: Redis, backend: DevBackend, tmp_path: Path
) -> None:
    offer(backend, "bad", training={"batch_size": "four"})
    offer(backend, "good")
    with courier(redis_server, backend, tmp_path):
        failed = lambda: backend.status("bad")["status"] == "failed"  # noqa: E731
        wait_working(real_redis, "the bad one is told", failed)
        assert "config.training.batch_size" in backend.status("bad")["error"]
        store = job_store(real_redis)
        wait_working(real_redis, "it is admitted", lambda: store.get("good"))
        assert store.claim("good", 1, slot="slot-0", worker="worker-0")
        offer(backend, "later")
        store.complete("good", 1, {})
        assert backend.wait_for_status("good", "completed")["user_id"] == "ana"
        wait_working(real_redis, "the next one", lambda: store.get("later"))
        wait_for("all is noted off", lambda: notes(tmp_path) == [])
    agent = (tmp_path / "pull" / "agent-id").read_text()
    assert agent.startswith("agent_")
    assert (tmp_path / "pull").stat().st_mode & 0o077 == 0


def test_what_a_killed_courier_had_claimed_is_admitted_by_the_next(
    redis_server: RedisServer, real_redis: Redis, backend: DevBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "pull"
    folder.mkdir()
    offer(backend, "asked")
    PullNotes(folder).write("claimed", {"body": request_body("claimed")})
    PullNotes(folder).write("asked", {"job": {"id": "asked", "config": {}, "model_name": "tiny"}})
    with courier(redis_server, backend, tmp_path):
        store = job_store(real_redis)
        wait_for("both are admitted", lambda: store.get("claimed") and store.get("asked"))
        wait_for("all is noted off", lambda: notes(tmp_path) == [])
    written = [path.read_text() for path in folder.iterdir() if path.is_file()]
    assert not any(json.dumps(KEY)[1:-1] in text for text in written)
    assert backend.status("asked")["status"] == "running"
