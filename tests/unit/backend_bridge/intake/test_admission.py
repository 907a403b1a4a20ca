"""The limit of running and waiting jobs: counted in one atomic step with the admission."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from backend_bridge.intake.admission import Admission, JobIdTaken, LimitReached
from tests.support.redis_server import RedisServer
from tests.support.requests import request_body, start_request
from tests.support.store_calls import job_store, stored
from trainyard.contract.request import RequestInvalid
from trainyard.store.job_store import JobStore

THREADS = 20


class SentAttempts:
    """Stands in for the broker: what was enqueued, in order."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def enqueue(self, attempt_id: str, **_: Any) -> None:
        self.sent.append(attempt_id)


@pytest.fixture
def queue() -> SentAttempts:
    return SentAttempts()


def admission(
    store: JobStore, queue: Any, *, slots: int = 1, max_queued: int | None = None
) -> Admission:
    return Admission(store, queue, slots=lambda: slots, max_queued=max_queued)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all calls at one moment, each in a thread of its own; exceptions are results."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        barrier.wait(30)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_a_second_job_waits_with_its_position(store: JobStore, queue: SentAttempts) -> None:
    admit = admission(store, queue).admit
    positions = [admit(request_body(f"job-{n}")).queue_position for n in range(3)]
    assert positions == [1, 2, 3]
    assert queue.sent == ["job-0:1", "job-1:1", "job-2:1"]
    assert store.claim("job-0", 1, slot="s", worker="w")
    assert [store.queue_position(f"job-{n}") for n in range(3)] == [None, 1, 2]


def test_without_a_queue_the_second_job_is_refused_in_the_contracts_words(
    store: JobStore, queue: SentAttempts
) -> None:
    admit = admission(store, queue, max_queued=0).admit
    admit(request_body("job-1"))
    with pytest.raises(LimitReached, match=r"^concurrent job limit reached \(1\)$"):
        admit(request_body("job-2"))
    assert store.get("job-2") is None
    assert queue.sent == ["job-1:1"]


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_a_job_that_ends_makes_room(store: JobStore, queue: SentAttempts, end: str) -> None:
    admit = admission(store, queue, max_queued=0).admit
    admit(request_body("job-1"))
    store.claim("job-1", 1, slot="s", worker="w")
    with pytest.raises(LimitReached):
        admit(request_body("job-2"))
    if end == "complete":
        store.complete("job-1", 1, {})
    else:
        store.cancel("job-1")
        with pytest.raises(LimitReached):  # its processes may live on
            admit(request_body("job-2"))
        store.cancelled("job-1", 1)
    assert admit(request_body("job-2")).status == "queued"


def test_the_same_request_again_is_the_same_job_even_where_all_is_full(
    store: JobStore, queue: SentAttempts
) -> None:
    admit = admission(store, queue, max_queued=0).admit
    first = admit(request_body("job-1"))
    assert first.is_new
    assert admit(request_body("job-1")) == replace(first, is_new=False)
    store.claim("job-1", 1, slot="s", worker="w")
    again = admit(request_body("job-1"))
    assert (again.status, again.queue_position) == ("running", None)
    assert queue.sent == ["job-1:1"]


def test_another_request_with_the_same_id_is_refused(store: JobStore, queue: SentAttempts) -> None:
    admit = admission(store, queue).admit
    admit(request_body("job-1"))
    with pytest.raises(JobIdTaken, match="job-1"):
        admit(request_body("job-1", dataset_path="other.jsonl"))
    assert store.request("job-1")["dataset_path"] == "data.jsonl"


@pytest.mark.parametrize(
    "body", [{}, [], request_body(".."), request_body(training={"method": "rlhf"})]
)
def test_what_is_refused_leaves_nothing_behind(
    store: JobStore, queue: SentAttempts, redis: Any, body: Any
) -> None:
    with pytest.raises(RequestInvalid):
        admission(store, queue).admit(body)
    assert redis.keys() == []
    assert queue.sent == []


@pytest.mark.parametrize(("slots", "max_queued", "admitted"), [(1, 0, 1), (3, 0, 3), (1, 4, 5)])
def test_twenty_at_once_get_exactly_the_room_that_there_is(
    redis_server: RedisServer,
    real_redis: Redis,
    queue: SentAttempts,
    slots: int,
    max_queued: int,
    admitted: int,
) -> None:
    clients = [redis_server.client() for _ in range(THREADS)]
    try:
        calls = [
            lambda client=client, n=n: admission(
                job_store(client), queue, slots=slots, max_queued=max_queued
            ).admit(request_body(f"job-{n}"))
            for n, client in enumerate(clients)
        ]
        results = Counter(type(result).__name__ for result in at_once(calls))
    finally:
        for client in clients:
            client.close()
    assert results == {"Admitted": admitted, "LimitReached": THREADS - admitted}
    store = job_store(real_redis)
    assert len(store.waiting()) == len(store.jobs()) == len(queue.sent) == admitted


def test_one_request_sent_twenty_times_at_once_is_one_job(
    real_redis: Redis, queue: SentAttempts
) -> None:
    admit = admission(job_store(real_redis), queue).admit
    results = at_once([lambda: admit(request_body("job-1"))] * THREADS)
    assert {result.job_id for result in results} == {"job-1"}
    assert queue.sent == ["job-1:1"]


def test_one_attempt_is_claimed_by_one_of_twenty(real_redis: Redis) -> None:
    store = job_store(real_redis)
    store.admit(start_request("job-1"), slots=1)
    calls = [lambda n=n: store.claim("job-1", 1, slot=f"s{n}", worker="w") for n in range(THREADS)]
    assert Counter(at_once(calls)) == {True: 1, False: THREADS - 1}


def test_one_end_of_twenty_counts(real_redis: Redis) -> None:
    """A cancel, a completion and a crash at the same moment: one of them ends the job."""
    store = job_store(real_redis, max_restarts=0)
    store.admit(start_request("job-1"), slots=1)
    store.claim("job-1", 1, slot="s", worker="w")
    calls: list[Callable[[], Any]] = [
        lambda: store.cancel("job-1") and store.cancelled("job-1", 1),
        lambda: store.complete("job-1", 1, {}),
        lambda: store.lost("job-1", 1, "x"),
    ]
    at_once(calls * 6)
    job = stored(store, "job-1")
    ends = [e for _, e in store.redis.xrange("trainyard:events:job-1") if e["kind"] == "status"]
    assert len(ends) == 2
    assert f'"status": "{job.status}"' in ends[-1]["data"]
