"""Every status transition of a job: which are allowed, which are refused, and what each leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from tests.support.requests import TOKEN, start_request
from tests.support.store_calls import JOB, METRIC, admit, claim, events, job_store, statuses, stored
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Warnings
from trainyard.contract.statuses import JobStatus
from trainyard.contract.verdicts import Verdict, VerdictKind
from trainyard.store.attempt_writes import SLOT_LOSSES_MAX
from trainyard.store.job_store import JobStore

ERROR = ErrorReport(kind=ErrorKind.DATASET, message="No such data set.")


def put_into(store: JobStore, status: JobStatus) -> int:
    """Bring JOB into ``status``; returns its attempt."""
    admit(store)
    if status is not JobStatus.QUEUED:
        assert claim(store)
    match status:
        case JobStatus.PAUSING | JobStatus.PAUSED:
            assert store.pause(JOB)
            if status is JobStatus.PAUSED:
                assert store.paused(JOB, 1, {"checkpoint": "checkpoints/checkpoint-4"})
        case JobStatus.CANCELLING | JobStatus.CANCELLED:
            assert store.cancel(JOB)
            if status is JobStatus.CANCELLED:
                assert store.cancelled(JOB, 1)
        case JobStatus.COMPLETED:
            assert store.complete(JOB, 1, {})
        case JobStatus.FAILED:
            assert store.fail(JOB, 1, ERROR)
    job = stored(store)
    assert job.status is status
    return 1


Q, R, P, PD, CG, CD, C, F = JobStatus
CALLS: dict[str, Callable[[JobStore, int], Any]] = {
    "claim": claim,
    "give_up_waiting": lambda store, n: store.give_up_waiting(JOB, n, ERROR),
    "renew": lambda store, n: store.renew(JOB, n).held,
    "append": lambda store, n: store.append(JOB, n, 1, [METRIC]),
    "complete": lambda store, n: store.complete(JOB, n, {}),
    "fail": lambda store, n: store.fail(JOB, n, ERROR),
    "cancelled": lambda store, n: store.cancelled(JOB, n),
    "paused": lambda store, n: store.paused(JOB, n, {"checkpoint": "c"}),
    "put_back": lambda store, n: store.put_back(JOB, n, "x"),
    "make_way": lambda store, n: store.make_way(JOB, n, "x", {"checkpoint": "c"}),
    "lost": lambda store, n: store.lost(JOB, n, "x"),
}
ALLOWED: dict[str, dict[JobStatus, JobStatus]] = {
    "claim": {Q: R},
    "renew": {R: R, P: P, CG: CG},
    "append": {R: R, P: P, CG: CG},
    "complete": {R: C, P: C, CG: C},
    "fail": {R: F, P: F, CG: CD},
    "cancelled": {CG: CD},
    "paused": {P: PD},
    "put_back": {R: Q, P: PD, CG: CD},
    "make_way": {R: Q},
    "lost": {R: Q, P: PD, CG: CD},
    "give_up_waiting": {Q: F},
}
ASKS: dict[str, Callable[[JobStore], Any]] = {
    "cancel": lambda store: store.cancel(JOB),
    "pause": lambda store: store.pause(JOB),
    "resume": lambda store: store.resume(JOB),
    "restart": lambda store: store.restart(JOB),
    "start_afresh": lambda store: store.start_afresh(JOB),
    "to_head": lambda store: store.to_head(JOB),
}
"""What people ask of a job, whatever its attempt."""
ALLOWED_ASKS: dict[str, dict[JobStatus, JobStatus]] = {
    "cancel": {Q: CD, R: CG, P: CG, PD: CD, CG: CG},
    "pause": {Q: PD, R: P},
    "resume": {PD: Q},
    "restart": {F: Q, CD: Q},
    "start_afresh": {Q: Q, PD: Q, F: Q, CD: Q},
    "to_head": {Q: Q},
}


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("call", list(CALLS))
def test_every_call_from_every_state(
    store: JobStore, redis: Redis, call: str, status: JobStatus
) -> None:
    attempt = put_into(store, status)
    before = events(redis)
    done = CALLS[call](store, attempt)
    job = stored(store)
    assert bool(done) == (status in ALLOWED[call])
    assert job.status is ALLOWED[call].get(status, status)
    if not done:
        assert events(redis) == before


def test_a_slot_process_runs_one_job_at_a_time(store: JobStore) -> None:
    """It is free again whatever ended the first; a worker that was restarted is another one."""
    here = {"slot": "slot-0", "worker": "w"}
    for job_id in ("one", "two", "three"):
        admit(store, job_id)
    assert store.claim("one", 1, slot_process="a", **here)
    assert not store.claim("two", 1, slot_process="a", **here)
    assert store.claim("three", 1, slot_process="b", **here)
    store.cancel("one")
    assert not store.claim("two", 1, slot_process="a", **here)
    assert store.cancelled("one", 1)
    assert store.claim("two", 1, slot_process="a", **here)


def test_a_parked_job_that_is_cancelled_holds_no_slot(store: JobStore) -> None:
    here = {"slot": "slot-0", "worker": "w", "slot_process": "a"}
    admit(store, "one")
    admit(store, "two")
    assert store.claim("one", 1, **here)
    store.pause("one")
    assert store.paused("one", 1, {"checkpoint": "c", "parked": "one:1"})
    store.cancel("one")
    assert store.claim("two", 1, **here)


@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("call", list(CALLS))
def test_another_attempt_changes_nothing(
    store: JobStore, redis: Any, call: str, status: JobStatus, attempt: int
) -> None:
    put_into(store, status)
    before = redis.hgetall(f"trainyard:job:{JOB}"), events(redis), store.expired()[1]
    assert not CALLS[call](store, attempt)
    assert (redis.hgetall(f"trainyard:job:{JOB}"), events(redis), store.expired()[1]) == before


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("ask", list(ASKS))
def test_what_people_ask_from_every_state(
    store: JobStore, redis: Any, ask: str, status: JobStatus
) -> None:
    put_into(store, status)
    before = redis.hgetall(f"trainyard:job:{JOB}")
    done = ASKS[ask](store)
    job = stored(store)
    assert bool(done) == (status in ALLOWED_ASKS[ask])
    assert job.status is ALLOWED_ASKS[ask].get(status, status)
    if not done:
        assert redis.hgetall(f"trainyard:job:{JOB}") == before
    assert job.attempt == (2 if ask in ("resume", "restart", "start_afresh") and done else 1)


@pytest.mark.parametrize("status", [F, CD])
def test_a_job_that_is_started_again_forgets_its_end(store: JobStore, status: JobStatus) -> None:
    put_into(store, status)
    assert store.start_afresh(JOB)
    job = stored(store)
    assert (job.error, job.completed_at, job.cancel, job.slot) == (None, None, "", "")
    assert job.from_start
    assert claim(store, 2)
    assert not store.complete(JOB, 1, {})
    assert store.complete(JOB, 2, {})


@pytest.mark.parametrize("kept", ["checkpoint", "resume_from"])
def test_a_job_with_checkpoints_is_for_slots_of_their_home(
    store: JobStore, redis: Any, kept: str
) -> None:
    admit(store)
    assert store.claim(JOB, 1, slot="a-0", worker="w", home="a")
    assert store.put_back(JOB, 1, "it stops.")
    here, there = ({"slot": f"{home}-0", "worker": "w", "home": home} for home in "ab")
    assert store.claim(JOB, 2, **there), "it has none yet"
    assert store.put_back(JOB, 2, "it stops.")
    redis.hset(f"trainyard:job:{JOB}", kept, "checkpoints/checkpoint-4")
    assert not store.claim(JOB, 3, **here)
    job = stored(store)
    assert (job.status, job.home, job.home_host) == (Q, "b", "b")
    assert store.start_afresh(JOB)
    assert store.claim(JOB, 4, **here), "a person said so"


def test_the_head_of_the_queue(store: JobStore) -> None:
    for name in ("a", "b", "c"):
        admit(store, name)
    assert store.to_head("c")
    assert store.to_head("b")
    assert store.waiting() == ["b", "c", "a"]


def test_priorities_wait_first_and_a_put_back_job_keeps_its_turn(store: JobStore) -> None:
    for name, priority in (("late", 9), (JOB, 5), ("second", 5), ("first", 0)):
        store.admit(start_request(name, priority=priority), slots=1)
    assert store.waiting() == ["first", JOB, "second", "late"]
    assert claim(store)
    store.put_back(JOB, 1, "x")
    assert store.waiting() == ["first", JOB, "second", "late"]
    assert store.pause(JOB)
    assert store.resume(JOB)
    assert store.waiting() == ["first", "second", JOB, "late"]


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
    job = stored(store)
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
    job = stored(store)
    assert (job.put_backs, job.restarts, job.attempt) == (3, 1, 5)
    assert (job.slot, job.worker, job.cancel) == ("", "", "")


def test_a_job_that_is_lost_too_often_fails_with_the_reason(store: JobStore, redis: Redis) -> None:
    admit(store)
    verdicts = []
    for attempt in (1, 2, 3):
        assert claim(store, attempt)
        verdicts.append(store.lost(JOB, attempt, "It was killed."))
    assert verdicts == [Q, Q, F]
    job = stored(store)
    assert job.error is not None
    assert job.error.kind is ErrorKind.WORKER_LOST
    assert job.error.message.startswith("It was killed. The job was started 3 times")
    assert statuses(redis) == ["running", "running", "running", "failed"]


def test_what_a_slot_loses_counts_no_restart_but_not_for_ever(redis: Redis) -> None:
    store = job_store(redis, max_restarts=0)
    admit(store)
    for attempt in range(1, SLOT_LOSSES_MAX + 1):
        assert claim(store, attempt)
        assert store.lost(JOB, attempt, "The slot process ended.", excused=True) is Q
    job = stored(store)
    assert (job.slot_losses, job.restarts) == (SLOT_LOSSES_MAX, 0)
    assert claim(store, SLOT_LOSSES_MAX + 1)
    assert store.lost(JOB, SLOT_LOSSES_MAX + 1, "It may be the job.", excused=True) is F


@pytest.mark.parametrize(("before", "then"), [(R, F), (CG, CD)])
def test_without_restarts_the_first_loss_is_the_last(
    redis: Redis, before: JobStatus, then: JobStatus
) -> None:
    store = job_store(redis, max_restarts=0)
    put_into(store, before)
    assert store.lost(JOB, 1, "x") is then


class AnswerLost:
    """Stands in for a script: it runs, and then the connection breaks."""

    def __init__(self, script: Any) -> None:
        self.script = script

    def __call__(self, **arguments: Any) -> Any:
        self.script(**arguments)
        raise ConnectionError("the answer was lost")


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
    job = stored(store)
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
    store = job_store(redis, lease_s=1000)
    put_into(store, R)
    first = redis.zscore("trainyard:occupying", JOB)
    longer = job_store(redis, lease_s=2000)
    assert longer.renew(JOB, 1).held
    assert redis.zscore("trainyard:occupying", JOB) - first >= 1_000_000


def test_the_token_stands_under_its_own_key_alone(store: JobStore, redis: Any) -> None:
    put_into(store, C)
    dump = {key: redis.hgetall(key) for key in redis.scan_iter("trainyard:job:*")}
    dump |= {"request": store.request(JOB), "events": events(redis)}
    assert TOKEN not in json.dumps(dump)
    assert redis.get(f"trainyard:token:{JOB}") == TOKEN


def test_a_job_knows_the_newest_verdicts_on_its_training(store: JobStore) -> None:
    put_into(store, R)
    for number in (1, 2):
        verdicts = [Verdict(kind=VerdictKind.DATA, sentence=f"{number} rows repeat")]
        told = Warnings(warnings=verdicts).model_dump_json(exclude={"event"})
        assert store.append(JOB, 1, number, [], {"warnings": told})
    job = stored(store)
    assert job.warnings == verdicts


@pytest.mark.parametrize(
    ("checkpoint", "progress"),
    [
        ("checkpoints/checkpoint-4", {"step": 4, "epoch": 0.4, "total_steps": 20}),
        ("", {}),
    ],
)
def test_a_lost_job_stands_where_its_checkpoint_does(
    store: JobStore, checkpoint: str, progress: dict[str, Any]
) -> None:
    put_into(store, JobStatus.RUNNING)
    reached = {"step": 5, "epoch": 0.5, "total_steps": 20, "remaining_seconds": 9.5}
    fields = {"progress": json.dumps(reached), "checkpoint": checkpoint}
    assert store.append(JOB, 1, 1, [], fields)
    store.lost(JOB, 1, "Its worker was lost.")
    job = stored(store)
    assert job.progress == progress
