"""Crashes and stops of a running job: it goes on, or it is failed with a reason."""

from __future__ import annotations

import psutil
import pytest

from tests.support.stack import Stack, kill
from tests.support.waiting import wait_for


def run_until_checkpoint(stack: Stack, job_id: str, steps: int = 60) -> None:
    """A job with a verified checkpoint at step 4 that still has far to go."""
    stack.submit(job_id, steps=steps, training={"eval_strategy": "no"}, data={"eval_split": 0})
    wait_for(
        "a checkpoint is written",
        lambda: list((stack.home / "jobs" / job_id).glob("checkpoints/*/manifest.json")),
    )


def test_a_killed_training_goes_on_from_its_checkpoint(stack: Stack) -> None:
    run_until_checkpoint(stack, "killed")
    kill(stack.training_process().pid)
    job = stack.wait("killed", "completed")
    assert (job["attempt"], job["restarts"]) == (2, 1)
    log = stack.log("killed")
    assert "killed by SIGKILL" in "\n".join(
        stack.bridge.logs("killed", limit=1000, offset=0)["logs"]
    )
    assert "Resuming from the checkpoint of step" in log
    stack.wait_delivered("killed")
    assert stack.backend.statuses("killed") == ["running", "running", "completed"]


def test_a_job_that_is_killed_each_time_fails_with_a_reason(stack: Stack) -> None:
    stack.submit("doomed", steps=100_000)
    stack.submit("neighbour", steps=2)
    for victim in ("its supervisor", "itself", "itself"):
        attempt = stack.bridge.status("doomed")["attempt"]
        pid = stack.training_process().pid
        kill(pid if victim == "itself" else stack.worker_child(0))
        wait_for("it is gone", lambda pid=pid: not psutil.pid_exists(pid))
        wait_for(
            "the next attempt or the end",
            lambda attempt=attempt: (
                stack.bridge.status("doomed")["attempt"] > attempt
                or stack.bridge.status("doomed")["status"] == "failed"
            ),
        )
    job = stack.wait("doomed", "failed")
    assert job["error_kind"] == "worker_lost"
    assert "SIGKILL" in job["error"]
    assert "started 3 times" in job["error"]
    stack.wait_delivered("doomed")
    assert stack.backend.status("doomed")["error"] == job["error"]
    neighbour = stack.wait("neighbour", "completed")
    assert (neighbour["attempt"], neighbour["restarts"]) == (1, 0)


@pytest.mark.parametrize("which", ["worker", "pool child"])
def test_a_killed_worker_process_loses_no_job(stack: Stack, which: str) -> None:
    job_id = f"lost-{which.replace(' ', '-')}"
    run_until_checkpoint(stack, job_id)
    if which == "worker":
        stack.kill_worker(0)
    else:
        kill(stack.worker_child(0))
    wait_for("its training is gone", lambda: not stack.training_processes())
    if which == "worker":
        stack.workers[0].start()
    job = stack.wait(job_id, "completed")
    assert job["restarts"] == 1
    assert "Resuming from the checkpoint of step" in stack.log(job_id)


@pytest.mark.slow
def test_slot_processes_that_die_fail_no_job(stack: Stack) -> None:
    """Once more often than a job may be restarted; the slot proves itself before each attempt."""
    run_until_checkpoint(stack, "slotless", steps=3000)
    for lost in (1, 2, 3):
        kill(stack.slot_process(0))
        wait_for("no job is taken", lambda: stack.slots_alive() == 0)
        wait_for("it goes on", lambda lost=lost: stack.bridge.status("slotless")["attempt"] > lost)
        stack.training_process()  # until then it waits for whichever slot process comes next
    job = stack.bridge.status("slotless")
    assert job["restarts"] == 0
    assert "The slot process ended, and the training with it." in stack.log("slotless")
    stack.bridge.cancel("slotless", force=True)
    stack.wait("slotless", "cancelled")


def test_a_worker_told_to_stop_puts_its_job_back_with_a_checkpoint(stack: Stack) -> None:
    run_until_checkpoint(stack, "stopped", steps=3000)
    stack.workers[0].stop(60)
    assert stack.workers[0].returncode == 0, "it left by itself"
    job = stack.bridge.status("stopped")
    assert (job["status"], job["attempt"], job["restarts"]) == ("queued", 2, 0)
    assert not stack.training_processes()
    stack.workers[0].start()
    wait_for(
        "it goes on from the checkpoint",
        lambda: "Resuming from the checkpoint of step" in stack.log("stopped"),
    )
    stack.bridge.cancel("stopped", force=True)
    stack.wait("stopped", "cancelled")


@pytest.mark.slow
def test_a_message_that_the_broker_lost_is_sent_again(stack: Stack) -> None:
    stack.workers[0].stop(60)
    stack.submit("forgotten", steps=2)
    assert stack.redis.delete(*stack.redis.keys("trainyard.gpu*")) == 1
    stack.workers[0].start()
    stack.wait("forgotten", "completed")


def test_a_message_that_comes_twice_runs_once(stack: Stack) -> None:
    stack.submit("busy", steps=100_000)
    stack.wait("busy", "running")
    stack.submit("twice", steps=2)
    (key,) = stack.redis.keys("trainyard.gpu*")
    message = stack.redis.lrange(key, 0, -1)[0]
    stack.redis.lpush(key, message)
    stack.bridge.cancel("busy", force=True)
    stack.wait("twice", "completed")
    wait_for("the second message is taken", lambda: stack.redis.keys("trainyard.gpu*") == [])
    stack.submit("behind", steps=2)
    stack.wait("behind", "completed")
    stack.wait_delivered("twice")
    assert stack.backend.statuses("twice") == ["running", "completed"]
