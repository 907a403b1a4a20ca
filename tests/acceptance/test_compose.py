"""docker-compose.yml on a real Docker engine: a job, a killed worker, a stop."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import requests

from tests.support.compose import COMPOSE_CHECK, WAIT_S, Compose
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
PASSWORD_FILE = "/run/trainyard/redis-password"


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
        script = f'REDISCLI_AUTH="$(cat {PASSWORD_FILE})" redis-cli config get {name}'
        return compose.inside("redis", "sh", "-c", script).split()[-1]

    assert setting("appendonly") == "yes"
    assert setting("maxmemory-policy") == "noeviction"


def test_no_container_shows_the_password_of_redis(compose: Compose) -> None:
    password = compose.inside("bridge", "cat", PASSWORD_FILE).strip()
    assert len(password) > 40
    assert "NOAUTH" in compose.inside("redis", "redis-cli", "ping")
    for service in ("redis", "worker", "bridge", "flower", "dev-backend"):
        seen = compose.inside(service, "sh", "-c", "env; cat /proc/[0-9]*/cmdline")
        assert password not in seen


def test_only_loopback_is_published(compose: Compose) -> None:
    for service, port in (("bridge", "8000"), ("flower", "5555"), ("dev-backend", "3000")):
        assert compose.compose("port", service, port).startswith("127.0.0.1:")
    assert requests.get(f"http://127.0.0.1:{compose.flower_port}/workers", timeout=20).ok


def test_operators_find_celery_inside(compose: Compose) -> None:
    shown = compose.inside("worker", "celery", "-A", "worker.app", "status")
    worker = f"{compose.project}-worker-1"
    assert f"{worker}-0@{worker}" in shown
    assert "1 node online" in shown


@pytest.mark.parametrize("service", ["worker", "bridge", "flower", "dev-backend"])
def test_commands_work_in_every_container(compose: Compose, service: str) -> None:
    assert "first" in compose.inside(service, "trainyard", "ps")
    found = json.loads(compose.inside(service, "trainyard", "doctor", "--json"))
    wrong = [finding for finding in found["findings"] if finding["level"] == "failure"]
    assert (found["ok"], wrong) == (True, [])


def slots(compose: Compose) -> set[str]:
    """Those whose host is there."""
    shown = compose.inside("bridge", "trainyard", "nodes", "--json")
    return {node["slot"] for node in json.loads(shown)}


def test_a_slot_keeps_its_name_in_a_new_container_and_each_replica_has_its_own(
    compose: Compose,
) -> None:
    project = compose.project
    assert slots(compose) == {f"{project}-worker-1-0"}
    for count in (1, 2):
        compose.compose("up", "-d", "--force-recreate", "--scale", f"worker={count}", "worker")
        names = {f"{project}-worker-{number}-0" for number in range(1, count + 1)}
        wait_for(f"{count} slots", lambda names=names: slots(compose) == names, WAIT_S)
    compose.compose("up", "-d", "--scale", "worker=1", "worker")
    wait_for("one slot", lambda: len(slots(compose)) == 1, WAIT_S)


def test_a_killed_worker_s_job_is_resumed(compose: Compose) -> None:
    compose.submit("killed", steps=LONG)
    compose.wait_for_step("killed", 10)
    compose.compose("kill", "worker")  # docker kill
    compose.compose("start", "worker")
    wait_for(
        "the job goes on from its checkpoint",
        lambda: "Resuming from the checkpoint of step" in compose.log("killed"),
        WAIT_S,
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
    assert set(exit_codes(compose).values()) == {0}
    said = compose.compose("logs", "--no-color")
    assert "Traceback" not in said
    assert "Signal handler" not in said
    with pytest.raises(BridgeError):
        compose.bridge.status("stopped")
    compose.compose("start")
    wait_for(
        "the job goes on from its checkpoint",
        lambda: "Resuming from the checkpoint of step" in compose_log(compose, "stopped"),
        WAIT_S,
    )
    job = compose.bridge.status("stopped")
    assert (job["attempt"], job["restarts"]) == (2, 0), "put back, not crashed"
    assert resumed_at(compose.log("stopped")) >= 7, "the stop wrote a checkpoint of its own"
    compose.bridge.cancel("stopped", force=True)
    compose.wait("stopped", "cancelled")


def exit_codes(compose: Compose) -> dict[str, int]:
    """That of each service's container."""
    shown = compose.compose("ps", "--all", "--format", "json").splitlines()
    return {one["Service"]: one["ExitCode"] for one in map(json.loads, shown)}


def test_a_worker_without_memory_for_its_slot_process_fails_no_job(compose: Compose) -> None:
    """The kernel kills it each time; its jobs wait, and everybody sees why."""
    compose.set(WORKER_MEMORY="450m")
    compose.compose("up", "-d", "worker")
    compose.submit("waits", steps=4)
    slot = f"{compose.project}-worker-1-0"

    def killed() -> bool:
        return "memory of the machine, or of its limit" in out_of_service(compose).get(slot, "")

    wait_for("its slot is out of service with the cause", killed, WAIT_S)
    assert compose.bridge.status("waits")["status"] == "queued"
    assert compose.bridge._call("GET", "/health")["status"] == "degraded"
    with pytest.raises(AssertionError, match="is out of service"):
        compose.inside("worker", "python", "-m", "worker.health")
    compose.set(WORKER_MEMORY="0")
    compose.compose("up", "-d", "worker")
    job = compose.wait("waits", "completed")
    assert job["restarts"] == 0


def out_of_service(compose: Compose) -> dict[str, str]:
    found: dict[str, str] = compose.bridge._call("GET", "/health")["slots_out_of_service"]
    return found


def compose_log(compose: Compose, job_id: str) -> str:
    """The job's log, "" while the bridge starts."""
    try:
        return compose.log(job_id)
    except BridgeError:
        return ""


def resumed_at(log: str) -> int:
    """The step of the checkpoint that a job was resumed from last."""
    return int(re.findall(r"Resuming from the checkpoint of step (\d+)", log)[-1])
