"""Cancel: asked, forced, from Flower; nothing of the job is left, and the slot goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from celery import Celery

from tests.support.stack import TERMINAL, Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError


@pytest.fixture
def celery_app(stack: Stack) -> Iterator[Celery]:
    """It names only the broker, as a backend's own application does."""
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


def test_a_training_that_does_not_listen_is_killed_after_its_grace(stack: Stack) -> None:
    stack.submit("deaf", steps=100_000)
    stack.wait_for_step("deaf", 1)
    stack.training_process().suspend()
    stack.bridge.cancel("deaf", force=False)
    stack.wait("deaf", "cancelled")
    assert gone(stack)
    assert "It did not stop in time: its processes are killed" in stack.log("deaf")
    stack.wait_delivered("deaf")
    assert stack.backend.statuses("deaf") == ["running", "cancelled"]


def test_a_second_cancel_says_that_it_has_ended(stack: Stack) -> None:
    with pytest.raises(BridgeError, match="already ended: it is cancelled") as refused:
        stack.bridge.cancel("forced", force=True)
    assert refused.value.status == 409
    with pytest.raises(BridgeError, match="no job 'nobody'") as unknown:
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


@pytest.mark.slow
def test_a_waiting_job_is_cancelled_while_no_worker_lives(stack: Stack) -> None:
    stack.workers[0].stop(30)
    stack.submit("waiting", steps=2)
    stack.bridge.cancel("waiting", force=False)
    assert stack.bridge.status("waiting")["status"] == "cancelled"
    assert stack.redis.keys("trainyard.gpu*") == []
    stack.redis_server.restart()
    stack.workers[0].start()
    stack.submit("next", steps=2)
    stack.wait("next", "completed")
    assert stack.backend.statuses("waiting") == ["cancelled"]


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("with_what", ["completion", "pause", "crash", "stop", "another cancel"])
def test_a_cancel_that_crosses_ends_in_one_terminal_state(stack: Stack, with_what: str) -> None:
    """Asked for at the same moment, 0.1 s and 0.3 s later."""
    crossing = {
        "completion": lambda job_id: stack.wait_for_step(job_id, 30),
        "pause": stack.bridge.pause,
        "crash": lambda _: stack.training_process().kill(),
        "stop": lambda _: stack.workers[0].terminate(),
        "another cancel": lambda job_id: stack.bridge.cancel(job_id, force=False),
    }[with_what]
    steps = 36 if with_what == "completion" else 100_000
    for delay_s in (0.0, 0.1, 0.3):
        job_id = f"{with_what.replace(' ', '-')}-{delay_s:g}"
        stack.submit(job_id, steps=steps)
        wait_for("it steps", lambda job_id=job_id: stack.bridge.status(job_id)["current_step"])
        with contextlib.suppress(AssertionError):  # completed already
            crossing(job_id)
        time.sleep(delay_s)
        with contextlib.suppress(BridgeError):  # ended already
            stack.bridge.cancel(job_id, force=delay_s > 0.2)
        if with_what == "stop":
            stack.workers[0].stop(60)
            stack.workers[0].start()
        job = stack.wait(job_id)
        wait_for("nothing of it lives", lambda: gone(stack))
        stack.wait_delivered(job_id)
        statuses = stack.backend.statuses(job_id)
        assert statuses[-1] == job["status"] == stack.backend.status(job_id)["status"]
        assert sum(status in TERMINAL for status in statuses) == 1
        wanted = {"cancelled", "completed"} if with_what == "completion" else {"cancelled"}
        assert job["status"] in wanted
