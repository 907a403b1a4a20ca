"""Workers that share Redis and nothing else, as on several hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for

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


def test_where_that_host_is_gone_the_job_starts_again_and_says_so_at_once(stack: Stack) -> None:
    number = pause_somewhere(stack, "homeless")
    stack.workers[number].stop(60)
    wait_for("the slot is gone", lambda: stack.slots_alive() == 1)
    answer = stack.bridge.resume("homeless")
    assert "is gone, job homeless starts again from the beginning" in answer["message"]
    job = stack.wait("homeless", "completed")
    assert job["slot"] == f"test-{1 - number}"
    log = (stack.home_of(1 - number) / "jobs/homeless/train.log").read_text()
    assert "it starts again from the beginning" in log
    stack.workers[number].start()
    wait_for("both slots live", lambda: stack.slots_alive() == 2)
