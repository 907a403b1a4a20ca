"""docker-compose.yml on a real Docker engine: a job, a killed worker, a stop."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from tests.support.compose import COMPOSE_CHECK, Compose
from tests.support.waiting import wait_for
from trainyard.client import BridgeError

pytestmark = [
    pytest.mark.compose,
    pytest.mark.slow,
    pytest.mark.timeout(2400),  # the first one builds the images
    pytest.mark.skipif(
        not COMPOSE_CHECK.exists(),
        reason="Docker is missing: ../shared/bin/compose-check, or COMPOSE_CHECK, starts one",
    ),
]
LONG = 100_000


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    with Compose() as running:
        yield running


def test_a_job_from_the_bridge_completes(compose: Compose) -> None:
    compose.submit("first", steps=6)
    job = compose.wait("first", "completed")
    assert job["attempt"] == 1
    compose.wait_at_backend("first", "completed")


def test_the_services_run_as_nobody_special(compose: Compose) -> None:
    for service in ("worker", "bridge", "flower", "dev-backend"):
        assert compose.inside(service, "id", "-u").strip() == "1000"
        assert "docker-init" in compose.inside(service, "cat", "/proc/1/cmdline")


def test_redis_keeps_everything(compose: Compose) -> None:
    def setting(name: str) -> str:
        script = f'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli config get {name}'
        return compose.inside("redis", "sh", "-c", script).split()[-1]

    assert setting("appendonly") == "yes"
    assert setting("maxmemory-policy") == "noeviction"
    assert compose.password not in compose.inside("redis", "cat", "/proc/1/cmdline")


def test_only_loopback_is_published(compose: Compose) -> None:
    for service, port in (("bridge", "8000"), ("flower", "5555"), ("dev-backend", "3000")):
        assert compose.compose("port", service, port).startswith("127.0.0.1:")
    assert requests.get(f"http://127.0.0.1:{compose.flower_port}/workers", timeout=20).ok


def test_operators_find_celery_inside(compose: Compose) -> None:
    assert "1 node online" in compose.inside("worker", "celery", "-A", "worker.app", "status")
    assert "first" in compose.inside("bridge", "trainyard", "ps")


def test_a_killed_worker_s_job_is_resumed(compose: Compose) -> None:
    compose.submit("killed", steps=LONG)
    compose.wait_for_step("killed", 10)
    compose.compose("kill", "worker")  # docker kill
    compose.compose("start", "worker")
    wait_for(
        "the job goes on from its checkpoint",
        lambda: "Resuming from the checkpoint of step" in compose.log("killed"),
    )
    job = compose.wait("killed", "running")
    assert (job["attempt"], job["restarts"]) == (2, 1)
    compose.bridge.cancel("killed", force=True)
    compose.wait("killed", "cancelled")
    compose.wait_at_backend("killed", "cancelled")


def test_stop_leaves_a_checkpointed_job(compose: Compose) -> None:
    compose.submit("stopped", steps=LONG)
    compose.wait_for_step("stopped", 7)
    compose.compose("stop")
    with pytest.raises(BridgeError):
        compose.bridge.status("stopped")
    compose.compose("start")
    wait_for(
        "the job goes on from its checkpoint",
        lambda: "Resuming from the checkpoint of step" in compose_log(compose, "stopped"),
    )
    job = compose.bridge.status("stopped")
    assert (job["attempt"], job["restarts"]) == (2, 0), "put back, not crashed"
    assert resumed_at(compose.log("stopped")) >= 7, "the stop wrote a checkpoint of its own"
    compose.bridge.cancel("stopped", force=True)
    compose.wait("stopped", "cancelled")


def compose_log(compose: Compose, job_id: str) -> str:
    """The job's log, "" while the bridge starts."""
    try:
        return compose.log(job_id)
    except BridgeError:
        return ""


def resumed_at(log: str) -> int:
    """The step of the checkpoint that a job was resumed from last."""
    return int(re.findall(r"Resuming from the checkpoint of step (\d+)", log)[-1])
