"""Any sequence of calls on the job store, by attempts old and new: its invariants hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import fakeredis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.store_calls import METRIC, admit, events, job_store
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.statuses import OCCUPYING, TERMINAL, JobStatus
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.job_store import JobStore

Q, CD = JobStatus.QUEUED, JobStatus.CANCELLED
ERROR = ErrorReport(kind=ErrorKind.DATASET, message="No such data set.")
JOBS = st.sampled_from(["a", "b"])
STALE = st.sampled_from([0, 0, 0, 0, 0, 1])


def by_attempt(call: Callable[[JobStore, str, int], Any]) -> Any:
    """A rule: one call by a job's attempt, which does nothing if that is an old one."""

    def done(self: AnySequence, job_id: str, stale: int) -> None:
        assert not (call(self.store, job_id, self.attempt(job_id, stale)) and stale)

    return rule(job_id=JOBS, stale=STALE)(done)


class AnySequence(RuleBasedStateMachine):
    """Random calls by attempts old and new on a few jobs; the invariants hold throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.redis: Any = fakeredis.FakeRedis(decode_responses=True)
        self.store = job_store(self.redis, max_restarts=1)
        self.attempts: dict[str, int] = {}
        self.ended: dict[str, tuple[JobStatus, int]] = {}
        self.again: Counter[str] = Counter()
        self.restarted: Counter[str] = Counter()
        self.batch = 0

    def teardown(self) -> None:
        self.redis.close()

    @initialize()
    def start(self) -> None:
        """Most of what can go wrong needs a job that runs."""
        self.admit("a")
        self.admit("b")
        self.claim("a", 0)

    def attempt(self, job_id: str, stale: int) -> int:
        job = self.store.get(job_id)
        return (job.attempt if job else 1) - stale

    @rule(job_id=st.sampled_from(["a", "b", "c"]))
    def admit(self, job_id: str) -> None:
        known = self.store.get(job_id) is not None
        waiting = len(self.store.waiting()) + len(self.store.occupying())
        verdict = admit(self.store, job_id, max_queued=1)
        assert verdict == ("same" if known else "full" if waiting >= 2 else "created")

    claim = by_attempt(lambda store, job, n: store.claim(job, n, slot="s", worker="w"))
    complete = by_attempt(lambda store, job, n: store.complete(job, n, {}))
    fail = by_attempt(lambda store, job, n: store.fail(job, n, ERROR))
    resume_refused = by_attempt(lambda store, job, n: store.resume_refused(job, n, ERROR))
    cancelled = by_attempt(lambda store, job, n: store.cancelled(job, n))
    put_back = by_attempt(lambda store, job, n: store.put_back(job, n, "x"))
    make_way = by_attempt(lambda store, job, n: store.make_way(job, n, "x", {"checkpoint": "c"}))
    lost = by_attempt(lambda store, job, n: store.lost(job, n, "x"))
    paused = by_attempt(lambda store, job, n: store.paused(job, n, {"checkpoint": "c"}))

    @rule(job_id=JOBS, stale=STALE)
    def renew(self, job_id: str, stale: int) -> None:
        job = self.store.get(job_id)
        lease = self.store.renew(job_id, self.attempt(job_id, stale))
        assert lease.held == (job is not None and not stale and job.status in OCCUPYING)

    @rule(job_id=JOBS, stale=STALE, lines=st.integers(0, 3))
    def append(self, job_id: str, stale: int, lines: int) -> None:
        self.batch += 1
        event = StoredEvent("log", json.dumps(["x"] * lines), lines) if lines else METRIC
        assert not (
            self.store.append(job_id, self.attempt(job_id, stale), self.batch, [event]) and stale
        )

    @rule(job_id=JOBS, force=st.booleans())
    def cancel(self, job_id: str, force: bool) -> None:
        self.store.cancel(job_id, force=force)

    @rule(job_id=JOBS)
    def pause(self, job_id: str) -> None:
        self.store.pause(job_id)

    @rule(job_id=JOBS)
    def resume(self, job_id: str) -> None:
        self.again[job_id] += self.store.resume(job_id) is not None

    @rule(job_id=JOBS, from_start=st.booleans())
    def restart(self, job_id: str, from_start: bool) -> None:
        again = self.store.start_afresh if from_start else self.store.restart
        if again(job_id) is not None:
            self.again[job_id] += 1
            if job_id in self.ended:
                self.restarted[job_id] += 1
                del self.ended[job_id]

    @invariant()
    def the_sets_agree_with_the_statuses(self) -> None:
        jobs = self.store.jobs()
        assert set(self.store.waiting()) == {j.job_id for j in jobs if j.status is Q}
        assert set(self.store.occupying()) == {j.job_id for j in jobs if j.status in OCCUPYING}

    @invariant()
    def attempts_only_grow(self) -> None:
        for job in self.store.jobs():
            assert job.attempt >= self.attempts.get(job.job_id, 1)
            by_itself = job.restarts + job.put_backs + job.ways_made
            assert job.attempt == 1 + by_itself + self.again[job.job_id]
            self.attempts[job.job_id] = job.attempt

    @invariant()
    def an_end_is_the_end(self) -> None:
        """Until a person starts it again, an ended job keeps its status and its last event."""
        for job in self.store.jobs():
            stream = events(self.redis, job.job_id)
            ends = [e for e in stream if _terminal(e)]
            assert len(ends) == (job.status in TERMINAL) + self.restarted[job.job_id]
            if job.status in TERMINAL:
                assert stream[-1] is ends[-1]
                end = (job.status, len(stream))
                assert self.ended.setdefault(job.job_id, end) == end

    @invariant()
    def running_is_said_once_an_attempt_and_first(self) -> None:
        for job in self.store.jobs():
            stream = events(self.redis, job.job_id)
            running = [e["attempt"] for e in stream if e["data"] == '{"status": "running"}']
            assert len(set(running)) == len(running)
            assert running == sorted(running, key=int)
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
    max_examples=60, stateful_step_count=30, deadline=None
)
TestAnySequence = AnySequence.TestCase
