"""The forwarder on a real Redis, towards a backend that misbehaves on demand."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Protocol

import pytest
from redis import Redis

from backend_bridge.delivery.backend_client import BackendClient
from backend_bridge.delivery.outbox import HoldLost, Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.sender import Turn
from tests.support.dev_backend import FaultyBackend
from tests.support.forwarding import (
    QUICK,
    endpoints,
    first_tries,
    forwarding,
    lines_of,
    statuses_of,
    steps_of,
    wait_delivered,
)
from tests.support.paths import REPOSITORY
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from tests.support.scripted_backend import OK, Received, Reply, ScriptedBackend
from tests.support.waiting import wait_for
from trainyard.contract.events import LaneName
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.store.connection import connect
from trainyard.store.delivery_report import delivery_report
from trainyard.store.delivery_state import read_progress


class Forward(Protocol):
    def __call__(self, url: str, **options: Any) -> AbstractContextManager[threading.Event]: ...


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(append_only=True) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with connect(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as backend:
        yield backend


@pytest.fixture
def forward(redis: Redis) -> Forward:
    return functools.partial(forwarding, redis)


def set_aside(redis: Redis) -> list[dict[str, Any]]:
    """Records of what was set aside, oldest first."""
    raw: Any = redis.lrange("trainyard:set-aside", 0, -1)
    return [json.loads(record) for record in reversed(raw)]


def failures(redis: Redis, name: LaneName) -> int:
    """How often in a row a lane of job-1 was not taken."""
    stored: Any = redis.hgetall("trainyard:delivery:job-1")
    return read_progress(stored).lane(name).failures


# ---------------------------------------------------------------- order, once


def test_events_arrive_once_and_in_order(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    with forward(backend.url):
        job = RunningJob(redis, "job-1")
        job.log("one", "two")
        job.metric(1, train_loss=2.5)
        job.log("three")
        job.complete()
        wait_delivered(redis)
    requests = backend.received
    assert endpoints(requests) == ["status", "logs", "metrics", "logs", "status"]
    assert statuses_of(requests) == ["running", "completed"]
    assert lines_of(requests) == ["one", "two", "three"]
    assert requests[2].body == {"step": 1, "epoch": 0, "train_loss": 2.5}
    assert [request.key for request in requests] == [f"job-1:1:{n}" for n in range(1, 6)]
    assert {request.headers["Authorization"] for request in requests} == {"Bearer job-token"}


def test_what_is_not_for_the_backend_is_passed_over(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    from trainyard.store.attempt_writes import StoredEvent

    with forward(backend.url):
        job = RunningJob(redis, "job-1")
        job.append([StoredEvent("phase", "{}"), StoredEvent("checkpoint", "{}")])
        job.log("after")
        job.append([StoredEvent("phase", "{}")])
        wait_delivered(redis)
    assert endpoints(backend.received) == ["status", "logs"]


def test_many_jobs_side_by_side_with_one_request_in_flight_each(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.answer = lambda request: Reply(delay_s=0.01)
    jobs = [RunningJob(redis, f"job-{number}") for number in range(10)]
    with forward(backend.url), forward(backend.url):  # two couriers over one Redis
        for number in range(10):
            for job in jobs:
                job.log(f"line {number}")
        wait_delivered(redis)
    for job in jobs:
        assert lines_of(backend.of(job.job_id)) == [f"line {number}" for number in range(10)]
    assert set(backend.most_in_flight.values()) == {1}
    assert max(Counter(request.key for request in backend.received).values()) == 1


# ---------------------------------------------------------------- a backend in trouble


def test_troubles_are_tried_again_with_the_same_key(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    troubles = [
        Reply(500, b"{}"),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(200, b"<html>be back soon</html>"),
        Reply(fault="reset"),  # processed, the answer lost
        Reply(fault="half_body"),
        Reply(fault="hang"),
        Reply(429, b"{}", {"Retry-After": "0"}),
    ]
    backend.script("job-1", [reply for trouble in troubles for reply in (trouble, OK)])
    with forward(backend.url, request_timeout_s=1.0):
        job = RunningJob(redis, "job-1")
        for number in range(10):
            job.metric(number + 1)
        job.complete()
        wait_delivered(redis)
    requests = backend.of("job-1")
    assert steps_of(first_tries(requests)) == list(range(1, 11))
    assert len({request.key for request in requests}) == 12
    assert len(requests) == 12 + len(troubles), "each trouble costs one more try, in either lane"
    assert failures(redis, "metric") == 0
    assert set_aside(redis) == []


def test_retry_after_is_honoured(redis: Redis, backend: ScriptedBackend, forward: Forward) -> None:
    backend.script("job-1", [Reply(503, b"{}", {"Retry-After": "1"})])
    begin = time.monotonic()
    with forward(backend.url):
        RunningJob(redis, "job-1")
        wait_delivered(redis)
    assert len(backend.received) == 2
    assert time.monotonic() - begin >= 1


def test_the_backend_is_away_and_comes_back(redis: Redis, forward: Forward) -> None:
    with ScriptedBackend() as gone:
        url = gone.url
    job = RunningJob(redis, "job-1")
    with forward(url):
        job.log("kept")
        wait_for("a failure is noted", lambda: failures(redis, "status") > 0)
    assert delivery_report(redis).waiting[0].last_error == "connection refused"
    with ScriptedBackend() as backend, forward(backend.url):
        wait_delivered(redis)
        assert lines_of(backend.received) == ["kept"]
        assert statuses_of(backend.received) == ["running"]


def test_jobs_whose_backend_hangs_do_not_hold_up_others(
    redis: Redis, backend: ScriptedBackend, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: Counter[str] = Counter()
    at_it: set[str] = set()
    """Stuck jobs that a sender tries just now, and not for the first time."""
    in_flight: list[int] = []
    post = BackendClient.post

    def noted(client: BackendClient, job_id: str, *rest: Any, **more: Any) -> Any:
        if job_id.startswith("stuck") and tries[job_id]:
            at_it.add(job_id)
        tries[job_id] += 1
        try:
            return post(client, job_id, *rest, **more)
        finally:
            at_it.discard(job_id)

    def answer(request: Received) -> Reply:
        if request.job_id.startswith("stuck"):
            return Reply(fault="hang")
        in_flight.append(len(at_it))
        return OK

    monkeypatch.setattr(BackendClient, "post", noted)
    backend.answer = answer
    for number in range(4):
        RunningJob(redis, f"stuck-{number}")
    with forward(backend.url, senders=4, request_timeout_s=2.0):
        wait_for("the stuck jobs are tried again", lambda: at_it)
        time.sleep(0.3)  # whoever may try a stuck job again now does
        good = RunningJob(redis, "good")
        for number in range(20):
            good.log(f"line {number}")
        good.complete()
        wait_for("good is done", lambda: statuses_of(backend.of("good"))[-1:] == ["completed"])
    assert lines_of(backend.of("good")) == [f"line {number}" for number in range(20)]
    # All four senders met the stuck jobs; then two of them went on with those, two were free.
    assert max(in_flight) <= 2


def test_what_was_not_taken_is_tried_again_by_half_of_the_senders_alone(
    redis: Redis, backend: ScriptedBackend, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: dict[str, list[str]] = defaultdict(list)
    post = BackendClient.post

    def noted(client: BackendClient, job_id: str, *rest: Any, **more: Any) -> Any:
        tries[job_id].append(threading.current_thread().name)
        return post(client, job_id, *rest, **more)

    monkeypatch.setattr(BackendClient, "post", noted)
    backend.answer = lambda request: OK if len(tries[request.job_id]) > 3 else Reply(500)
    jobs = [f"refused-{number}" for number in range(8)]
    at_once = replace(QUICK, random=lambda: 0.0)
    with forward(backend.url, senders=4, policy=at_once):
        for job_id in jobs:  # one at a time: no other waits, so that nothing ends its turn but this
            RunningJob(redis, job_id)
            wait_for("it was taken", lambda job_id=job_id: backend.of(job_id)[3:])
    assert {name for job_id in jobs for name in tries[job_id][1:4]} <= {"sender-0", "sender-1"}


# ---------------------------------------------------------------- what will never be accepted


def test_a_4xx_is_set_aside_and_the_rest_goes_on(
    redis: Redis, backend: ScriptedBackend, forward: Forward, caplog: pytest.LogCaptureFixture
) -> None:
    backend.script("job-1", [OK, Reply(400, b'{"error": "epoch is no number"}')])
    with forward(backend.url):
        job = RunningJob(redis, "job-1")
        job.metric(1, train_loss=1.0)
        job.log("after")
        job.complete()
        wait_delivered(redis)
    assert endpoints(backend.received) == ["status", "metrics", "logs", "status"]
    (record,) = set_aside(redis)
    assert record["reason"] == "HTTP 400: epoch is no number"
    assert json.loads(record["data"])["step"] == 1
    assert "set aside: HTTP 400: epoch is no number" in caplog.text


def test_a_race_at_the_jobs_creation_is_waited_for(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.script("job-1", [Reply(404, b'{"error": "unknown job"}'), Reply(401, b"{}")])
    with forward(backend.url):
        RunningJob(redis, "job-1").complete()
        wait_delivered(redis)
    assert statuses_of(backend.received) == ["running", "running", "running", "completed"]
    assert set_aside(redis) == []


def test_a_dead_token_costs_a_few_tries_and_holds_up_nobody(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.answer = lambda request: Reply(401, b"{}") if request.job_id == "dead" else OK
    dead, good = RunningJob(redis, "dead"), RunningJob(redis, "good")
    with forward(backend.url, senders=1):
        for number in range(5):
            dead.metric(number + 1)
            good.log(f"line {number}")
        wait_for("both lanes are parked", lambda: len(backend.of("dead")) == 6)
        wait_for("the other job goes on", lambda: len(lines_of(backend.of("good"))) == 5)
        time.sleep(0.3)
    # Three tries of the first status and of the first point, none of what stands behind them.
    assert Counter(request.key for request in backend.of("dead")) == {"dead:1:1": 3, "dead:1:2": 3}
    assert set_aside(redis) == []
    assert good.token not in json.dumps(redis.hgetall("trainyard:delivery:dead"))


def test_without_a_token_nothing_is_sent(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    RunningJob(redis, "job-1").log("line")
    redis.delete("trainyard:token:job-1")
    with forward(backend.url):
        wait_delivered(redis)
    assert backend.received == []
    reasons = [record["reason"] for record in set_aside(redis)]
    assert reasons == ["the job's token is not in the store"] * 2


def test_an_entry_that_cannot_be_read_blocks_nothing(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    job = RunningJob(redis, "job-1")
    broken: list[dict[Any, Any]] = [
        {"kind": "metric", "attempt": 1, "sequence": 90, "data": '{"step": 0, "epoch": 1}'},
        {"kind": "status", "attempt": 1, "sequence": 91, "data": '{"status": "queued"}'},
        {"kind": "log", "attempt": 1, "sequence": 92, "data": "[1]", "first_line": 0},
        {"kind": "log", "attempt": 1},
    ]
    for fields in broken:
        redis.xadd("trainyard:events:job-1", fields)
    with forward(backend.url):
        job.log("after")
        wait_delivered(redis)
    assert endpoints(backend.received) == ["status", "logs"]
    assert [record["sequence"] for record in set_aside(redis)] == ["90", "91", "92", None]


def test_no_status_follows_the_attempts_terminal_one(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    job = RunningJob(redis, "job-1")
    job.complete()
    late = {"kind": "status", "attempt": 1, "sequence": 9, "data": '{"status": "running"}'}
    next_attempt = {**late, "attempt": 2, "sequence": 10}
    redis.xadd("trainyard:events:job-1", late)  # type: ignore[arg-type]  # a dict of str and int
    redis.xadd("trainyard:events:job-1", next_attempt)  # type: ignore[arg-type]
    with forward(backend.url):
        wait_delivered(redis)
    assert statuses_of(backend.received) == ["running", "completed", "running"]
    assert [record["sequence"] for record in set_aside(redis)] == ["9"]


def test_a_route_that_the_backend_lacks_keeps_its_messages_and_no_others(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    lacks_logs = threading.Event()
    lacks_logs.set()

    def answer(request: Received) -> Reply:
        return Reply(405, b"") if request.method == "POST" and lacks_logs.is_set() else OK

    backend.answer = answer
    route = "POST /api/training/local/{jobId}/logs"
    with forward(backend.url):
        job = RunningJob(redis, "job-1")
        for step in range(1, 4):
            job.log(f"line {step}")
            job.metric(step)
        wait_for("metrics pass", lambda: endpoints(backend.of("job-1")).count("metrics") == 3)
        job.metric(4)
        job.complete()
        wait_for("the status passes", lambda: len(statuses_of(backend.of("job-1"))) == 2)
        assert redis.hkeys("trainyard:missing-routes") == [route]
        assert redis.zcard("trainyard:undelivered") == 1
        tried = [request.key for request in backend.of("job-1") if request.method == "POST"]
        assert set(tried) == {"job-1:1:2"}
        lacks_logs.clear()
        wait_delivered(redis)
    delivered = backend.of("job-1")
    logs = [request for request in delivered if request.method == "POST"]
    assert lines_of(first_tries(logs)) == ["line 1", "line 2", "line 3"]
    steps = [request.body["step"] for request in delivered if request.method == "PUT"]
    assert steps == [1, 2, 3, 4]
    assert statuses_of(delivered) == ["running", "completed"]
    assert redis.hkeys("trainyard:missing-routes") == []
    assert set_aside(redis) == []


# ---------------------------------------------------------------- the log's cap


def test_what_was_cut_leaves_one_line_with_the_count(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    job = RunningJob(redis, "job-1", log_lines_kept=350)
    for batch in range(10):
        job.log(*(f"line {batch * 100 + n}" for n in range(LOG_LINES_PER_BATCH)))
    with forward(backend.url):
        wait_delivered(redis)
    lines = lines_of(backend.received)
    assert lines[0] == "… 700 log lines were cut here (the complete log lies in the job's folder)"
    assert lines[1:] == [f"line {n}" for n in range(700, 1000)]
    gap = next(request for request in backend.received if request.method == "POST")
    assert gap.key == "job-1:1:9-gap"


def test_every_line_is_delivered_or_counted_once_where_more_is_cut_meanwhile(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.script("job-1", [OK, *[Reply(fault="reset")] * 3])
    job = RunningJob(redis, "job-1", log_lines_kept=3)
    for number in range(10):
        job.log(f"line {number}")
    with forward(backend.url):
        wait_for("the line about the gap was tried", lambda: len(backend.of("job-1")) >= 2)
    for number in range(10, 20):
        job.log(f"line {number}")
    with forward(backend.url):
        wait_delivered(redis)
    first_gap = [request.body for request in backend.of("job-1") if request.key == "job-1:1:10-gap"]
    assert len(first_gap) >= 2
    assert all(body == first_gap[0] for body in first_gap), "a retry differs from its first try"
    lines = lines_of(first_tries(backend.of("job-1")))
    assert [line.split(" log")[0] for line in lines] == ["… 8", "… 10", "line 18", "line 19"]


# ---------------------------------------------------------------- senders, Redis and restarts


def test_a_new_event_is_sent_at_once(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    slow_poll = DeliveryPolicy(poll_s=3600)
    with forward(backend.url, policy=slow_poll):
        wait_for("it listens", lambda: redis.pubsub_numsub("trainyard:wake")[0][1])
        time.sleep(0.3)  # its first look is over
        RunningJob(redis, "job-1")
        wait_for("the event was sent without a poll", lambda: backend.received)


def test_a_lost_wake_is_made_up_for_by_the_poll(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    with forward(backend.url):
        job = RunningJob(redis, "job-1")
        wait_delivered(redis)
        fields: dict[Any, Any] = {"kind": "metric", "attempt": 1, "sequence": 2}
        redis.xadd("trainyard:events:job-1", {**fields, "data": '{"step": 1, "epoch": 1}'})
        redis.zadd("trainyard:undelivered", {job.job_id: 0})
        wait_for("the event was found", lambda: len(backend.received) == 2)


def test_a_job_with_much_to_send_does_not_keep_the_only_sender(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.answer = lambda request: Reply(delay_s=0.02)
    chatty = RunningJob(redis, "chatty")
    for number in range(80):
        chatty.metric(number + 1)
    policy = DeliveryPolicy(turn_s=0.1, poll_s=0.05)
    with forward(backend.url, senders=1, policy=policy):
        wait_for("it has begun", lambda: backend.received)
        RunningJob(redis, "other")
        wait_for("the other job has its turn", lambda: backend.of("other"))
        assert len(backend.of("chatty")) < 81
        wait_delivered(redis)
    assert steps_of(backend.of("chatty")) == list(range(1, 81))


def test_it_stops_within_the_time_of_one_request(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.script("job-1", [OK, Reply(delay_s=0.5), Reply(delay_s=60)])
    job = RunningJob(redis, "job-1")
    for number in range(3):
        job.metric(number + 1)
    with forward(backend.url) as stop:
        wait_for("a request is under way", lambda: len(backend.received) == 2)
        stop.set()
    assert len(backend.received) == 2
    assert redis.zscore("trainyard:undelivered", "job-1") is not None
    with forward(backend.url, request_timeout_s=1.0):
        wait_delivered(redis)
    assert steps_of(first_tries(backend.received)) == [1, 2, 3]
    assert Counter(request.key for request in backend.received)["job-1:1:2"] == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_redis_restarts_in_the_middle(
    server: RedisServer,
    redis: Redis,
    backend: ScriptedBackend,
    forward: Forward,
    end: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    backend.answer = lambda request: Reply(delay_s=0.02)
    job = RunningJob(redis, "job-1")
    for number in range(60):
        job.metric(number + 1)
    with forward(backend.url):
        wait_for("it has begun", lambda: len(backend.received) > 10)
        getattr(server, end)()
        time.sleep(1)
        sent = len(backend.received)
        assert sent < 60
        server.start()
        job.complete()
        wait_delivered(redis)
    assert steps_of(backend.received) == list(range(1, 61))
    assert statuses_of(backend.received) == ["running", "completed"]
    assert max(Counter(request.key for request in backend.received).values()) == 1


def test_redis_refuses_writes_for_a_while(
    redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    """What was delivered meanwhile is not sent again, and no key gets another body."""
    job = RunningJob(redis, "job-1")
    for number in range(6):
        job.metric(number + 1)
        job.log(f"line {number}")

    def full(request: Received) -> Reply:
        if request.key == "job-1:1:4":
            redis.config_set("maxmemory", 1)
        return OK

    backend.answer = full
    try:
        with forward(backend.url):
            wait_for("it has begun", lambda: "job-1:1:4" in [r.key for r in backend.received])
            time.sleep(1)
            assert len(backend.received) == 4
            redis.config_set("maxmemory", 0)
            job.complete()
            wait_delivered(redis)
    finally:
        redis.config_set("maxmemory", 0)
    assert steps_of(backend.received) == list(range(1, 7))
    assert statuses_of(backend.received) == ["running", "completed"]
    assert max(Counter(request.key for request in backend.received).values()) == 1


FORWARDER_PROCESS = """
import sys, threading
from backend_bridge.delivery.forwarder import Forwarder
from trainyard.store.connection import connect
from backend_bridge.delivery.retry_policy import DeliveryPolicy
policy = DeliveryPolicy(lock_margin_s=1.5)
forwarder = Forwarder(connect(sys.argv[1]), sys.argv[2], request_timeout_s=1.0, policy=policy)
forwarder.run(threading.Event())
"""


@contextmanager
def forwarder_process(server: RedisServer, url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", FORWARDER_PROCESS, server.url, url], cwd=REPOSITORY
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_another_goes_on_where_a_killed_forwarder_was(
    server: RedisServer, redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.answer = lambda request: Reply(delay_s=0.02)
    job = RunningJob(redis, "job-1")
    for number in range(60):
        job.metric(number + 1)
    with forwarder_process(server, backend.url):
        wait_for("it has begun", lambda: len(backend.received) > 20)
    assert len(backend.received) < 60
    job.complete()
    with forward(backend.url):
        wait_delivered(redis)
    requests = backend.received
    assert steps_of(first_tries(requests)) == list(range(1, 61))
    assert statuses_of(requests) == ["running", "completed"]
    repeated = [key for key, n in Counter(request.key for request in requests).items() if n > 1]
    assert len(repeated) <= 1, "more than the one whose answer was lost was sent again"


def test_a_frozen_forwarder_sends_nothing_after_another_took_its_job(
    server: RedisServer, redis: Redis, backend: ScriptedBackend, forward: Forward
) -> None:
    backend.answer = lambda request: Reply(delay_s=0.02)
    job = RunningJob(redis, "job-1")
    for number in range(100):
        job.metric(number + 1)
    with forwarder_process(server, backend.url) as frozen:
        wait_for("it has begun", lambda: len(backend.received) > 10)
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            with forward(backend.url):
                wait_delivered(redis)
                sent = len(backend.received)
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        job.complete()
        wait_delivered(redis)
        assert statuses_of(backend.received) == ["running", "completed"]
        assert len(backend.received) == sent + 1
    assert steps_of(first_tries(backend.received)) == list(range(1, 101))
    assert backend.most_in_flight["job-1"] == 1


def test_a_sender_frozen_right_before_its_request_does_not_make_it_after_the_lock(
    redis: Redis, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunningJob(redis, "job-1")
    outbox = Outbox(redis, lock_s=1.5)
    hold = outbox.claim("job-1")
    assert hold is not None

    with BackendClient(backend.url, timeout_s=0.2) as client:
        post = client.post

        def frozen_first(*arguments: Any, **options: Any) -> Any:
            wait_for("another sender has taken the job", lambda: outbox.claim("job-1"))
            return post(*arguments, **options)

        monkeypatch.setattr(client, "post", frozen_first)
        turn = Turn(hold, outbox, client, DeliveryPolicy(), threading.Event(), lambda: False)
        with pytest.raises(HoldLost):
            turn.run()
    assert backend.received == []


def test_end_to_end_with_the_development_backend(redis: Redis, forward: Forward) -> None:
    with FaultyBackend() as backend:
        backend.create_job("job-1", "job-token")
        with forward(backend.url):
            job = RunningJob(redis, "job-1")
            for step in range(1, 4):
                job.log(f"step {step}")
                job.metric(step, train_loss=3.0 / step)
            job.fail("The data set is empty.")
            stored = backend.wait_for_status("job-1", "failed")
            wait_delivered(redis)
        assert stored["error"] == "The data set is empty."
        assert backend.statuses("job-1") == ["running", "failed"]
        assert [line.partition("] ")[2] for line in backend.logs("job-1")] == [
            "step 1",
            "step 2",
            "step 3",
        ]
        assert [point["train_loss"] for point in backend.metrics("job-1")] == [3.0, 1.5, 1.0]
        assert {item["status"] for item in backend.requests("job-1")} <= {200, 201}
