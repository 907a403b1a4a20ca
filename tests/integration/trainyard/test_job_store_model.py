"""The job store on a real Redis against a model of it: any sequence of calls, the same answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from tests.support.job_model import JobModel
from tests.support.store_calls import admit, job_store
from trainyard.contract.errors import ErrorKind, ErrorReport

ERROR = ErrorReport(kind=ErrorKind.DATASET, message="No such data set.")
MAX_RESTARTS = 2
QUICK, LONG, STEPS = 60, 20_000, 50


class StoreAgainstModel(RuleBasedStateMachine):
    """Each rule makes one call on both, and compares the answers."""

    redis: ClassVar[Any]
    jobs = st.sampled_from(["a", "b", "c"])
    stale = st.sampled_from([0, 0, 0, 0, 0, 0, 1])
    processes = st.sampled_from(["p", "q"])

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushdb()
        self.store = job_store(self.redis, lease_s=1000, max_restarts=MAX_RESTARTS)
        self.model = JobModel(MAX_RESTARTS)
        self.batch = 0

    @initialize()
    def start(self) -> None:
        """Most of what can go wrong needs a job that runs."""
        self.admit("a", 2)
        self.admit("b", 2)
        self.claim("a", 0, "p")

    def attempt(self, name: str, stale: int) -> int:
        job = self.model.jobs.get(name)
        return (job.attempt if job else 1) - stale

    @rule(name=jobs, max_queued=st.sampled_from([1, 2]))
    def admit(self, name: str, max_queued: int) -> None:
        expected = self.model.admit(name, max_queued)
        assert admit(self.store, name, max_queued=max_queued) == expected

    @rule(name=jobs, stale=stale, process=processes)
    def claim(self, name: str, stale: int, process: str) -> None:
        attempt = self.attempt(name, stale)
        done = self.store.claim(name, attempt, slot="s", worker="w", slot_process=process)
        assert done == self.model.claim(name, attempt, process)

    @rule(name=jobs, stale=stale)
    def renew(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        assert self.store.renew(name, attempt).held == self.model.renew(name, attempt)

    @rule(name=jobs)
    def expire(self, name: str) -> None:
        self.redis.zadd("trainyard:occupying", {name: 1}, xx=True)
        self.model.expire(name)

    @rule(name=jobs, stale=stale)
    def append(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        self.batch += 1
        done = self.store.append(name, attempt, self.batch, [], {"parked": ""})
        assert done == self.model.append(name, attempt, "")

    @rule(name=jobs, force=st.booleans())
    def cancel(self, name: str, force: bool) -> None:
        done = self.store.cancel(name, force=force) is not None
        assert done == self.model.cancel(name, force)

    @rule(name=jobs)
    def pause(self, name: str) -> None:
        assert (self.store.pause(name) is not None) == self.model.pause(name)

    @rule(name=jobs, stale=stale, parks=st.booleans())
    def paused(self, name: str, stale: int, parks: bool) -> None:
        attempt = self.attempt(name, stale)
        parked = f"{name}:{attempt}" if parks else ""
        done = self.store.paused(name, attempt, {"checkpoint": "c", "parked": parked})
        assert done == self.model.paused(name, attempt, parked)

    @rule(name=jobs, stale=stale, parks=st.booleans())
    def make_way(self, name: str, stale: int, parks: bool) -> None:
        attempt = self.attempt(name, stale)
        parked = f"{name}:{attempt}" if parks else ""
        done = self.store.make_way(name, attempt, "x", {"checkpoint": "c", "parked": parked})
        assert done == self.model.make_way(name, attempt, parked)

    @rule(name=jobs)
    def resume(self, name: str) -> None:
        assert (self.store.resume(name) is not None) == self.model.resume(name)

    @rule(name=jobs)
    def restart(self, name: str) -> None:
        assert (self.store.restart(name) is not None) == self.model.restart(name)

    @rule(name=jobs)
    def start_afresh(self, name: str) -> None:
        assert (self.store.start_afresh(name) is not None) == self.model.start_afresh(name)

    @rule(name=jobs)
    def to_head(self, name: str) -> None:
        assert self.store.to_head(name) == self.model.to_head(name)

    @rule(name=jobs, stale=stale)
    def complete(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        assert self.store.complete(name, attempt, {}) == self.model.complete(name, attempt)

    @rule(name=jobs, stale=stale)
    def fail(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        assert self.store.fail(name, attempt, ERROR) == self.model.fail(name, attempt)

    @rule(name=jobs, stale=stale)
    def cancelled(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        assert self.store.cancelled(name, attempt) == self.model.cancelled(name, attempt)

    @rule(name=jobs, stale=stale)
    def resume_refused(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        done = self.store.resume_refused(name, attempt, ERROR)
        assert done == self.model.resume_refused(name, attempt)

    @rule(name=jobs, stale=stale)
    def put_back(self, name: str, stale: int) -> None:
        attempt = self.attempt(name, stale)
        done = self.store.put_back(name, attempt, "its worker stopped.")
        assert done == self.model.put_back(name, attempt)

    @rule(name=jobs, stale=stale, by_its_lease=st.booleans())
    def lost(self, name: str, stale: int, by_its_lease: bool) -> None:
        attempt = self.attempt(name, stale)
        until_s = self.redis.time()[0] + 500 if by_its_lease else None
        done = self.store.lost(name, attempt, "It crashed.", judged_until_s=until_s)
        assert done == self.model.lost(name, attempt, by_its_lease=by_its_lease)

    @invariant()
    def both_look_the_same(self) -> None:
        seen = {
            job.job_id: (
                *(job.status, job.attempt, job.restarts, job.put_backs, job.pauses),
                *(job.ways_made, job.cancel, job.parked, self.statuses(job.job_id)),
            )
            for job in self.store.jobs()
        }
        assert seen == self.model.view()
        assert self.store.waiting() == self.model.waiting()
        assert set(self.store.occupying()) == self.model.occupying()
        assert {job.job_id for job in self.store.expired()[1]} == self.model.expired()

    def statuses(self, name: str) -> list[str]:
        """What the backend will hear, each with a number of its own in order."""
        stream = [fields for _, fields in self.redis.xrange(f"trainyard:events:{name}")]
        assert [int(entry["sequence"]) for entry in stream] == list(range(1, len(stream) + 1))
        return [json.loads(e["data"])["status"] for e in stream if e["kind"] == "status"]


@pytest.fixture
def machine(real_redis: Redis) -> Iterator[type[StoreAgainstModel]]:
    StoreAgainstModel.redis = real_redis
    yield StoreAgainstModel
    del StoreAgainstModel.redis


def run(machine: type[StoreAgainstModel], sequences: int) -> None:
    how = hypothesis_settings(
        max_examples=sequences, stateful_step_count=STEPS, deadline=None, print_blob=True
    )
    run_state_machine_as_test(machine, settings=how)


def test_any_short_number_of_sequences(machine: type[StoreAgainstModel]) -> None:
    run(machine, QUICK)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_sequences(machine: type[StoreAgainstModel]) -> None:
    run(machine, LONG)
