"""Sweeps on a real Redis: all jobs or none, once; the group is asked as one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError

from backend_bridge.intake.admission import JobIdTaken, LimitReached
from backend_bridge.intake.stream_consumer import StreamConsumer
from tests.support.celery_app import bridge_celery
from tests.support.command_line import trainyard
from tests.support.plain_yard import PlainYard
from tests.support.redis_server import RedisServer
from tests.support.requests import TOKEN, request_body
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.names import REPLIES, REQUESTS
from trainyard.contract.request import RequestInvalid
from trainyard.settings import read_settings
from trainyard.store.retention import Retention

GRID = {"training.learning_rate": [1e-4, 2e-4], "lora.r": [8, 16]}
IDS = ["g-1", "g-2", "g-3", "g-4"]
SENT = {f"{job_id}:1" for job_id in IDS}


@pytest.fixture
def app(redis_server: RedisServer) -> Iterator[Any]:
    with bridge_celery(redis_server.url) as app:
        yield app


@pytest.fixture
def yard(real_redis: Redis, app: Any) -> PlainYard:
    return PlainYard(real_redis, app)


def known(yard: PlainYard) -> list[str]:
    return [job.job_id for job in yard.store.jobs()]


def states(yard: PlainYard) -> list[str]:
    return [job.status for job in yard.store.group("g")]


def test_admitted_twice_it_is_there_once(yard: PlainYard) -> None:
    admitted = yard.admit("g", sweep=GRID)
    assert (admitted.job_id, admitted.jobs, admitted.status) == ("g", IDS, "queued")
    assert (admitted.is_new, admitted.queue_position) == (True, 1)
    again = yard.admit("g", sweep=GRID)
    assert (again.job_id, again.jobs, again.is_new) == ("g", IDS, False)
    assert known(yard) == IDS
    assert yard.sent() == SENT
    assert yard.job("g-2").settings == {"training.learning_rate": 1e-4, "lora.r": 16}


def test_another_grid_of_that_name_is_refused_also_where_no_id_of_a_job_is_the_same(
    yard: PlainYard,
) -> None:
    yard.admit("g", sweep=GRID)
    with pytest.raises(JobIdTaken):
        yard.admit("g", sweep={"seed": list(range(10))})  # g-01 to g-10
    assert known(yard) == IDS


def test_many_at_once_make_one_group(yard: PlainYard) -> None:
    news = list[bool]()
    senders = [
        threading.Thread(target=lambda: news.append(yard.admit("g", sweep=GRID).is_new))
        for _ in range(8)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(30)
    assert sorted(news) == [False] * 7 + [True]
    assert (known(yard), yard.store.waiting()) == (IDS, IDS)


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_a_crash_in_the_middle_ends_with_the_whole_group_once(
    yard: PlainYard, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    enqueue = yard.queue.enqueue

    def dies(attempt_id: str, **how: Any) -> None:
        if attempt_id == f"{IDS[sent]}:1":
            raise ConnectionError("the process dies here")
        enqueue(attempt_id, **how)

    monkeypatch.setattr(yard.queue, "enqueue", dies)
    with pytest.raises(ConnectionError):
        yard.admit("g", sweep=GRID)
    monkeypatch.undo()
    assert not yard.admit("g", sweep=GRID).is_new
    yard.rounds()
    assert yard.sent() == SENT
    assert yard.queue.count(["box-0"]) == len(IDS)


def test_all_or_none(real_redis: Redis, app: Any) -> None:
    yard = PlainYard(real_redis, app, max_queued=2)  # and one runs
    with pytest.raises(LimitReached):
        yard.admit("g", sweep=GRID)
    assert (known(yard), yard.sent()) == ([], set())
    yard.admit("g", sweep={"lora.r": [8, 16, 32]})
    assert len(known(yard)) == 3


@pytest.mark.parametrize("before", ["g", "g-3"])
def test_a_name_that_is_taken_is_refused_whole(yard: PlainYard, before: str) -> None:
    yard.admit(before)
    with pytest.raises(JobIdTaken, match="the job id g belongs to another request"):
        yard.admit("g", sweep=GRID)
    assert known(yard) == [before]


def test_another_grid_or_job_of_its_name_is_another_request(yard: PlainYard) -> None:
    yard.admit("g", sweep=GRID)
    for changes in ({"sweep": {"lora.r": [8, 16]}}, {"sweep": {**GRID, "seed": [7]}}, {}):
        with pytest.raises(JobIdTaken):
            yard.admit("g", **changes)
    with pytest.raises(JobIdTaken):
        yard.admit("g-1")
    assert known(yard) == IDS


def test_what_is_wrong_in_one_refuses_all(yard: PlainYard) -> None:
    with pytest.raises(RequestInvalid, match=r"sweep.lora.r: should be greater"):
        yard.admit("g", sweep={"lora.r": [8, 0]})
    assert known(yard) == []


def test_one_command_for_all_of_them(yard: PlainYard) -> None:
    yard.admit("g", sweep=GRID)
    yard.complete("g-1")
    yard.take("g-2")
    assert yard.control.pause("g").message.startswith("sweep g: 3 of 4 jobs are paused, or pause")
    assert states(yard) == ["completed", "pausing", "paused", "paused"]
    assert yard.control.pause("g").success
    assert yard.sent() == set()
    assert yard.store.paused("g-2", 1, {"checkpoint": "checkpoints/checkpoint-1"})
    said = yard.control.resume("g")
    assert (said.message, said.previous_status) == (
        "sweep g: 3 of 4 jobs are queued again",
        "paused",
    )
    assert yard.sent() == {"g-2:2", "g-3:2", "g-4:2"}
    assert yard.control.resume("g").success
    assert not yard.control.resume("g", "checkpoints/checkpoint-1").success
    yard.take("g-4", 2)
    assert yard.control.cancel("g").message.startswith("sweep g: 3 of 4 jobs are cancelled")
    assert states(yard) == ["completed", "cancelled", "cancelled", "cancelling"]
    assert yard.control.cancel("g").success
    assert yard.control.pause("g").message == (
        "sweep g: nothing to do, its jobs are 1 completed, 2 cancelled, 1 cancelling"
    )
    assert yard.sent() == set()


def test_held_ones_are_reached_too(yard: PlainYard) -> None:
    yard.admit("first")
    yard.admit("g", sweep=GRID, after="first")
    assert yard.sent() == {"first:1"}
    yard.control.pause("g")
    yard.complete("first")
    yard.control.resume("g")
    yard.rounds()
    assert yard.sent() == {f"{job_id}:2" for job_id in IDS}
    yard.control.cancel("g")
    assert set(states(yard)) == {"cancelled"}


def test_a_failure_stops_no_other(yard: PlainYard) -> None:
    yard.admit("g", sweep=GRID)
    yard.take("g-1")
    yard.store.fail("g-1", 1, ErrorReport(kind=ErrorKind.DATASET, message="No rows."))
    yard.rounds()
    assert states(yard) == ["failed", "queued", "queued", "queued"]
    assert yard.sent() == SENT - {"g-1:1"}


def test_a_removed_job_does_not_come_back_with_the_same_request(yard: PlainYard) -> None:
    yard.admit("g", sweep=GRID)
    yard.control.cancel("g-2")
    yard.redis.zrem("trainyard:undelivered", "g-2")  # the backend has been told
    Retention(yard.redis, read_settings()).remove("g-2")
    again = yard.admit("g", sweep=GRID)
    assert (again.is_new, [job.job_id for job in yard.store.group("g")]) == (
        False,
        ["g-1", "g-3", "g-4"],
    )
    yard.control.cancel("g")
    for job_id in ("g-1", "g-3", "g-4"):
        yard.redis.zrem("trainyard:undelivered", job_id)
        Retention(yard.redis, read_settings()).remove(job_id)
    assert not yard.redis.keys("trainyard:group:*")
    assert yard.admit("g", sweep=GRID).is_new


def test_through_the_stream(yard: PlainYard) -> None:
    consumer = StreamConsumer(yard.redis, yard.admission, yard.control, max_request_mb=1)
    consumer._ensure_group()
    for body in (
        request_body("g", sweep=GRID),
        {"action": "cancel", "job_id": "g"},
        request_body("wrong", sweep={"lora.r": [8, 0]}),
    ):
        yard.redis.xadd(REQUESTS, {"request": json.dumps(body)})
    consumer.consume(block_ms=1)
    replies = [fields for _, fields in yard.redis.xrange(REPLIES)]
    assert replies[0]["message"] == "sweep g: 4 jobs, g-1 to g-4"
    assert replies[1]["message"].startswith("sweep g: 4 of 4 jobs are cancelled")
    assert replies[2]["success"] == "false"
    assert set(states(yard)) == {"cancelled"}
    for job_id in ("wrong-1", "wrong-2"):  # the backend has a row of each
        assert yard.redis.get(f"trainyard:token:{job_id}") == TOKEN
    assert not yard.redis.exists("trainyard:token:wrong")


def test_what_waits_for_a_sweep_runs_after_all_of_its_jobs(yard: PlainYard) -> None:
    yard.admit("g", sweep=GRID)
    yard.complete("g-1")
    yard.admit("after-it", after=["g"])
    assert list(yard.job("after-it").awaits) == IDS
    assert not yard.admit("after-it", after=["g"]).is_new
    for job_id in IDS[1:]:
        yard.rounds()
        assert "after-it:1" not in yard.sent()
        yard.complete(job_id)
    yard.rounds()
    assert yard.sent() == {"after-it:1"}


def test_a_sweep_of_which_a_job_has_ended_otherwise_is_not_awaited(yard: PlainYard) -> None:
    yard.admit("g", sweep=GRID)
    yard.control.cancel("g-3")
    with pytest.raises(RequestInvalid) as refused:
        yard.admit("after-it", after=["g"])
    [problem] = refused.value.problems
    said = "job g-3 is cancelled: `trainyard force-start g-3` queues it again"
    assert (problem.path, problem.message) == ("after.0", said)


def test_a_sweep_is_moved_to_the_head_in_its_order(yard: PlainYard) -> None:
    yard.admit("first")
    yard.admit("g", sweep=GRID, not_before="2100-01-01T00:00:00Z")
    yard.control.cancel("g-2")
    said = yard.control.force_start("g")
    assert said.message == "sweep g: 4 of 4 jobs run next, or are queued again"
    assert yard.store.waiting() == ["g-1", "g-3", "g-4", "first", "g-2"]
    assert yard.control.force_start("g", from_start=True).success


def test_a_sweep_is_removed_by_its_name_once_all_of_it_has_ended(
    yard: PlainYard, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setenv("BACKEND_URL", "http://127.0.0.1:9")
    yard.admission.admit(request_body("g", sweep=GRID), reported=False)
    assert trainyard("redeliver", "g", "--from-start").exit_code == 0
    yard.complete("g-1")
    early = trainyard("rm", "g")
    assert early.exit_code == 1
    assert "g is a sweep, and g-2 is queued, g-3 is queued" in early.stderr
    assert "trainyard cancel g" in early.stderr
    assert known(yard) == IDS
    assert yard.control.cancel("g").success
    unasked = trainyard("rm", "g", "g-2")
    assert unasked.exit_code == 2
    assert "give -y to remove g-1, g-2, g-3, g-4 for good, with what was trained" in unasked.stderr
    assert known(yard) == IDS
    done = trainyard("rm", "-y", "g", "g-2")
    assert done.exit_code == 0, done.output
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == IDS
    assert known(yard) == []
