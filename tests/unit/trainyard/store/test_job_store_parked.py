"""Cancel of a job whose process waits, parked: never at once, and never for ever."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.store_calls import JOB, admit, claim, stored
from trainyard.contract.statuses import JobStatus
from trainyard.store.job_store import JobStore

PARKED = {"parked": f"{JOB}:1", "parked_on": "slot-0", "parked_worker": "worker-0"}


@pytest.fixture
def parked(store: JobStore) -> JobStore:
    admit(store)
    claim(store)
    store.pause(JOB)
    assert store.paused(JOB, 1, PARKED)
    return store


@pytest.mark.parametrize("then", ["left paused", "resumed", "resumed and paused"])
def test_the_reaper_finds_it_where_nobody_answers(parked: JobStore, redis: Any, then: str) -> None:
    if then != "left paused":
        assert parked.resume(JOB) is not None
    if then == "resumed and paused":
        assert parked.pause(JOB) is not None
    assert parked.cancel(JOB) is not None
    job = stored(parked)
    assert job.status is JobStatus.CANCELLING
    assert parked.waiting() == []
    assert parked.occupying() == [JOB]
    redis.zadd("trainyard:occupying", {JOB: 0})
    assert [expired.job_id for expired in parked.expired()[1]] == [JOB]
    assert parked.lost(JOB, job.attempt, "nobody answers") is JobStatus.CANCELLED


def test_a_cancelled_job_that_waited_is_not_run(parked: JobStore) -> None:
    parked.resume(JOB)
    parked.cancel(JOB)
    assert not claim(parked, 2)
