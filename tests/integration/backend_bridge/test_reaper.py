"""What crashes leave behind, and how it is put right, on a real Redis with Celery's queue."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend_bridge import courier
from backend_bridge.reaper import Reaper
from tests.support.celery_app import bridge_celery
from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.contract.errors import ErrorKind
from trainyard.contract.names import PRIORITY_DEFAULT, QUEUE_GPU
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.dispatch import open_dispatcher
from trainyard.scheduling.queue import _key, keys_of, slot_queue
from trainyard.scheduling.slots import SlotState
from trainyard.scheduling.watched_clock import RedisInstant, WatchedClock
from trainyard.store.connection import connect
from trainyard.store.job import Job
from trainyard.store.unsent_records import was_put_back
from worker.supervisor.job_folder import note_put_back

WAIT_S = 30.0
LONG_S = 1000.0


class Awake(WatchedClock):
    """The clock of a reaper that was awake, as was Redis, for as long as leases last."""

    def judges_until_s(self, redis: RedisInstant) -> float | None:
        return redis.now_s + 1


class Yard:
    """Store, queue and reaper over one Redis; ``expire`` lets a job's lease run out."""

    def __init__(self, redis: Any, app: Any, *, lease_s: float = LONG_S) -> None:
        self.redis = redis
        self.store = job_store(redis, lease_s=lease_s, max_restarts=1)
        self.dispatcher = open_dispatcher(self.store, app, redis)
        self.queue, self.slots = self.dispatcher.queue, self.dispatcher.slots
        self.reaper = self.another_reaper()

    def another_reaper(self) -> Reaper:
        return Reaper(self.dispatcher, clock=Awake(self.store.lease_ms / 1000, 1))

    def admit(self, job_id: str) -> None:
        self.store.admit(start_request(job_id), slots=1)
        self.dispatcher.send(job_id)

    def take(self, job_id: str, attempt: int = 1) -> None:
        """As a worker does: the message out of the broker, then the claim."""
        assert self.queue.remove(f"{job_id}:{attempt}")
        assert self.store.claim(job_id, attempt, slot="box-0", worker="w")

    def expire(self, job_id: str) -> None:
        self.redis.zadd("trainyard:occupying", {job_id: 1}, xx=True)

    def job(self, job_id: str = "job-1") -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job

    def sent(self) -> set[str]:
        return self.queue.attempts({slot.name for slot in self.slots.alive()})

    def statuses(self, job_id: str = "job-1") -> list[str]:
        entries = [f for _, f in self.redis.xrange(f"trainyard:events:{job_id}")]
        return [json.loads(f["data"])["status"] for f in entries if f["kind"] == "status"]


@pytest.fixture
def app(redis_server: RedisServer) -> Iterator[Any]:
    with bridge_celery(redis_server.url) as app:
        yield app


@pytest.fixture
def yard(real_redis: Redis, app: Any) -> Yard:
    return Yard(real_redis, app)


# ---------------------------------------------------------------- leases


def test_a_lease_that_holds_is_left_alone(yard: Yard) -> None:
    yard.admit("job-1")
    yard.take("job-1")
    yard.reaper.reap()
    assert (yard.job().status, yard.sent()) == (JobStatus.RUNNING, set())


def test_a_lost_job_is_queued_again_as_a_new_attempt_with_a_message(yard: Yard) -> None:
    yard.admit("job-1")
    yard.take("job-1")
    yard.expire("job-1")
    yard.reaper.reap()
    job = yard.job()
    assert (job.status, job.attempt, job.restarts) == (JobStatus.QUEUED, 2, 1)
    assert yard.sent() == {"job-1:2"}
    assert not yard.store.renew("job-1", 1).held
    assert not yard.store.append("job-1", 1, 1, [])
    assert not yard.store.complete("job-1", 1, {})
    assert yard.statuses() == ["running"]


def test_after_the_last_restart_it_fails_with_the_reason(yard: Yard) -> None:
    yard.admit("job-1")
    for attempt in (1, 2):
        yard.take("job-1", attempt)
        yard.expire("job-1")
        yard.reaper.reap()
    job = yard.job()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.kind is ErrorKind.WORKER_LOST
    assert "box-0" in job.error.message
    assert yard.sent() == set()
    assert yard.statuses() == ["running", "running", "failed"]


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_job_that_was_being_cancelled_is_cancelled(yard: Yard, restarts: int) -> None:
    yard.admit("job-1")
    for attempt in range(1, restarts + 1):
        yard.take("job-1", attempt)
        yard.expire("job-1")
        yard.reaper.reap()
    yard.take("job-1", restarts + 1)
    yard.store.cancel("job-1")
    yard.expire("job-1")
    yard.reaper.reap()
    assert (yard.job().status, yard.sent()) == (JobStatus.CANCELLED, set())
    assert yard.statuses()[-1] == "cancelled"


def test_the_lost_job_comes_before_those_that_came_after_it(yard: Yard) -> None:
    for n in range(3):
        yard.admit(f"job-{n}")
    yard.take("job-0")
    yard.expire("job-0")
    yard.reaper.reap()
    raw = yard.redis.lrange(_key(QUEUE_GPU, PRIORITY_DEFAULT), 0, -1)
    order = [json.loads(message)["headers"]["id"] for message in reversed(raw)]
    assert order == ["job-0:2", "job-1:1", "job-2:1"]
    assert yard.store.waiting() == ["job-0", "job-1", "job-2"]


def test_ten_reapers_at_once_take_a_job_once(yard: Yard) -> None:
    yard.admit("job-1")
    yard.take("job-1")
    yard.expire("job-1")
    threads = [threading.Thread(target=yard.another_reaper().reap) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    job = yard.job()
    assert (job.attempt, job.restarts) == (2, 1)
    assert yard.queue.count([]) == 1


def test_a_put_back_that_could_not_be_written_is_no_crash(yard: Yard, tmp_path: Path) -> None:
    """The supervisor leaves word in the job's folder, for its own attempt."""
    yard.reaper.before_loss = lambda job: was_put_back(tmp_path, job.attempt)
    yard.admit("job-1")
    for attempt, noted in ((1, True), (2, False)):
        yard.take("job-1", attempt)
        if noted:
            note_put_back(tmp_path, attempt)
        yard.expire("job-1")
        yard.reaper.reap()
    job = yard.job()
    assert (job.attempt, job.put_backs, job.restarts) == (3, 1, 1)
    assert yard.sent() == {"job-1:3"}
    assert yard.statuses() == ["running", "running"]


def test_whoever_sees_the_jobs_folder_is_left_a_round_to_be_first(yard: Yard) -> None:
    far = Reaper(yard.dispatcher, clock=Awake(yard.store.lease_ms / 1000, 1), home="far")
    yard.admit("job-1")
    yard.take("job-1")
    yard.expire("job-1")
    far.reap()
    assert yard.job().status is JobStatus.RUNNING
    far.reap()
    assert yard.job().status is JobStatus.QUEUED


# ---------------------------------------------------------------- queued, but nowhere to be found


def test_a_job_that_no_broker_holds_is_sent_again_once(yard: Yard) -> None:
    for n in range(3):
        yard.admit(f"job-{n}")
    yard.queue.remove("job-1:1")
    yard.reaper.send_again()
    assert yard.sent() == {"job-0:1", "job-2:1"}, "it may be on its way to a claim"
    for _ in range(4):
        yard.reaper.send_again()
    assert yard.sent() == {"job-0:1", "job-1:1", "job-2:1"}
    assert yard.queue.count([]) == 3


def test_what_is_claimed_between_two_looks_is_not_sent_again(yard: Yard) -> None:
    yard.admit("job-1")
    yard.queue.remove("job-1:1")
    yard.reaper.send_again()
    assert yard.store.claim("job-1", 1, slot="box-0", worker="w")
    yard.reaper.send_again()
    assert yard.sent() == set()


def test_a_new_attempt_must_be_missed_twice_itself(yard: Yard) -> None:
    yard.admit("job-1")
    yard.queue.remove("job-1:1")
    yard.reaper.send_again()
    assert yard.store.claim("job-1", 1, slot="box-0", worker="w")
    yard.store.put_back("job-1", 1, "x")
    yard.reaper.send_again()
    assert yard.sent() == set()
    yard.reaper.send_again()
    assert yard.sent() == {"job-1:2"}


def test_after_the_broker_lost_everything_all_is_sent_again(yard: Yard) -> None:
    for n in range(5):
        yard.admit(f"job-{n}")
    yard.redis.delete(*keys_of(QUEUE_GPU))
    for _ in range(2):
        yard.reaper.send_again()
    assert yard.sent() == {f"job-{n}:1" for n in range(5)}


def test_a_job_pinned_to_a_slot_that_is_gone_goes_to_the_others(yard: Yard) -> None:
    yard.store.admit(start_request("job-1"), slots=1)
    yard.queue.enqueue("job-1:1", slot="gone-0")
    yard.slots.beat("box-0", {})
    yard.slots.stamp("box-0", SlotState.CONSUMING)
    for _ in range(2):
        yard.reaper.send_again()
    assert yard.sent() == {"job-1:1"}
    assert sum(map(yard.redis.llen, keys_of(slot_queue("gone-0")))) == 0


def test_duplicates_are_harmless(yard: Yard) -> None:
    yard.admit("job-1")
    yard.queue.enqueue("job-1:1")
    assert yard.queue.count([]) == 2
    assert yard.store.claim("job-1", 1, slot="a", worker="w")
    assert not yard.store.claim("job-1", 1, slot="b", worker="w")
    yard.reaper.send_again()
    assert yard.job().slot == "a"


@pytest.mark.parametrize("raw", ["", "no json", "[]", '{"headers": {}}'])
def test_rubbish_in_the_queue_stops_no_reaper(yard: Yard, raw: str) -> None:
    yard.admit("job-1")
    yard.admit("job-2")
    yard.queue.remove("job-1:1")
    yard.queue.remove("job-2:1")
    yard.redis.lpush(keys_of(QUEUE_GPU)[0], raw)
    for _ in range(2):
        yard.reaper.send_again()
    assert yard.sent() - {""} == {"job-1:1", "job-2:1"}


# ---------------------------------------------------------------- the loop


def test_the_loop_finds_both_kinds_and_ends_when_told(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend_bridge.reaper.EVERY_S", 0.02)
    yard.admit("job-1")
    yard.take("job-1")
    yard.expire("job-1")
    yard.admit("job-2")
    yard.queue.remove("job-2:1")
    stop = threading.Event()
    thread = threading.Thread(target=yard.reaper.run, args=(stop,))
    thread.start()
    try:
        wait_for("both are sent", lambda: yard.sent() == {"job-1:2", "job-2:1"})
    finally:
        stop.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()


def test_after_an_outage_it_waits_a_lease_before_it_takes_a_job(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor could not renew meanwhile: it has the first chance."""
    monkeypatch.setattr("backend_bridge.reaper.EVERY_S", 0.02)
    with RedisServer(append_only=True) as server, connect(server.url, retries=0) as redis:
        yard = Yard(redis, app, lease_s=3)
        yard.store.admit(start_request("job-1"), slots=1)
        assert yard.store.claim("job-1", 1, slot="box-0", worker="w")
        stop = threading.Event()
        reaper = Reaper(yard.dispatcher)
        thread = threading.Thread(target=reaper.run, args=(stop,))
        server.kill()
        thread.start()
        try:
            wait_for("it has seen that", lambda: "Redis is away" in caplog.text)
            server.start()
            yard.expire("job-1")
            time.sleep(1)
            assert yard.store.renew("job-1", 1).held
        finally:
            stop.set()
            thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_courier_that_loses_a_thread_ends_so_that_another_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    stop = threading.Event()
    courier._end_on_a_defect(stop)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join(WAIT_S)
    assert stop.is_set()
    assert seen[0].exc_type is ZeroDivisionError


def test_a_reaper_that_comes_late_takes_nothing_for_a_lease(yard: Yard) -> None:
    hand = [0.0]
    reaper = Reaper(yard.dispatcher, clock=WatchedClock(LONG_S, 1, lambda: hand[0]))
    yard.admit("job-1")
    yard.take("job-1")
    for at in (0, LONG_S, 2 * LONG_S, 2 * LONG_S + 400, 2 * LONG_S + 800):
        hand[0] = at
        yard.expire("job-1")
        reaper.reap()
        assert yard.job().status is JobStatus.RUNNING, at
    hand[0] = 3 * LONG_S + 1
    reaper.reap()
    assert yard.job().status is JobStatus.QUEUED


def test_a_freeze_between_the_look_and_the_write_costs_nothing(yard: Yard) -> None:
    """The write is refused by Redis's own clock, and where the lease was renewed meanwhile."""
    yard.admit("job-1")
    yard.take("job-1")
    now_s, _ = yard.store.expired()
    assert yard.store.lost("job-1", 1, "it is awake", judged_until_s=now_s + 500) is None
    yard.expire("job-1")
    assert yard.store.lost("job-1", 1, "a freeze came", judged_until_s=now_s - 1) is None
    assert yard.job().status is JobStatus.RUNNING
    assert yard.store.lost("job-1", 1, "gone", judged_until_s=now_s + 500) is JobStatus.QUEUED


def test_a_lease_that_a_clock_set_back_has_lengthened_is_a_lease_again(yard: Yard) -> None:
    yard.admit("job-1")
    yard.take("job-1")
    now_s, _ = yard.store.expired()
    yard.redis.zadd("trainyard:occupying", {"job-1": 1000 * (now_s + LONG_S + 3600)})
    yard.store.expired()
    ends_s = yard.redis.zscore("trainyard:occupying", "job-1") / 1000
    assert 0 <= ends_s - (now_s + LONG_S) < 60


def test_a_longer_lease_of_another_host_is_left_alone(yard: Yard) -> None:
    longer = job_store(yard.redis, lease_s=10 * LONG_S)
    yard.admit("job-1")
    assert longer.claim("job-1", 1, slot="box-0", worker="w")
    before = yard.redis.zscore("trainyard:occupying", "job-1")
    yard.store.expired()
    assert yard.redis.zscore("trainyard:occupying", "job-1") == before
