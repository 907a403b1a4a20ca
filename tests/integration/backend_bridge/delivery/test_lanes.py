"""One message, one kind or one job in trouble holds up nothing else."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis

from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.stream import PAGE_ENTRIES
from tests.support.forwarding import (
    QUICK,
    forwarding,
    lines_of,
    statuses_of,
    steps_of,
    wait_delivered,
)
from tests.support.running_job import RunningJob
from tests.support.scripted_backend import OK, Received, Reply, ScriptedBackend
from tests.support.waiting import WAIT_S, wait_for
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.store.event_log import Entry

IMPATIENT = replace(QUICK, patience_s=0.1)


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as backend:
        yield backend


def answering_500(backend: ScriptedBackend, step: int) -> threading.Event:
    """One metric point is always answered 500 until the event is set."""
    mended = threading.Event()

    def answer(request: Received) -> Reply:
        poisoned = request.method == "PUT" and request.body["step"] == step
        return Reply(500, b"{}") if poisoned and not mended.is_set() else OK

    backend.answer = answer
    return mended


def test_a_message_that_is_always_answered_500_holds_up_its_own_kind_alone(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    mended = answering_500(backend, step=2)
    job = RunningJob(real_redis, "job-1")
    for step in range(1, 5):
        job.metric(step)
        job.log(f"line {step}")
    with forwarding(real_redis, backend.url, policy=IMPATIENT):
        wait_for("the lines go by", lambda: "line 4" in lines_of(backend.of("job-1")))
        job.log("line 5")
        job.complete()
        wait_for("so do statuses", lambda: statuses_of(backend.of("job-1"))[1:] == ["completed"])
        assert set(steps_of(backend.of("job-1"))) == {1, 2}
        mended.set()
        wait_delivered(real_redis)
    requests = backend.of("job-1")
    assert lines_of(requests) == [f"line {number}" for number in range(1, 6)]
    assert [step for step in steps_of(requests) if step != 2] == [1, 3, 4]
    assert statuses_of(requests) == ["running", "completed"]


def test_within_the_patience_a_terminal_status_waits_for_what_was_written_before(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    mended = answering_500(backend, step=1)
    job = RunningJob(real_redis, "job-1")
    job.metric(1)
    job.complete()
    with forwarding(real_redis, backend.url):
        wait_for("it is tried again and again", lambda: len(backend.received) > 5)
        assert statuses_of(backend.received) == ["running"]
        mended.set()
        wait_delivered(real_redis)
    assert statuses_of(backend.received[-1:]) == ["completed"]


def test_a_status_goes_before_a_long_backlog_of_a_slow_backend(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    backend.answer = lambda request: Reply(delay_s=0.05)
    job = RunningJob(real_redis, "job-1")
    for step in range(1, 31):
        job.metric(step)
    policy = replace(QUICK, patience_s=0.3)
    with forwarding(real_redis, backend.url, policy=policy):
        wait_for("it has begun", lambda: len(backend.received) > 2)
        job.complete()
        wait_delivered(real_redis)
    requests = backend.received
    place = [request.body.get("status") for request in requests].index("completed")
    assert 2 < place < 25
    assert steps_of(requests) == list(range(1, 31))


def test_slow_jobs_are_served_after_the_others(real_redis: Redis, backend: ScriptedBackend) -> None:
    """Each is answered late once, and then not before the others have been served."""
    met: set[str] = set()
    go_on = threading.Event()

    def answer(request: Received) -> Reply:
        if request.job_id.startswith("quick"):
            return OK
        if request.job_id in met:
            go_on.wait()
            return OK
        met.add(request.job_id)
        return Reply(delay_s=0.4)

    backend.answer = answer
    for number in range(8):
        job = RunningJob(real_redis, f"slow-{number}")
        for step in range(1, 20):
            job.metric(step)
    policy = replace(QUICK, slow_s=0.3, turn_s=0.1)
    with forwarding(real_redis, backend.url, policy=policy, request_timeout_s=WAIT_S):
        try:
            wait_for("two of four senders go on with them", lambda: len(backend.received) == 10)
            for number in range(3):
                RunningJob(real_redis, f"quick-{number}")
            for number in range(3):
                wait_for("it is served", lambda n=number: backend.of(f"quick-{n}"))  # type: ignore[misc]
        finally:
            go_on.set()


def test_full_entries_go_out_over_one_connection(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    job = RunningJob(real_redis, "job-1")
    for batch in range(30):
        job.log(*(f"line {100 * batch + n}" for n in range(LOG_LINES_PER_BATCH)))
    with forwarding(real_redis, backend.url, senders=1):
        wait_delivered(real_redis)
    assert len({request.client for request in backend.received}) == 1
    posts = [request for request in backend.received if request.method == "POST"]
    assert [len(request.body["logs"]) for request in posts] == [LOG_LINES_PER_BATCH] * 30


def test_what_a_forwarder_holds_in_memory_does_not_grow_with_the_backlog(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    of_others = {id(entry): entry for entry in _entries()}  # kept, so that no id is used again
    backend.answer = lambda request: Reply(fault="hang")
    jobs = [RunningJob(real_redis, f"job-{number}") for number in range(3)]
    for _ in range(2 * PAGE_ENTRIES):
        for job in jobs:
            job.log("one", "two")
    with forwarding(real_redis, backend.url, senders=3, request_timeout_s=1.0):
        wait_for("every sender waits for an answer", lambda: len(backend.received) >= 3)
        held = [entry for entry in _entries() if id(entry) not in of_others]
        assert 0 < len(held) <= 3 * PAGE_ENTRIES
        del held
        backend.answer = lambda request: OK
        wait_delivered(real_redis)
    assert not [entry for entry in _entries() if id(entry) not in of_others]


def _entries() -> list[Entry]:
    """All that this process holds in memory; other tests may have left some."""
    return [thing for thing in gc.get_objects() if type(thing) is Entry]


def test_an_event_at_the_end_of_its_jobs_turn_waits_for_no_poll(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    """Each event comes as soon as the one before was answered: about when the turn ends."""
    answered = threading.Semaphore(0)

    def answer(request: Received) -> Reply:
        answered.release()
        return OK

    backend.answer = answer
    with forwarding(real_redis, backend.url, policy=DeliveryPolicy(poll_s=3600)):
        job = RunningJob(real_redis, "job-1")
        for step in range(1, 201):
            assert answered.acquire(timeout=30), f"point {step - 1} waits for a poll"
            time.sleep((step % 7) / 5000)
            job.metric(step)
        wait_delivered(real_redis)
    assert steps_of(backend.received) == list(range(1, 201))


def test_running_is_sent_once_per_attempt(real_redis: Redis, backend: ScriptedBackend) -> None:
    job = RunningJob(real_redis, "job-1")
    with forwarding(real_redis, backend.url):
        assert job.store.lost("job-1", 1, "the worker was killed.")
        assert job.store.claim("job-1", 2, slot="slot-0", worker="worker-0")
        assert not job.store.claim("job-1", 2, slot="slot-1", worker="worker-1")
        job.attempt = 2
        job.complete()
        wait_delivered(real_redis)
    assert statuses_of(backend.received) == ["running", "running", "completed"]
    assert [request.key.split(":")[1] for request in backend.received] == ["1", "1", "2", "2"]
    (line,) = lines_of(backend.received)
    assert line.startswith("Attempt 1 was lost: the worker was killed.")
