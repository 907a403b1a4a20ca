"""Jobs that wait for a time or for other jobs: never lost, doubled or stuck, on a real Redis."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend_bridge.reaper import Reaper
from tests.support.celery_app import bridge_celery
from tests.support.faked_clock import LIBRARIES, FakedClock
from tests.support.plain_yard import PlainYard
from tests.support.redis_server import RedisServer
from tests.support.requests import request_body
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.request import RequestInvalid
from trainyard.contract.statuses import JobStatus
from trainyard.settings import read_settings
from trainyard.store.retention import Retention

HOUR_S = 3600


@pytest.fixture
def yard(real_redis: Redis, redis_server: RedisServer) -> Iterator[PlainYard]:
    with bridge_celery(redis_server.url) as app:
        yield PlainYard(real_redis, app)


def in_s(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def fail(yard: PlainYard, job_id: str) -> None:
    yard.take(job_id, yard.job(job_id).attempt)
    report = ErrorReport(kind=ErrorKind.DATASET, message="No rows.")
    assert yard.store.fail(job_id, yard.job(job_id).attempt, report)


def test_admitted_twice_it_waits_once_and_in_nobodys_way(yard: PlainYard) -> None:
    at = in_s(HOUR_S)
    assert yard.admit("late", not_before=at).is_new
    assert not yard.admit("late", not_before=at).is_new
    assert yard.admit("now").queue_position == 1
    yard.rounds()
    assert yard.sent() == {"now:1"}
    assert (yard.job("late").status, yard.store.queue_position("late")) == ("queued", None)


def test_held_jobs_count_against_the_limit(real_redis: Redis, redis_server: RedisServer) -> None:
    with bridge_celery(redis_server.url) as app:
        yard = PlainYard(real_redis, app, max_queued=0)
        yard.admit("late", not_before=in_s(HOUR_S))
        with pytest.raises(Exception, match="limit reached"):
            yard.admit("now")


def test_what_waits_for_a_job_runs_when_that_has_completed(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.admit("c", after=["b", "a"])
    yard.rounds()
    assert yard.sent() == {"a:1"}
    yard.complete("a")
    yard.rounds()
    assert yard.sent() == {"b:1"}
    assert list(yard.job("c").awaits) == ["b"]
    yard.complete("b")
    yard.rounds()
    assert yard.sent() == {"c:1"}


def test_one_that_has_completed_already_is_not_waited_for(yard: PlainYard) -> None:
    yard.admit("a")
    yard.complete("a")
    yard.admit("b", after="a")
    yard.rounds()
    assert yard.sent() == {"b:1"}


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_waits_in_vain_fails_with_the_reason_and_so_does_what_waits_for_it(
    yard: PlainYard, end: str
) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.admit("c", after="b", not_before=in_s(HOUR_S))
    if end == "failed":
        fail(yard, "a")
    else:
        yard.control.cancel("a")
    yard.rounds()
    error = yard.job("b").error
    assert error is not None
    assert error.kind is ErrorKind.AWAITED_JOB
    assert error.message == f"It was to run after the job a, which is {end}."
    assert yard.job("c").status is JobStatus.FAILED
    assert yard.sent() == set()


def test_a_chain_whose_first_has_failed_fails_in_one_round(yard: PlainYard) -> None:
    yard.admit("a")
    for before, name in itertools.pairwise("abcdef"):
        yard.admit(name, after=before)
    yard.control.cancel("a")
    yard.rounds(1)
    assert {yard.job(name).status for name in "bcdef"} == {JobStatus.FAILED}


def test_one_that_failed_so_starts_when_a_person_says(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.control.cancel("a")
    yard.rounds()
    yard.control.force_start("b")
    yard.rounds()
    assert yard.sent() == {"b:2"}


def test_a_paused_one_is_waited_for(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.control.pause("a")
    yard.rounds()
    assert yard.job("b").status is JobStatus.QUEUED
    yard.control.resume("a")
    yard.complete("a")
    yard.rounds()
    assert yard.sent() == {"b:1"}


@pytest.mark.parametrize("paused", [False, True])
def test_a_completed_one_that_is_removed_has_completed(yard: PlainYard, paused: bool) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    if paused:
        yard.control.pause("b")
    yard.complete("a")
    remove(yard, "a")
    if paused:
        yard.control.resume("b")
    yard.rounds()
    assert yard.sent() == {f"b:{yard.job('b').attempt}"}


def test_one_that_is_removed_before_it_has_completed_is_waited_for_in_vain(
    yard: PlainYard,
) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.control.cancel("a")
    remove(yard, "a")
    yard.admit("a")  # another of this name
    yard.redis.delete("trainyard:job:a")
    yard.rounds()
    error = yard.job("b").error
    assert error is not None
    assert "a, which was removed before it had completed" in error.message


def remove(yard: PlainYard, job_id: str) -> None:
    yard.redis.zrem("trainyard:undelivered", job_id)  # the backend has been told
    Retention(yard.redis, read_settings()).remove(job_id)


def test_cancelled_it_never_runs_and_paused_it_waits_on(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.admit("c", after="a")
    assert yard.control.cancel("b").success
    assert yard.control.pause("c").success
    yard.complete("a")
    yard.rounds()
    assert yard.sent() == set()
    assert yard.job("b").status is JobStatus.CANCELLED
    assert yard.control.resume("c").success
    yard.rounds()
    assert yard.sent() == {"c:2"}


def test_resumed_before_its_time_it_waits_again(yard: PlainYard) -> None:
    yard.admit("late", not_before=in_s(HOUR_S))
    yard.control.pause("late")
    said = yard.control.resume("late").message
    assert said.startswith("job late is queued: it waits until ")
    yard.rounds()
    assert yard.sent() == set()


@pytest.mark.parametrize("from_start", [False, True])
def test_a_person_may_start_it_at_once(yard: PlainYard, from_start: bool) -> None:
    yard.admit("first")
    yard.admit("late", not_before=in_s(HOUR_S), after="first")
    assert yard.control.force_start("late", from_start=from_start).success
    assert yard.store.waiting()[0] == "late"
    assert yard.sent() == {"first:1", "late:2"}
    yard.rounds()
    assert yard.sent() == {"first:1", "late:2"}


def test_what_goes_on_from_another_waits_for_that_whatever_a_person_says(yard: PlainYard) -> None:
    yard.admit("sft")
    yard.admit("dpo", model={"name": "job:sft"}, not_before=in_s(HOUR_S))
    said = yard.control.force_start("dpo").message
    assert said.startswith("job dpo goes on from another: it waits for job sft;")
    yard.rounds()
    assert yard.sent() == {"sft:1"}
    yard.complete("sft")
    yard.rounds()
    assert yard.sent() == {"dpo:2"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"after": "nobody"}, "after.0: there is no job nobody: `trainyard ps` lists them"),
        ({"after": ["gone"]}, "after.0: job gone is cancelled: `trainyard force-start gone`"),
        ({"after": ["own"]}, "after.0: there is no job own"),
        ({"after": 5}, "after: should be a list, not a number"),
        (
            {"not_before": "2026-01-31T12:00:00"},
            "not_before: should be a time with its zone, such as",
        ),
        (
            {"not_before": "9999-12-31T23:59:59Z"},
            "not_before: should be of a year from 1970 to 8999",
        ),
        ({"not_before": "0001-01-01T00:00:00+14:00"}, "not_before: should be of a year from 1970"),
        ({"not_before": 5}, "not_before: is a number: give a time such as 2026-01-31T12:00:00Z"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(
    yard: PlainYard, changes: dict[str, Any], said: str
) -> None:
    yard.admit("gone")
    yard.control.cancel("gone")
    with pytest.raises(RequestInvalid) as refused:
        yard.admission.admit(request_body("own", **changes))
    assert said in str(refused.value)


def test_a_reaper_that_is_killed_between_release_and_dispatch_loses_none(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.complete("a")
    assert yard.store.release() == (["b"], [])  # and then it is gone
    assert yard.sent() == set()
    yard.rounds()
    assert yard.sent() == {"b:1"}


def test_one_that_an_older_version_cancelled_is_held_no_more(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.redis.hset("trainyard:job:b", "status", "cancelled")  # it knows of no held jobs
    yard.complete("a")
    assert yard.store.release() == ([], [])
    assert (yard.store.held(), yard.store.waiting()) == ([], [])


def test_many_reapers_release_a_job_once(yard: PlainYard) -> None:
    yard.admit("a")
    yard.admit("b", after="a")
    yard.complete("a")
    reapers = [threading.Thread(target=Reaper(yard.dispatcher).release) for _ in range(8)]
    for reaper in reapers:
        reaper.start()
    for reaper in reapers:
        reaper.join(30)
    yard.take("b")
    assert yard.sent() == set()


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")
def test_the_clock_of_redis_says_when(tmp_path: Path) -> None:
    clock = FakedClock(tmp_path / "offset")
    with (
        RedisServer(environment=clock.environment) as server,
        server.client() as redis,
        bridge_celery(server.url) as app,
    ):
        yard = PlainYard(redis, app)
        yard.admit("late", not_before=in_s(1.5 * HOUR_S))
        for by_s in (HOUR_S, -HOUR_S):
            clock.set_by(by_s)
            yard.rounds()
            assert yard.sent() == set()
        clock.set_by(2 * HOUR_S)
        yard.rounds()
        assert yard.sent() == {"late:1"}
        clock.set_by(-HOUR_S)
        yard.rounds()
        assert yard.sent() == {"late:1"}


def test_redis_starts_again_meanwhile() -> None:
    with (
        RedisServer(append_only=True) as server,
        bridge_celery(server.url) as app,
        server.client() as redis,
    ):
        yard = PlainYard(redis, app)
        yard.admit("a")
        yard.admit("b", after="a")
        yard.admit("late", not_before=in_s(HOUR_S))
        yard.complete("a")
        server.kill()
        server.start()
        yard.rounds()
        assert yard.sent() == {"b:1"}
        assert yard.store.held() == ["late"]
