"""Several slots: side by side, by priority, restarted, with homes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.flower import celery_command
from tests.support.stack import Stack
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(slots=2) as running:
        yield running


def trainyard(stack: Stack, *command: str) -> str:
    """What a command prints."""
    return subprocess.check_output(
        [sys.executable, "-m", "trainyard.cli.main", *command],
        env={**os.environ, **stack.environment},
        text=True,
        timeout=60,
    )


def start_order(stack: Stack, *job_ids: str) -> list[str]:
    started = {job_id: stack.bridge.status(job_id)["started_at"] for job_id in job_ids}
    return sorted(job_ids, key=lambda job_id: started[job_id])


def test_two_jobs_run_side_by_side_and_a_third_waits(stack: Stack) -> None:
    for job_id in ("left", "right", "third"):
        stack.submit(job_id, steps=100_000)
    wait_for(
        "two run", lambda: len(stack.bridge._call("GET", "/api/training/queue")["running"]) == 2
    )
    queue = stack.bridge._call("GET", "/api/training/queue")
    assert {row["slot"] for row in queue["running"]} == {"test-0", "test-1"}
    (waiting,) = queue["queued"]
    assert waiting["queue_position"] == 1
    for job_id in ("left", "right", "third"):
        stack.bridge.cancel(job_id, force=True)
        stack.wait(job_id, "cancelled")


def test_a_second_worker_of_a_slot_refuses_beside_the_first(stack: Stack) -> None:
    """By the command of Celery's own documentation, which names no slot: it would be the first."""
    done = subprocess.run(
        celery_command("worker", "-Q", "gpu", "-c", "1"),
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"slot test-0 has a worker already: process {stack.workers[0].pid} on" in done.stderr
    assert stack.slots_alive() == 2


def test_a_drained_slot_gives_its_job_to_the_other(stack: Stack) -> None:
    stack.submit("moved", steps=100_000)
    stack.wait_for_step("moved", 5)
    slot = str(stack.bridge.status("moved")["slot"])
    answer = json.loads(trainyard(stack, "drain", slot, "--checkpoint", "--json"))
    assert answer == {"name": slot, "drained": True, "put_back": ["moved"]}
    wait_for("it goes on", lambda: "Resuming from the checkpoint" in stack.log("moved"))
    job = stack.wait("moved", "running")
    assert job["slot"] != slot
    assert (job["attempt"], job["restarts"]) == (2, 0)
    assert "Put back into the queue: its slot was drained." in stack.log("moved")
    trainyard(stack, "undrain", slot)
    stack.bridge.cancel("moved", force=True)
    stack.wait("moved", "cancelled")
    wait_for("both slots take jobs", lambda: stack.slots_alive() == 2)


def test_lower_priorities_run_first_and_force_start_moves_to_the_head(stack: Stack) -> None:
    for job_id in ("long-1", "long-2"):
        stack.submit(job_id, steps=100_000)
        stack.wait(job_id, "running")
    for job_id, priority in (("low", 9), ("normal", 5), ("high", 0), ("forced", 9)):
        stack.submit(job_id, steps=2, priority=priority)
    order = ["high", "normal", "low", "forced"]
    assert [stack.bridge.status(job_id)["queue_position"] for job_id in order] == [1, 2, 3, 4]
    answer = stack.bridge.force_start("forced")
    assert answer["queue_position"] == 1
    order = ["forced", "high", "normal", "low"]
    assert [stack.bridge.status(job_id)["queue_position"] for job_id in order] == [1, 2, 3, 4]
    stack.bridge.cancel("long-1", force=True)
    for job_id in order:
        stack.wait(job_id, "completed")
    assert start_order(stack, *order) == order
    stack.bridge.cancel("long-2", force=True)
    stack.wait("long-2", "cancelled")


def test_force_start_queues_a_cancelled_job_again(stack: Stack) -> None:
    answer = stack.bridge.force_start("long-2", from_start=True)
    assert answer["previous_status"] == "cancelled"
    stack.wait("long-2", "running")
    stack.wait_for_step("long-2", 1)
    stack.bridge.cancel("long-2", force=True)
    stack.wait("long-2", "cancelled")
    stack.wait_delivered("long-2")
    assert stack.backend.statuses("long-2") == ["running", "cancelled", "running", "cancelled"]


def test_the_job_of_a_killed_worker_goes_on_on_the_other_slot(stack: Stack) -> None:
    stack.submit("mover", steps=40, training={"eval_strategy": "no"}, data={"eval_split": 0})
    checkpoints = stack.home / "jobs/mover/checkpoints"
    wait_for("a checkpoint", lambda: list(checkpoints.glob("*/manifest.json")))
    number = int(stack.bridge.status("mover")["slot"].rpartition("-")[2])
    stack.kill_worker(number)
    job = stack.wait("mover", "completed")
    assert job["slot"] == f"test-{1 - number}"
    assert "Resuming from the checkpoint of step" in stack.log("mover")
    stack.workers[number].start()
    wait_for("both slots live", lambda: stack.slots_alive() == 2)


@pytest.mark.slow
def test_a_job_that_goes_on_elsewhere_leaves_no_parked_process(stack: Stack) -> None:
    for job_id in ("parked", "neighbour"):
        stack.submit(job_id, steps=100_000)
        stack.wait_for_step(job_id, 1)
    stack.bridge.pause("parked")
    stack.wait("parked", "paused")
    assert len(stack.attempt_processes("keeper")) == 2, "it stays in its process"
    stack.submit("filler", steps=100_000)
    stack.wait("filler", "running")
    stack.bridge.cancel("neighbour", force=True)
    stack.wait("neighbour", "cancelled")
    stack.bridge.resume("parked")
    stack.wait_for_step("parked", 2)
    wait_for("filler and it alone live", lambda: len(stack.attempt_processes("keeper")) == 2)
    for job_id in ("parked", "filler"):
        stack.bridge.cancel(job_id, force=True)
        stack.wait(job_id, "cancelled")
