"""Elapsed time is time in a slot: waiting between two attempts is none of it."""

from __future__ import annotations

import time

from backend_bridge.api.responses import JobAnswer
from tests.support.store_calls import JOB, admit, claim, stored
from trainyard.store.job_store import JobStore


def elapsed(store: JobStore) -> float:
    job = stored(store)
    found = JobAnswer.of(job, None).elapsed_seconds
    assert found is not None
    return found


def test_waiting_is_not_counted(store: JobStore) -> None:
    admit(store)
    claim(store)
    time.sleep(0.05)
    store.put_back(JOB, 1, "its worker stopped.")
    first = elapsed(store)
    assert 0.04 <= first < 5
    time.sleep(0.2)
    assert elapsed(store) == first
    claim(store, 2)
    time.sleep(0.05)
    assert elapsed(store) >= first + 0.04
    store.complete(JOB, 2, {})
    last = elapsed(store)
    time.sleep(0.05)
    assert elapsed(store) == last
    _, [duration] = store.pace()
    assert duration == last


def test_a_paused_job_keeps_its_progress_and_a_crashed_one_does_not(store: JobStore) -> None:
    admit(store)
    for attempt, end in ((1, "put back"), (2, "lost")):
        claim(store, attempt)
        assert store.append(JOB, attempt, 1, [], {"progress": '{"step": 5, "total_steps": 10}'})
        if end == "lost":
            store.lost(JOB, attempt, "Killed.")
        else:
            store.put_back(JOB, attempt, "stop")
        job = stored(store)
        assert JobAnswer.of(job, 1).progress == (50.0 if end == "put back" else 0.0)
