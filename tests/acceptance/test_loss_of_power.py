"""Every process dies at the same moment, Redis too, as when a machine loses its power."""

from __future__ import annotations

import contextlib

import psutil
import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for


@pytest.mark.slow
@pytest.mark.parametrize("redis_too", [False, True], ids=["redis lives", "redis dies too"])
def test_a_job_goes_on_from_its_last_good_checkpoint(redis_too: bool) -> None:
    with Stack() as stack:
        training = {"eval_strategy": "no", "save_steps": 10}
        stack.submit("running", steps=300, training=training, data={"eval_split": 0})
        stack.submit("waiting", steps=2)
        checkpoints = stack.home / "jobs/running/checkpoints"
        wait_for("a checkpoint", lambda: list(checkpoints.glob("*/manifest.json")))
        kinds = ("pool child", "slot process", "courier", "keeper", "training")
        assert all(stack.attempt_processes(kind) for kind in kinds)
        if redis_too:
            stack.redis_server.kill()
        for process in stack.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        services = (stack.bridge_process, *stack.workers)
        wait_for(
            "nothing lives",
            lambda: not stack.processes() and not any(service.pid for service in services),
        )
        if redis_too:
            stack.redis_server.start()
        for service in services:
            service.start()
        wait_for("the bridge answers", stack.bridge_answers)
        job = stack.wait("running", "completed")
        assert (job["attempt"], job["restarts"]) == (2, 1)
        assert "Resuming from the checkpoint of step" in stack.log("running")
        job = stack.wait("waiting", "completed")
        assert (job["attempt"], job["restarts"]) == (1, 0)
        for job_id in ("running", "waiting"):
            stack.wait_delivered(job_id)
        assert stack.backend.statuses("running") == ["running", "running", "completed"]
        assert stack.backend.statuses("waiting") == ["running", "completed"]
