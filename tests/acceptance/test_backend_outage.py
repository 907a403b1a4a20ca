"""A backend whose database is away: it answers 404, or 401, to all that it took a second ago."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for

OUTAGE_S = 95.0
"""Past the minute in which a job that was never heard is tried often."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("status", [404, 401])
@pytest.mark.parametrize("end", ["goes on", "is killed"])
def test_nothing_of_a_job_is_lost_while_the_backend_does_not_know_it(
    stack: Stack, status: int, end: str
) -> None:
    job_id = f"outage-{status}-{end.replace(' ', '-')}"
    stack.submit(job_id, steps=60, training={"logging_steps": 1})
    wait_for("something was accepted", lambda: len(stack.backend.metrics(job_id)) >= 2)
    stack.backend.add_fault(status=status, path_contains=f"/api/training/local/{job_id}/")
    since = time.monotonic()
    if end == "is killed":
        stack.kill_worker(0)
        stack.workers[0].start()
    stack.wait(job_id, "completed")
    time.sleep(max(0.0, since + OUTAGE_S - time.monotonic()))
    assert stack.redis.zscore("trainyard:undelivered", job_id) is not None
    stack.backend.clear_faults()
    stack.wait_delivered(job_id)
    at_bridge = stack.bridge.metrics(job_id)
    stored = [point["step"] for point in stack.backend.metrics(job_id)]
    assert stored == [point["step"] for point in at_bridge]
    assert stack.backend.logs(job_id) == stack.log(job_id).splitlines()
    attempts = stack.bridge.status(job_id)["attempt"]
    assert stack.backend.statuses(job_id) == ["running"] * attempts + ["completed"]
    taken = [one for one in stack.backend.requests(job_id) if one["status"] == 200]
    keys = {one["headers"]["idempotency-key"] for one in taken}
    assert len(keys) == len(taken), "something was accepted twice"
    assert stack.redis.llen("trainyard:set-aside") == 0
