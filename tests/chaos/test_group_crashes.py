"""Processes die while a group is admitted or what was held is sent: all run, and each once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_soak import WITNESS
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError

POINTS = (
    *("before-the-admission", "after-the-admission"),
    *("before-the-enqueue", "after-the-enqueue"),
    *("before-the-dispatch", "after-the-dispatch"),
)
"""The last two of a courier: the jobs wait for another."""
GRID = {"seed": [1, 2, 3]}


def until(stack: Stack, what: str, condition: Callable[[], object]) -> None:
    """Wait, and start again who died, as a launcher does."""

    def reached() -> bool:
        for child in (stack.bridge_process, *stack.workers):
            child.ensure_running()
        return bool(condition())

    wait_for(what, reached)


def start(stack: Stack, body: dict[str, Any]) -> None:
    """Until there is an answer."""

    def answered() -> bool:
        try:
            return bool(stack.bridge.start(body)["success"])
        except BridgeError:
            return False

    until(stack, f"{body['execution_id']} is admitted", answered)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_group_is_there_once_whoever_died(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(WITNESS), "CHAOS_WITNESS": str(tmp_path)}
    with Stack(CRASH_FOLDER=str(tmp_path), LEASE_SECONDS="3", **environment) as stack:
        for point in POINTS:
            body = stack.body(point, steps=2, data={"eval_split": 0}, job_token="tok", sweep=GRID)
            body["config"]["training"] |= {"eval_strategy": "no", "save_strategy": "no"}
            if point.endswith("dispatch"):
                first = {name: value for name, value in body.items() if name != "sweep"}
                first["execution_id"] = f"{point}-first"
                stack.backend.create_job(first["execution_id"], "tok", body["config"])
                start(stack, first)
                body["after"] = [first["execution_id"]]
            jobs = [f"{point}-{number}" for number in (1, 2, 3)]
            for job_id in jobs:
                stack.backend.create_job(job_id, "tok", body["config"])
            (tmp_path / point).touch()
            start(stack, body)
            for job_id in jobs:
                until(stack, f"{job_id} ends", lambda job_id=job_id: ended(stack, job_id))
            until(stack, f"{point} is struck", lambda point=point: not (tmp_path / point).exists())
            for job_id in jobs:
                job = stack.store.get(job_id)
                assert job is not None
                assert (job.status, job.attempt) == ("completed", 1), (point, job)
                until(stack, "it is told", lambda job_id=job_id: told(stack, job_id))
                assert stack.backend.statuses(job_id) == ["running", "completed"]


def ended(stack: Stack, job_id: str) -> bool:
    job = stack.store.get(job_id)
    return job is not None and job.status in ("completed", "failed")


def told(stack: Stack, job_id: str) -> bool:
    return stack.redis.zscore("trainyard:undelivered", job_id) is None
