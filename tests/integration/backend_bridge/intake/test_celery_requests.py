"""Requests through Celery's queue ``requests``, sent by Celery itself and by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from backend_bridge.intake import stream_consumer
from backend_bridge.intake.stream_consumer import GROUP, StreamConsumer
from tests.support.bridge import Running
from tests.support.redis_server import RedisServer
from tests.support.requests import TOKEN, request_body
from trainyard.contract.names import QUEUE_REQUESTS, REJECTED, REPLIES, REQUESTS, TASK_SUBMIT
from trainyard.contract.statuses import JobStatus
from trainyard.store.counters import read_totals


class Sender:
    """A Celery client that knows nothing of ours but the queue's and the task's name."""

    def __init__(self, url: str, bridge: Running, redis: Any) -> None:
        self.app = Celery(broker=url, set_as_current=False)
        self.bridge, self.redis = bridge, redis

    max_request_mb = 1.0

    def consumer(self, name: str = "one") -> StreamConsumer:
        parts = self.bridge.client.app.state.bridge  # type: ignore[attr-defined]
        made = StreamConsumer(self.redis, parts.admission, parts.control, self.max_request_mb)
        made.name = name
        made._ensure_group()
        return made

    def post(self, task: str = TASK_SUBMIT, **options: Any) -> str:
        sent = self.app.send_task(task, queue=QUEUE_REQUESTS, ignore_result=True, **options)
        return str(sent.id)

    def replies(self) -> dict[str, dict[str, str]]:
        self.consumer().consume(block_ms=1)
        assert self.redis.xpending(REQUESTS, GROUP)["pending"] == 0
        assert self.redis.xlen(REQUESTS) == 0
        return {reply["request_id"]: reply for _, reply in self.redis.xrange(REPLIES)}

    def reply_to(self, **request: Any) -> dict[str, str]:
        task_id = self.post(kwargs={"request": request})
        return self.replies()[task_id]

    def status(self) -> JobStatus:
        job = self.bridge.store.get("job-1")
        assert job is not None
        return job.status


@pytest.fixture
def sender(bridge: Running, real_redis: Any, redis_server: RedisServer) -> Iterator[Sender]:
    made = Sender(redis_server.url, bridge, real_redis)
    yield made
    made.app.close()


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_job_is_started_and_cancelled(sender: Sender, protocol: int) -> None:
    sender.app.conf.task_protocol = protocol
    reply = sender.reply_to(**request_body("job-1"))
    assert (reply["success"], reply["job_id"]) == ("true", "job-1")
    assert sender.status() is JobStatus.QUEUED
    assert sender.reply_to(action="cancel", job_id="job-1")["success"] == "true"
    assert sender.status() is JobStatus.CANCELLED


def test_a_refusal_is_a_reply_with_the_reason(sender: Sender) -> None:
    reply = sender.reply_to(**request_body("job-1", training={"batch_size": "four"}))
    assert reply["success"] == "false"
    assert "config.training.batch_size" in reply["message"]
    assert sender.redis.xlen(REJECTED) == 0
    assert TOKEN not in json.dumps(reply)


def test_the_first_by_priority_is_taken_first(sender: Sender) -> None:
    sender.app.conf.broker_transport_options = {"priority_steps": list(range(10))}
    later = sender.post(kwargs={"request": request_body("job-1")}, priority=9)
    sooner = sender.post(kwargs={"request": request_body("job-2")}, priority=0)
    assert list(sender.replies()) == [sooner, later]


def test_one_positional_request_is_understood(sender: Sender) -> None:
    task_id = sender.post(args=[request_body("job-1")])
    assert sender.replies()[task_id]["success"] == "true"
    assert sender.status() is JobStatus.QUEUED


BODY = request_body("job-1")


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize(
    ("task", "options", "reason", "job_id"),
    [
        ("tasks.train", {"args": ["job-1:1"]}, "takes only tasks.submit", ""),
        ("tasks.start", {"kwargs": {"request": BODY}}, "takes only tasks.submit", "job-1"),
        (TASK_SUBMIT, {}, "needs one argument", ""),
        (TASK_SUBMIT, {"args": [BODY, 1]}, "needs one argument", "job-1"),
        (TASK_SUBMIT, {"kwargs": BODY}, "needs one argument", "job-1"),
        (TASK_SUBMIT, {"args": ["job-1"]}, "no JSON object", ""),
        (TASK_SUBMIT, {"kwargs": {"request": [1]}}, "no JSON object", ""),
        (TASK_SUBMIT, {"kwargs": {"request": json.dumps(BODY)}}, "no JSON object", "job-1"),
        (TASK_SUBMIT, {"args": [{"action": "dance", "job_id": "x"}]}, "'dance'", "x"),
        (TASK_SUBMIT, {"args": [BODY], "countdown": 60}, "is for later", "job-1"),
        (TASK_SUBMIT, {"args": [BODY], "expires": -1}, "expires", "job-1"),
        (TASK_SUBMIT, {"args": [BODY], "serializer": "pickle"}, "serializer='json'", ""),
        (TASK_SUBMIT, {"args": [BODY], "compression": "zlib"}, "without compression", ""),
    ],
)
def test_what_is_not_understood_is_answered_set_aside_and_counted(
    sender: Sender, protocol: int, task: str, options: dict[str, Any], reason: str, job_id: str
) -> None:
    sender.app.conf.task_protocol = protocol
    task_id = sender.post(task, **options)
    good = sender.post(kwargs={"request": request_body("job-2")})
    replies = sender.replies()
    assert replies[good]["success"] == "true"
    assert sender.bridge.store.get("job-1") is None
    ((_, rejected),) = sender.redis.xrange(REJECTED)
    assert reason in rejected["reason"]
    assert rejected["request_id"] == task_id
    assert replies[task_id] == {
        "request_id": task_id,
        "success": "false",
        "job_id": job_id,
        "message": rejected["reason"],
    }
    assert read_totals(sender.redis).rejected == 1
    assert TOKEN not in json.dumps([replies, rejected])


def test_a_time_that_has_come_is_no_reason_to_refuse(sender: Sender) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    options = {"eta": past, "expires": past + timedelta(hours=1)}
    task_id = sender.post(kwargs={"request": BODY}, **options)
    assert sender.replies()[task_id]["success"] == "true"


def test_one_that_is_too_large_is_set_aside_and_answered_to_its_sender(sender: Sender) -> None:
    sender.max_request_mb = 0.1
    body = request_body("job-1", dataset_path="")
    large = sender.post(kwargs={"request": {**body, "dataset_content": "x" * 101_000}})
    good = sender.post(kwargs={"request": {**body, "dataset_content": "x" * 95_000}})
    replies = sender.replies()
    assert "larger than 0.1 MB (MAX_REQUEST_MB)" in replies[large]["message"]
    ((_, rejected),) = sender.redis.xrange(REJECTED)
    assert rejected["reason"] == replies[large]["message"]
    assert len(json.dumps(rejected)) < 300
    assert replies[good]["success"] == "true"


def wrapped(content: bytes, **changes: Any) -> str:
    message = {
        "body": base64.b64encode(content).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TASK_SUBMIT, "id": "x"},
        "properties": {"body_encoding": "base64"},
    }
    return json.dumps({**message, **changes})


@pytest.mark.parametrize(
    "raw",
    ["", "{", "[]", "5", "null", "{}", "[" * 100_000, f"rubbish {TOKEN}", wrapped(b"{"),
     wrapped(b"[[], []]"), wrapped(b"[]"), wrapped(b"5"), wrapped(b"null"), wrapped(b"\xff"),
     wrapped(b"[[],{},{}]", body="%%%"), wrapped(b"{}", headers=[]), wrapped(b"{}", properties=5),
     wrapped(b"{}", **{"content-encoding": "no-such"}), wrapped(b"{}", headers={"task": []})],
)  # fmt: skip
def test_rubbish_is_set_aside_and_the_rest_goes_on(sender: Sender, raw: str) -> None:
    sender.redis.lpush(QUEUE_REQUESTS, raw)
    good = sender.post(kwargs={"request": request_body("job-1")})
    assert sender.replies()[good]["success"] == "true"
    ((_, rejected),) = sender.redis.xrange(REJECTED)
    assert rejected["reason"]
    assert TOKEN not in json.dumps(rejected)


def test_what_a_crashed_consumer_had_taken_is_taken_over(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = sender.post(kwargs={"request": request_body("job-1")})
    crashed = sender.consumer("crashed")
    crashed.celery.take()
    sender.redis.xreadgroup(GROUP, crashed.name, {REQUESTS: ">"})
    assert sender.redis.llen(QUEUE_REQUESTS) == 0
    monkeypatch.setattr(stream_consumer, "TAKE_OVER_AFTER_MS", 0)
    assert sender.replies()[task_id]["success"] == "true"
    assert sender.status() is JobStatus.QUEUED
