"""The kernel's out-of-memory killer takes a training: the job goes on, or says what happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.memory_cgroup import MemoryCgroup, memory_cgroup
from tests.support.stack import Stack
from tests.support.waiting import wait_for

KIBIBYTE = 1024
NAMED = "The kernel killed the training process because the machine ran out of memory."


@pytest.fixture
def no_memory() -> Iterator[MemoryCgroup]:
    """Whoever is put in here dies of the next pages that it asks for."""
    with memory_cgroup(256 * KIBIBYTE) as cgroup:
        yield cgroup


@pytest.mark.slow
def test_an_out_of_memory_kill_is_named_as_such(no_memory: MemoryCgroup) -> None:
    with Stack(MAX_RESTARTS="1") as stack:
        stack.submit("greedy", steps=100_000)
        for attempt in (1, 2):
            wait_for(
                f"attempt {attempt} steps",
                lambda attempt=attempt: (
                    (job := stack.wait("greedy", "running", "queued"))["attempt"] == attempt
                    and (job["current_step"] or 0) > 0
                ),
            )
            no_memory.add(stack.training_process().pid)
            if attempt == 1:
                wait_for("it is lost", lambda: stack.bridge.status("greedy")["attempt"] == 2)
        job = stack.wait("greedy", "failed")
        assert job["error_kind"] == "out_of_memory"
        assert job["error"] == f"{NAMED} The job was started 2 times; that was the last."
        stack.wait_delivered("greedy")
        assert stack.backend.status("greedy")["error"] == job["error"]
        lost = f"Attempt 1 was lost: {NAMED} Queued again (restart 1 of 1)."
        assert any(line.endswith(lost) for line in stack.backend.logs("greedy"))
        stack.submit("modest", steps=2)
        stack.wait("modest", "completed")
