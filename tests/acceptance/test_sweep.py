"""A grid of six jobs on a real yard, one of which fails; everything dies in the middle."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for

RATES = [1e-3, 2e-3, 1e30, 3e-3, 4e-3, 5e-3]
JOBS = [f"night-{number}" for number in range(1, 7)]
FAILS = JOBS[2]
TOKEN = "tok-of-the-sweep"  # a test's


def prepared(stack: Stack) -> set[Path]:
    return set((stack.home / "cache" / "datasets").rglob("*.arrow"))


def lose_power(stack: Stack) -> None:
    """Every process ends at one moment, Redis too, and is started again."""
    stack.redis_server.kill()
    for process in stack.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    services = (stack.bridge_process, *stack.workers)
    wait_for(
        "nothing lives",
        lambda: not stack.processes() and not any(service.pid for service in services),
    )
    stack.redis_server.start()
    for service in services:
        service.start()
    wait_for("the bridge answers", stack.bridge_answers)


@pytest.mark.slow
def test_all_end_as_they_should_and_the_data_are_prepared_once() -> None:
    with Stack() as stack:
        body = stack.body("night", job_token=TOKEN, sweep={"training.learning_rate": RATES})
        for job_id in JOBS:
            stack.backend.create_job(job_id, TOKEN, body["config"])
        assert stack.bridge.start(body)["jobs"] == JOBS
        stack.submit("chained", steps=2, model=f"job:{JOBS[-1]}")
        stack.submit("in-vain", steps=2, after=[JOBS[-1], FAILS])

        stack.wait(JOBS[0], "completed")
        first = prepared(stack)
        assert first
        stack.wait_for_step(JOBS[1], 1)
        lose_power(stack)
        assert stack.bridge.start(body)["is_new"] is False

        stack.wait("chained", "completed")
        group = stack.bridge.group("night")
        states = {job["job_id"]: job["status"] for job in group["jobs"]}
        assert states == {job_id: "failed" if job_id == FAILS else "completed" for job_id in JOBS}
        assert group["measure"] == "best_eval_loss"
        evals = {job["job_id"]: job["best_eval_loss"] for job in group["jobs"] if job["loss"]}
        known = {job_id: value for job_id, value in evals.items() if value is not None}
        assert group["best"] == min(known, key=lambda job_id: known[job_id])
        assert stack.wait(FAILS, "failed")["error_kind"] == "diverged"
        assert prepared(stack) == first

        why = stack.wait("in-vain", "failed")
        assert why["error_kind"] == "awaited_job"
        assert f"after the job {FAILS}, which is failed" in why["error"]
        for job_id in (*JOBS, "chained", "in-vain"):
            stack.wait_delivered(job_id)
            assert stack.backend.statuses(job_id)[-1] == stack.bridge.status(job_id)["status"]
        assert [stack.bridge.status(job_id)["attempt"] for job_id in JOBS[2:]] == [1] * 4
