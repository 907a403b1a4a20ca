"""Workers that share Redis and nothing else, as on several hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.stack import Stack
from tests.support.waiting import WAIT_S, wait_for
from trainyard.scheduling.slots import SlotRegistry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(slots=2, separate_homes=True) as running:
        yield running


def pause_somewhere(stack: Stack, job_id: str) -> int:
    """A paused job with a checkpoint; the number of the slot that it ran on."""
    stack.submit(job_id, steps=60)
    stack.wait_for_step(job_id, 3)
    stack.bridge.pause(job_id)
    return int(stack.wait(job_id, "paused")["slot"].rpartition("-")[2])


def test_a_job_resumes_on_the_host_that_has_its_checkpoint(stack: Stack) -> None:
    number = pause_somewhere(stack, "homely")
    stack.submit("other", steps=100_000)
    wait_for("the other job runs", lambda: stack.bridge.status("other")["status"] == "running")
    answer = stack.bridge.resume("homely")
    assert "to go on from checkpoints/checkpoint-" in answer["message"]
    if stack.bridge.status("other")["slot"] == f"test-{number}":
        stack.bridge.cancel("other", force=True)
    assert stack.wait("homely", "completed")["slot"] == f"test-{number}"
    if stack.bridge.status("other")["status"] == "running":
        stack.bridge.cancel("other", force=True)
    stack.wait("other", "cancelled")


def start(stack: Stack, number: int) -> None:
    stack.workers[number].start()
    wait_for("the slot lives", lambda: f"test-{number}" in SlotRegistry(stack.redis).names_alive())


def test_where_that_host_is_away_the_job_waits_until_a_person_says_otherwise(stack: Stack) -> None:
    number = pause_somewhere(stack, "homeless")
    stack.workers[number].stop(60)
    wait_for("the slot is gone", lambda: stack.slots_alive() == 1)
    answer = stack.bridge.resume("homeless")
    assert "waits for host test, which has its checkpoints" in answer["message"]
    stack.submit("passes", steps=2)
    stack.wait("passes", "completed")
    job = stack.bridge.status("homeless")
    assert job["status"] == "queued"
    assert job["waiting_reason"].startswith("waits for host test")
    assert job["estimated_start_seconds"] is None
    stack.bridge.force_start("homeless", from_start=True)
    assert stack.wait("homeless", "completed")["slot"] == f"test-{1 - number}"
    log = (stack.home_of(1 - number) / "jobs/homeless/train.log").read_text()
    assert "It starts from the beginning, as was asked: its checkpoints lie elsewhere" in log
    start(stack, number)


def step_of(stack: Stack, job_id: str) -> int:
    return int(stack.bridge.status(job_id)["current_step"])


@pytest.mark.timeout(600)
def test_the_steps_of_an_upgrade_with_two_homes(stack: Stack) -> None:
    """docs/how-to/upgrading.md: all hosts stop, then one after the other starts."""
    for job_id in ("one", "two"):
        stack.submit(job_id, steps=100_000)
    for job_id in ("one", "two"):  # two trainings start at once
        wait_for(f"{job_id} trains", lambda name=job_id: step_of(stack, name) >= 5, 2 * WAIT_S)
    slots = {job_id: stack.bridge.status(job_id)["slot"] for job_id in ("one", "two")}
    assert set(slots.values()) == {"test-0", "test-1"}
    for worker in stack.workers:
        worker.stop(60)
    job_of = {int(slot.rpartition("-")[2]): job_id for job_id, slot in slots.items()}
    start(stack, 0)
    stack.wait(job_of[0], "running", timeout_s=2 * WAIT_S)
    stack.submit("third", steps=2)
    stack.bridge.pause(job_of[0])
    stack.wait("third", "completed", timeout_s=2 * WAIT_S)
    assert stack.bridge.status(job_of[1])["status"] == "queued", "a free slot took it not"
    start(stack, 1)
    log = stack.home_of(1) / "jobs" / job_of[1] / "train.log"
    resumed = r"Resuming from the checkpoint of step (\d+)"
    steps = wait_for("it goes on", lambda: re.findall(resumed, log.read_text()), 2 * WAIT_S)
    assert int(steps[-1]) >= 5
    for job_id in slots:
        stack.bridge.cancel(job_id, force=True)
        stack.wait(job_id, "cancelled")
