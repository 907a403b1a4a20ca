"""Operators' own tools, which are Celery's: Flower, ``inspect``, ``status``, ``worker``."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
import requests
from celery import Celery

from tests.support.flower import PASSWORD, Flower, celery_command
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess
from trainyard.contract.names import BROKER_PREFIX
from trainyard.scheduling.queue import keys_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture(scope="module")
def flower(stack: Stack) -> Iterator[Flower]:
    with Flower(stack) as running:
        yield running


def celery(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        celery_command(*arguments),
        env={**os.environ, **stack.environment, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_flower_shows_every_attempt(stack: Stack, flower: Flower) -> None:
    stack.submit("seen", steps=100_000)
    stack.wait_for_step("seen", 1)
    running = flower.attempt("seen:1", "STARTED")
    assert running["name"] == "tasks.train"
    assert running["kwargs"] == "{'name': 'seen', 'model': 'tiny', 'user': 'u1'}"
    assert running["worker"].startswith("test-0@")
    stack.bridge.pause("seen")
    stack.wait("seen", "paused")
    paused = flower.attempt("seen:1", "SUCCESS")
    assert paused["runtime"] > 0
    stack.bridge.resume("seen", None)
    stack.wait("seen", "running")
    flower.attempt("seen:2", "STARTED")
    stack.bridge.cancel("seen", force=True)
    stack.wait("seen", "cancelled")


def test_flower_keeps_its_history_over_a_restart(stack: Stack, flower: Flower) -> None:
    stack.submit("kept", steps=2)
    flower.attempt("kept:1", "SUCCESS")
    flower.restart()
    flower.attempt("kept:1", "SUCCESS")


def test_flower_shows_no_secret(stack: Stack, flower: Flower) -> None:
    token = stack.submit("secretive", steps=100_000)
    stack.wait_for_step("secretive", 1)
    flower.attempt("secretive:1", "STARTED")
    pages = [
        flower.get(path, **query).text
        for path, query in (
            ("/api/tasks", {}),
            ("/api/task/info/secretive:1", {}),
            ("/task/secretive:1", {}),
            ("/tasks", {}),
            ("/workers", {}),
            ("/api/workers", {"refresh": "1"}),
            ("/broker", {}),
            ("/metrics", {}),
        )
    ]
    shown = "\n".join([*pages, flower.log(), celery(stack, "inspect", "active").stdout])
    stack.bridge.cancel("secretive", force=True)
    stack.wait("secretive", "cancelled")
    assert "secretive:1" in shown
    for secret in (token, "stack-password", PASSWORD):
        assert secret not in shown


def test_another_application_in_the_database_is_left_alone(stack: Stack) -> None:
    with Celery("other", broker=stack.environment["REDIS_URL"]) as other:
        for n in range(3):
            other.send_task("other.task", queue="gpu", task_id=f"other-{n}")
        assert other.control.ping(timeout=1) == []
        other.control.broadcast("shutdown")
        stack.submit("beside", steps=2)
        stack.wait("beside", "completed")
        assert stack.redis.llen("gpu") == 3
        stack.redis.delete("gpu")
    assert celery(stack, "inspect", "ping").returncode == 0


def test_a_celery_client_s_token_shows_in_no_log_and_not_in_flower(
    stack: Stack, flower: Flower
) -> None:
    token = "tok-0123456789"
    request = {"request": {"execution_id": "mine", "job_token": token}}
    with Celery("client", broker=stack.environment["REDIS_URL"]) as client:
        client.conf.task_send_sent_event = True
        client.conf.broker_transport_options = {"global_keyprefix": BROKER_PREFIX}
        client.send_task("tasks.submit", kwargs=request, queue="requests", task_id="right")
        client.send_task("tasks.submit", kwargs=request, queue="gpu", task_id="wrong")
        client.send_task("tasks.submit", args=[json.dumps(request)], queue="gpu", task_id="text")
    flower.attempt("right", "PENDING")
    wait_for(
        "the worker refuses them, and says so once a while",
        lambda: (
            "Received unregistered task" in stack.workers[0].recent_output(1000)
            and not sum(stack.redis.llen(key) for key in keys_of("gpu"))
        ),
    )
    shown = stack.workers[0].recent_output(1000) + flower.get("/api/tasks").text
    assert "mine" in shown
    assert token not in shown


@pytest.mark.parametrize(
    "path", ["/", "/workers", "/tasks", "/api/tasks", "/api/workers", "/metrics"]
)
def test_flower_asks_for_its_password(flower: Flower, path: str) -> None:
    assert requests.get(flower.url + path, timeout=20).status_code == 401
    wrong = requests.get(flower.url + path, auth=("operator", "wrong"), timeout=20)
    assert wrong.status_code == 401


@pytest.mark.parametrize(("signal", "shown"), [("SIGTERM", "SUCCESS"), ("SIGKILL", "REVOKED")])
def test_terminate_in_flower_is_a_cancel(
    stack: Stack, flower: Flower, signal: str, shown: str
) -> None:
    job_id = f"terminated-{signal}"
    stack.submit(job_id, steps=100_000)
    stack.wait_for_step(job_id, 1)
    flower.post(f"/api/task/revoke/{job_id}:1", terminate="true", signal=signal)
    stack.wait(job_id, "cancelled")
    assert not stack.training_processes()
    stack.wait_delivered(job_id)
    assert stack.backend.statuses(job_id) == ["running", "cancelled"]
    flower.attempt(f"{job_id}:1", shown)


def test_flower_without_a_password_takes_no_orders(stack: Stack) -> None:
    with Flower(stack, password=None) as flower:
        page = requests.get(f"{flower.url}/workers", timeout=20)
        assert page.ok
        assert "#task-terminate, #task-revoke { display: none; }" in page.text
        revoke = f"{flower.url}/api/task/revoke/any:1"
        assert requests.post(revoke, timeout=20).status_code == 401


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--address=0.0.0.0"], {}, "0.0.0.0"),
        (["--address=0.0.0.0"], {"FLOWER_BASIC_AUTH": ""}, "0.0.0.0"),
        ([], {"FLOWER_ADDRESS": "0.0.0.0"}, "0.0.0.0"),
        (["--address=0.0.0.0"], {"FLOWER_PUBLISHED_ON": "192.0.2.7"}, "192.0.2.7"),
    ],
)
def test_flower_without_a_password_does_not_leave_loopback(
    stack: Stack, arguments: list[str], environment: dict[str, str], named: str
) -> None:
    done = celery(stack, "flower", *arguments, **environment)
    assert done.returncode != 0
    assert f"flower: {named} is reachable from other machines: set FLOWER_BASIC_AUTH" in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect_and_status_answer_while_a_job_runs(stack: Stack) -> None:
    stack.submit("inspected", steps=100_000)
    stack.wait_for_step("inspected", 1)
    active = celery(stack, "inspect", "active")
    status = celery(stack, "status")
    stack.bridge.cancel("inspected", force=True)
    stack.wait("inspected", "cancelled")
    assert active.returncode == status.returncode == 0
    assert "'id': 'inspected:1'" in active.stdout
    assert "'name': 'tasks.train'" in active.stdout
    assert "1 node online" in active.stdout
    assert "test-0@" in status.stdout
    assert "1 node online" in status.stdout


def test_a_revoke_of_a_waiting_job_cancels_it_at_once_and_for_good(stack: Stack) -> None:
    stack.submit("holds", steps=100_000)
    stack.wait_for_step("holds", 1)
    stack.submit("revoked", steps=4)
    answer = celery(stack, "control", "revoke", "revoked:1")
    assert answer.returncode == 0
    assert stack.bridge.status("revoked")["status"] == "cancelled"
    stack.wait_delivered("revoked")
    assert stack.backend.statuses("revoked") == ["cancelled"]
    stack.workers[0].stop(60)
    stack.workers[0].start()
    stack.wait("holds", "running")
    stack.bridge.cancel("holds", force=True)
    stack.wait("holds", "cancelled")
    stack.submit("after", steps=2)
    stack.wait("after", "completed")
    assert stack.bridge.status("revoked")["status"] == "cancelled"


def test_a_remote_shutdown_puts_the_job_back_first(stack: Stack) -> None:
    stack.submit("shut", steps=100_000)
    stack.wait_for_step("shut", 1)
    celery(stack, "control", "shutdown")
    wait_for("the worker has ended", lambda: stack.workers[0].pid is None)
    assert stack.workers[0].returncode == 0
    job = stack.bridge.status("shut")
    assert (job["status"], job["restarts"], job["attempt"]) == ("queued", 0, 2)
    stack.workers[0].start()
    stack.wait("shut", "running")
    stack.bridge.cancel("shut", force=True)
    stack.wait("shut", "cancelled")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("pool/grow", {"n": "1"}),
        ("pool/shrink", {"n": "1"}),
        ("pool/autoscale", {"min": "1", "max": "3"}),
        ("pool/restart", {}),
    ],
)
def test_what_would_break_a_slot_is_refused(
    stack: Stack, flower: Flower, path: str, query: dict[str, str]
) -> None:
    worker = f"test-0@{socket.gethostname()}"
    flower.get("/api/workers", refresh="1")
    answer = requests.post(
        f"{flower.url}/api/worker/{path}/{worker}",
        params=query,
        auth=("operator", PASSWORD),
        timeout=20,
    )
    assert answer.status_code == 403
    assert " is refused: " in answer.text
    page = flower.get(f"/worker/{worker}").text
    assert "<style>[id^=worker-pool-]" in page
    assert "#task-terminate" not in page, "with a password it acts"


def test_a_cancelled_consumer_is_a_drain_of_the_whole_slot(stack: Stack) -> None:
    celery(stack, "control", "cancel_consumer", "gpu")

    def idle() -> dict[str, str]:
        found: dict[str, str] = stack.bridge._call("GET", "/health")["slots_out_of_service"]
        return found

    wait_for("everybody sees it", lambda: "cancel_consumer" in idle().get("test-0", ""))
    assert "'name': 'gpu" not in celery(stack, "inspect", "active_queues").stdout
    stack.submit("drained", steps=2)
    assert stack.bridge.status("drained")["status"] == "queued"
    celery(stack, "control", "add_consumer", "gpu")
    stack.wait("drained", "completed")
    wait_for("everybody sees that too", lambda: not idle())
    assert "'name': 'gpu.test-0'" in celery(stack, "inspect", "active_queues").stdout


def test_the_standard_command_starts_a_whole_worker(stack: Stack) -> None:
    stack.workers[0].stop(30)
    by_hand = ChildProcess(
        "worker by hand",
        celery_command("worker", "-Q", "gpu", "-c", "1"),
        env=stack.environment,
        log_file=stack.home / "by-hand.log",
    )
    by_hand.start()
    try:
        wait_for("the slot is alive", lambda: stack.slots_alive() == 1)
        stack.submit("by-hand", steps=4)
        stack.wait("by-hand", "completed")
        stack.submit("put-back", steps=100_000)
        stack.wait_for_step("put-back", 1)
    finally:
        by_hand.stop(60)
    assert by_hand.returncode == 0
    assert stack.bridge.status("put-back")["status"] == "queued"
    stack.bridge.cancel("put-back", force=True)
    stack.workers[0].start()
    wait_for("the slot is alive again", lambda: stack.slots_alive() == 1)
