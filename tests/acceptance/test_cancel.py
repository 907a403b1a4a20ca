"""Cancel: asked, forced, from Flower; nothing of the job is left, and the slot goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from backend_bridge.bridge_client import BridgeError
from tests.support.stack import Stack, wait_for


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture
def celery_app(stack: Stack) -> Iterator[Celery]:
    app = Celery("operator", broker=stack.redis_server.url)
    yield app
    app.close()


def gone(stack: Stack) -> bool:
    return not stack.training_processes()


def test_a_running_job_stops_at_its_next_step(stack: Stack) -> None:
    stack.submit("asked", steps=100_000)
    stack.wait_for_step("asked", 1)
    answer = stack.bridge.cancel("asked", force=False)
    assert answer["success"]
    assert answer["previous_status"] == "running"
    stack.wait("asked", "cancelled")
    wait_for("its processes are gone", lambda: gone(stack))
    stack.wait_delivered("asked")
    assert stack.backend.statuses("asked") == ["running", "cancelled"]


def test_a_forced_cancel_kills_and_reports_only_then(stack: Stack) -> None:
    stack.submit("forced", steps=100_000)
    stack.wait_for_step("forced", 1)
    assert stack.training_processes()
    child = stack.worker_child(0)
    stack.bridge.cancel("forced", force=True)
    stack.wait("forced", "cancelled")
    assert gone(stack)
    assert stack.worker_child(0) == child, "the slot's pool child lives on"
    stack.wait_delivered("forced")
    assert stack.backend.statuses("forced") == ["running", "cancelled"]


def test_a_second_cancel_says_that_it_has_ended(stack: Stack) -> None:
    with pytest.raises(BridgeError, match="already ended: it is cancelled") as refused:
        stack.bridge.cancel("forced", force=True)
    assert refused.value.status == 409
    with pytest.raises(BridgeError, match="no job nobody") as unknown:
        stack.bridge.cancel("nobody", force=True)
    assert unknown.value.status == 404


@pytest.mark.parametrize("number", ["SIGTERM", "SIGKILL"])
def test_a_revoke_from_outside_is_a_cancel(stack: Stack, celery_app: Celery, number: str) -> None:
    job_id = f"revoked-{number}"
    stack.submit(job_id, steps=100_000)
    stack.wait_for_step(job_id, 1)
    celery_app.control.revoke(f"{job_id}:1", terminate=True, signal=number)
    stack.wait(job_id, "cancelled")
    assert gone(stack)
    stack.wait_delivered(job_id)
    assert stack.backend.statuses(job_id) == ["running", "cancelled"]


def test_a_revoked_job_that_waits_is_cancelled_when_its_turn_comes(
    stack: Stack, celery_app: Celery
) -> None:
    stack.submit("before", steps=100_000)
    stack.wait("before", "running")
    stack.submit("revoked-waiting", steps=2)
    celery_app.control.revoke("revoked-waiting:1", reply=True, timeout=2)
    stack.bridge.cancel("before", force=True)
    stack.wait("revoked-waiting", "cancelled")
    stack.wait_delivered("revoked-waiting")
    assert stack.backend.statuses("revoked-waiting") == ["cancelled"]


def test_a_waiting_job_is_cancelled_while_no_worker_lives(stack: Stack) -> None:
    stack.workers[0].stop(30)
    stack.submit("waiting", steps=2)
    stack.bridge.cancel("waiting", force=False)
    assert stack.bridge.status("waiting")["status"] == "cancelled"
    assert stack.redis.keys("gpu*") == []
    stack.workers[0].start()
    stack.submit("next", steps=2)
    stack.wait("next", "completed")
    assert stack.backend.statuses("waiting") == ["cancelled"]


def test_cancel_reaches_a_job_whose_worker_was_killed(stack: Stack) -> None:
    stack.submit("orphan", steps=100_000)
    stack.wait_for_step("orphan", 1)
    stack.kill_worker(0)
    stack.bridge.cancel("orphan", force=True)
    stack.wait("orphan", "cancelled")
    assert gone(stack)
    stack.workers[0].start()
    stack.submit("after-orphan", steps=2)
    stack.wait("after-orphan", "completed")
