"""Every status transition of a job: which are allowed, which are refused, and what each leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from redis import Redis
from redis.exceptions import ConnectionError

from backend_bridge.contract import (
    OCCUPYING,
    TERMINAL,
    ErrorKind,
    ErrorReport,
    JobStatus,
)
from backend_bridge.job_store import JobStore, StoredEvent
from tests.support.requests import TOKEN, start_request

JOB = "job-1"
ERROR = ErrorReport(kind=ErrorKind.DATASET, message="No such data set.")
METRIC = StoredEvent("metric", '{"step": 1, "epoch": 0}')


def admit(store: JobStore, job_id: str = JOB, **limits: Any) -> str:
    return store.admit(start_request(job_id), **{"slots": 1, **limits}).verdict


def claim(store: JobStore, attempt: int = 1) -> bool:
    return store.claim(JOB, attempt, slot="slot-0", worker="worker-0")


def events(redis: Any, job_id: str = JOB) -> list[dict[str, str]]:
    return [fields for _, fields in redis.xrange(f"trainyard:events:{job_id}")]


def statuses(redis: Any, job_id: str = JOB) -> list[str]:
    found = [json.loads(e["data"]) for e in events(redis, job_id) if e["kind"] == "status"]
    return [data["status"] for data in found]


def put_into(store: JobStore, status: JobStatus) -> int:
    """Bring JOB into ``status``; returns its attempt. Pausing has no door of its own yet."""
    admit(store)
    if status is not JobStatus.QUEUED:
        assert claim(store)
    match status:
        case JobStatus.PAUSING | JobStatus.PAUSED:
            for step in (JobStatus.PAUSING, JobStatus.PAUSED):
                assert store._change(JOB, 1, {JobStatus.RUNNING, JobStatus.PAUSING}, step)
                if step is status:
                    break
        case JobStatus.CANCELLING | JobStatus.CANCELLED:
            assert store.cancel(JOB)
            if status is JobStatus.CANCELLED:
                assert store.cancelled(JOB, 1)
        case JobStatus.COMPLETED:
            assert store.complete(JOB, 1, {})
        case JobStatus.FAILED:
            assert store.fail(JOB, 1, ERROR)
    job = store.get(JOB)
    assert job is not None
    assert job.status is status
    return 1


Q, R, P, PD, CG, CD, C, F = (
    JobStatus.QUEUED,
    JobStatus.RUNNING,
    JobStatus.PAUSING,
    JobStatus.PAUSED,
    JobStatus.CANCELLING,
    JobStatus.CANCELLED,
    JobStatus.COMPLETED,
    JobStatus.FAILED,
)
CALLS: dict[str, Callable[[JobStore, int], Any]] = {
    "claim": lambda store, n: claim(store, n),
    "renew": lambda store, n: store.renew(JOB, n).held,
    "append": lambda store, n: store.append(JOB, n, 1, [METRIC]),
    "complete": lambda store, n: store.complete(JOB, n, {}),
    "fail": lambda store, n: store.fail(JOB, n, ERROR),
    "cancelled": lambda store, n: store.cancelled(JOB, n),
    "put_back": lambda store, n: store.put_back(JOB, n, "x"),
    "lost": lambda store, n: store.lost(JOB, n, "x"),
}
ALLOWED: dict[str, dict[JobStatus, JobStatus]] = {
    "claim": {Q: R},
    "renew": {R: R, P: P, CG: CG},
    "append": {R: R, P: P, CG: CG},
    "complete": {R: C, P: C, CG: C},
    "fail": {R: F, P: F, CG: CD},
    "cancelled": {CG: CD},
    "put_back": {R: Q, P: Q, CG: CD},
    "lost": {R: Q, P: Q, CG: CD},
}
ALLOWED_CANCEL = {Q: CD, R: CG, P: CG, PD: CD, CG: CG}


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("call", list(CALLS))
def test_every_call_from_every_state(
    store: JobStore, redis: Redis, call: str, status: JobStatus
) -> None:
    attempt = put_into(store, status)
    before = events(redis)
    done = CALLS[call](store, attempt)
    job = store.get(JOB)
    assert job is not None
    assert bool(done) == (status in ALLOWED[call])
    assert job.status is ALLOWED[call].get(status, status)
    if not done:
        assert events(redis) == before


@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("call", list(CALLS))
def test_another_attempt_changes_nothing(
    store: JobStore, redis: Any, call: str, status: JobStatus, attempt: int
) -> None:
    put_into(store, status)
    before = redis.hgetall(f"trainyard:job:{JOB}"), events(redis), store.expired()
    assert not CALLS[call](store, attempt)
    assert (redis.hgetall(f"trainyard:job:{JOB}"), events(redis), store.expired()) == before


@pytest.mark.parametrize("status", list(JobStatus))
def test_cancel_from_every_state(store: JobStore, status: JobStatus) -> None:
    put_into(store, status)
    before = store.cancel(JOB)
    job = store.get(JOB)
    assert job is not None
    assert (before is None) == (status in TERMINAL)
    assert before is None or before.status is status
    assert job.status is ALLOWED_CANCEL.get(status, status)


@pytest.mark.parametrize("call", list(CALLS))
def test_a_job_that_is_not_there(store: JobStore, redis: Any, call: str) -> None:
    assert not CALLS[call](store, 1)
    assert store.cancel(JOB) is None
    assert store.get(JOB) is None
    assert redis.keys() == []


@pytest.mark.parametrize(
    ("status", "reported"),
    [(Q, []), (R, ["running"]), (P, ["running"]), (PD, ["running", "paused"]), (CG, ["running"]),
     (CD, ["running", "cancelled"]), (C, ["running", "completed"]), (F, ["running", "failed"])],
)  # fmt: skip
def test_the_backend_hears_only_statuses_that_it_knows(
    store: JobStore, redis: Redis, status: JobStatus, reported: list[str]
) -> None:
    put_into(store, status)
    assert statuses(redis) == reported


def test_a_failure_tells_the_backend_its_reason(store: JobStore, redis: Redis) -> None:
    put_into(store, F)
    assert json.loads(events(redis)[-1]["data"]) == {"status": "failed", "error": ERROR.message}
    job = store.get(JOB)
    assert job is not None
    assert job.error == ERROR


def test_a_queued_job_that_is_cancelled_is_reported_though_it_never_ran(
    store: JobStore, redis: Any
) -> None:
    admit(store)
    store.cancel(JOB)
    assert statuses(redis) == ["cancelled"]
    assert redis.zscore("trainyard:undelivered", JOB) is not None


# ---------------------------------------------------------------- counters, attempts, answers lost


def test_put_backs_and_crashes_are_counted_apart(store: JobStore) -> None:
    admit(store)
    for attempt in (1, 2, 3):
        assert claim(store, attempt)
        assert store.put_back(JOB, attempt, "it stops")
    assert claim(store, 4)
    assert store.lost(JOB, 4, "it died.") is Q
    job = store.get(JOB)
    assert job is not None
    assert (job.put_backs, job.restarts, job.attempt) == (3, 1, 5)
    assert (job.slot, job.worker, job.cancel) == ("", "", "")


def test_a_job_that_is_lost_too_often_fails_with_the_reason(store: JobStore, redis: Redis) -> None:
    admit(store)
    verdicts = []
    for attempt in (1, 2, 3):
        assert claim(store, attempt)
        verdicts.append(store.lost(JOB, attempt, "It was killed."))
    assert verdicts == [Q, Q, F]
    job = store.get(JOB)
    assert job is not None
    assert job.error is not None
    assert job.error.kind is ErrorKind.WORKER_LOST
    assert job.error.message.startswith("It was killed. The job was started 3 times")
    assert statuses(redis) == ["running", "running", "running", "failed"]


def test_without_restarts_the_first_loss_is_the_last(redis: Redis) -> None:
    store = JobStore(redis, max_restarts=0)
    put_into(store, R)
    assert store.lost(JOB, 1, "x") is F


def test_a_job_lost_while_it_is_cancelled_is_cancelled_even_after_the_last_restart(
    redis: Redis,
) -> None:
    store = JobStore(redis, max_restarts=0)
    put_into(store, CG)
    assert store.lost(JOB, 1, "x") is CD


class AnswerLost:
    """Stands in for a script: it runs, and then the connection breaks."""

    def __init__(self, script: Any) -> None:
        self.script = script

    def __call__(self, **arguments: Any) -> Any:
        self.script(**arguments)
        raise ConnectionError("the answer was lost")


def test_a_claim_stands_for_the_one_who_made_it_alone(store: JobStore) -> None:
    admit(store)
    assert claim(store)
    assert not claim(store)


def test_a_claim_whose_answer_was_lost_is_still_ours(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py repeats the call: the second run of the script finds the job running."""
    admit(store)
    script: Any = store._transition

    def twice(**arguments: Any) -> Any:
        script(**arguments)
        return script(**arguments)

    monkeypatch.setattr(store, "_transition", twice)
    assert claim(store)


def test_a_batch_that_comes_again_changes_nothing(
    store: JobStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into(store, R)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_append", AnswerLost(store._append))
        with pytest.raises(ConnectionError):
            store.append(JOB, 1, 1, [METRIC], {"progress": '{"step": 1}'})
    before = events(redis)
    assert store.append(JOB, 1, 1, [METRIC], {"progress": '{"step": 9}'})
    assert events(redis) == before
    job = store.get(JOB)
    assert job is not None
    assert job.progress == {"step": 1}
    assert store.append(JOB, 1, 2, [METRIC])
    assert len(events(redis)) == len(before) + 1


def test_batches_of_the_next_attempt_count_from_one_again(store: JobStore, redis: Redis) -> None:
    put_into(store, R)
    assert store.append(JOB, 1, 7, [METRIC])
    store.put_back(JOB, 1, "x")
    assert claim(store, 2)
    before = len(events(redis))
    assert store.append(JOB, 2, 1, [METRIC])
    assert len(events(redis)) == before + 1


def test_a_forced_cancel_is_not_softened_by_a_later_one(store: JobStore) -> None:
    put_into(store, R)
    for force, flag in ((False, "asked"), (True, "forced"), (False, "forced")):
        assert store.cancel(JOB, force=force)
        assert store.renew(JOB, 1).cancel == flag


def test_a_line_in_the_log_says_why_a_job_is_queued_again(store: JobStore, redis: Redis) -> None:
    put_into(store, R)
    store.lost(JOB, 1, "It was\nkilled.")
    (line,) = json.loads(next(e for e in events(redis) if e["kind"] == "log")["data"])
    assert line.endswith("It was\\x0akilled. Queued again (restart 1 of 2).")


def test_a_lease_is_renewed_by_its_holder_alone(redis: Any) -> None:
    store = JobStore(redis, lease_s=1000)
    put_into(store, R)
    first = redis.zscore("trainyard:occupying", JOB)
    longer = JobStore(redis, lease_s=2000)
    assert longer.renew(JOB, 1).held
    assert redis.zscore("trainyard:occupying", JOB) - first >= 1_000_000
    assert not longer.renew(JOB, 2).held


def test_the_token_stands_under_its_own_key_alone(store: JobStore, redis: Any) -> None:
    put_into(store, C)
    dump = {key: redis.hgetall(key) for key in redis.scan_iter("trainyard:job:*")}
    dump |= {"request": store.request(JOB), "events": events(redis)}
    assert TOKEN not in json.dumps(dump)
    assert redis.get(f"trainyard:token:{JOB}") == TOKEN


# ---------------------------------------------------------------- any sequence at all


class AnySequence(RuleBasedStateMachine):
    """Random calls by attempts old and new on a few jobs; the invariants hold throughout."""

    jobs = st.sampled_from(["a", "b", "c"])
    stale = st.sampled_from([0, 0, 0, 1])

    def __init__(self) -> None:
        super().__init__()
        self.redis: Any = fakeredis.FakeRedis(decode_responses=True)
        self.store = JobStore(self.redis, max_restarts=1)
        self.attempts: dict[str, int] = {}
        self.ended: dict[str, tuple[JobStatus, int]] = {}
        self.batch = 0

    def teardown(self) -> None:
        self.redis.close()

    def attempt(self, job_id: str, stale: int) -> int:
        job = self.store.get(job_id)
        return (job.attempt if job else 1) - stale

    @rule(job_id=jobs)
    def admit(self, job_id: str) -> None:
        known = self.store.get(job_id) is not None
        waiting = len(self.store.waiting()) + len(self.store.occupying())
        verdict = admit(self.store, job_id, max_queued=1)
        assert verdict == ("same" if known else "full" if waiting >= 2 else "created")

    @rule(job_id=jobs, stale=stale)
    def claim(self, job_id: str, stale: int) -> None:
        self.store.claim(job_id, self.attempt(job_id, stale), slot="s", worker="w")

    @rule(job_id=jobs, stale=stale)
    def renew(self, job_id: str, stale: int) -> None:
        job = self.store.get(job_id)
        lease = self.store.renew(job_id, self.attempt(job_id, stale))
        assert lease.held == (job is not None and not stale and job.status in OCCUPYING)

    @rule(job_id=jobs, stale=stale, lines=st.integers(0, 3))
    def append(self, job_id: str, stale: int, lines: int) -> None:
        self.batch += 1
        event = StoredEvent("log", json.dumps(["x"] * lines), lines) if lines else METRIC
        self.store.append(job_id, self.attempt(job_id, stale), self.batch, [event])

    @rule(job_id=jobs, force=st.booleans())
    def cancel(self, job_id: str, force: bool) -> None:
        self.store.cancel(job_id, force=force)

    @rule(job_id=jobs, stale=stale)
    def complete(self, job_id: str, stale: int) -> None:
        self.store.complete(job_id, self.attempt(job_id, stale), {})

    @rule(job_id=jobs, stale=stale)
    def fail(self, job_id: str, stale: int) -> None:
        self.store.fail(job_id, self.attempt(job_id, stale), ERROR)

    @rule(job_id=jobs, stale=stale)
    def cancelled(self, job_id: str, stale: int) -> None:
        self.store.cancelled(job_id, self.attempt(job_id, stale))

    @rule(job_id=jobs, stale=stale)
    def put_back(self, job_id: str, stale: int) -> None:
        self.store.put_back(job_id, self.attempt(job_id, stale), "x")

    @rule(job_id=jobs, stale=stale)
    def lost(self, job_id: str, stale: int) -> None:
        self.store.lost(job_id, self.attempt(job_id, stale), "x")

    @invariant()
    def the_sets_agree_with_the_statuses(self) -> None:
        jobs = self.store.jobs()
        assert set(self.store.waiting()) == {j.job_id for j in jobs if j.status is Q}
        assert set(self.store.occupying()) == {j.job_id for j in jobs if j.status in OCCUPYING}

    @invariant()
    def attempts_only_grow(self) -> None:
        for job in self.store.jobs():
            assert job.attempt >= self.attempts.get(job.job_id, 1)
            assert job.attempt == 1 + job.restarts + job.put_backs
            self.attempts[job.job_id] = job.attempt

    @invariant()
    def an_end_is_the_end(self) -> None:
        """Nothing here queues an ended job again, so it keeps its status and its last event."""
        for job in self.store.jobs():
            stream = events(self.redis, job.job_id)
            ends = [e for e in stream if _terminal(e)]
            assert len(ends) == (job.status in TERMINAL)
            if ends:
                assert stream[-1] is ends[0]
                end = (job.status, len(stream))
                assert self.ended.setdefault(job.job_id, end) == end

    @invariant()
    def running_is_said_once_an_attempt_and_first(self) -> None:
        for job in self.store.jobs():
            stream = events(self.redis, job.job_id)
            running = [e["attempt"] for e in stream if e["data"] == '{"status": "running"}']
            assert running == [str(n + 1) for n in range(len(running))]
            sequence = [int(e["sequence"]) for e in stream]
            assert sequence == list(range(1, len(stream) + 1))
            known = self.redis.zscore("trainyard:undelivered", job.job_id) is not None
            assert known == bool(stream)

    @precondition(lambda self: self.ended)
    @rule()
    def an_ended_job_holds_nothing(self) -> None:
        assert not set(self.ended) & {*self.store.waiting(), *self.store.occupying()}


def _terminal(event: dict[str, str]) -> bool:
    return event["kind"] == "status" and json.loads(event["data"])["status"] in TERMINAL


AnySequence.TestCase.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=25, deadline=None
)
TestAnySequence = AnySequence.TestCase
