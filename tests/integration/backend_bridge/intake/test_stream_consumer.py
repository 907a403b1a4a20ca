"""Requests through the Redis stream: acted upon, answered, never lost, never in the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend_bridge.intake import stream_consumer
from backend_bridge.intake.stream_consumer import GROUP, StreamConsumer
from tests.support.bridge import Running
from tests.support.requests import TOKEN, request_body
from trainyard.contract.names import REJECTED, REPLIES, REQUESTS
from trainyard.contract.statuses import JobStatus


class Stream:
    """The stream as a client in another language sees it, and consumers of it."""

    def __init__(self, bridge: Running, redis: Any) -> None:
        self.bridge = bridge
        self.redis = redis

    max_request_mb = 1.0

    def consumer(self, name: str = "one") -> StreamConsumer:
        parts = self.bridge.client.app.state.bridge  # type: ignore[attr-defined]
        made = StreamConsumer(self.redis, parts.admission, parts.control, self.max_request_mb)
        made.name = name
        made._ensure_group()
        return made

    def send(self, **request: Any) -> dict[str, str]:
        """Add one request, let it be consumed, and return its reply."""
        return self.add({"request": json.dumps(request)})

    def add(self, fields: dict[str, str]) -> dict[str, str]:
        entry = self.redis.xadd(REQUESTS, fields)
        self.consumer().consume(block_ms=1)
        replies = {reply["request_id"]: reply for _, reply in self.redis.xrange(REPLIES)}
        assert self.redis.xpending(REQUESTS, GROUP)["pending"] == 0
        assert self.redis.xlen(REQUESTS) == 0, "its token would stay"
        found: dict[str, str] = replies[entry]
        return found

    def status(self, job_id: str = "job-1") -> JobStatus:
        job = self.bridge.store.get(job_id)
        assert job is not None
        return job.status


@pytest.fixture
def stream(bridge: Running, real_redis: Any) -> Stream:
    return Stream(bridge, real_redis)


def test_a_job_is_started_paused_resumed_and_cancelled(stream: Stream) -> None:
    reply = stream.send(action="start", **request_body("job-1"))
    assert (reply["success"], reply["job_id"]) == ("true", "job-1")
    for action, status in (
        ("pause", JobStatus.PAUSED),
        ("resume", JobStatus.QUEUED),
        ("force-start", JobStatus.QUEUED),
        ("cancel", JobStatus.CANCELLED),
    ):
        reply = stream.send(action=action, job_id="job-1")
        assert reply["success"] == "true", reply
        assert stream.status() is status
    reply = stream.send(action="pause", job_id="job-1")
    assert reply["success"] == "false"
    assert "cannot be paused: it is cancelled" in reply["message"]


def test_a_refused_start_says_why_and_keeps_the_token_to_itself(stream: Stream) -> None:
    body = request_body("job-1")
    body["config"]["training"] = {"batch_size": "four"}
    reply = stream.send(action="start", **body)
    assert reply["success"] == "false"
    assert "config.training.batch_size" in reply["message"]
    assert TOKEN not in json.dumps(stream.redis.xrange(REPLIES))
    assert stream.redis.xlen(REJECTED) == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"nothing": "x"}, "no field 'request'"),
        ({"request": f"{{broken {TOKEN}"}, "is no JSON"),
        ({"request": "[1]"}, "'request' is no JSON object"),
        ({"request": '{"action": "dance", "job_id": "job-1"}'}, "no such action: 'dance'"),
        ({"request": '{"action": "pause"}'}, "needs a job_id"),
        ({"request": '{"action": "pause", "job_id": "\\ud800"}'}, "needs a job_id"),
        (
            {"request": f'{{"action": "{TOKEN}", "access_token": "{TOKEN}", "job_id": "j"}}'},
            "no such",
        ),
    ],
)
def test_what_cannot_be_understood_is_set_aside_and_the_rest_goes_on(
    stream: Stream, fields: dict[str, str], reason: str
) -> None:
    reply = stream.add(fields)
    assert reply["success"] == "false"
    ((_, rejected),) = stream.redis.xrange(REJECTED)
    assert reason in rejected["reason"]
    assert rejected["request_id"] == reply["request_id"]
    assert TOKEN not in json.dumps(rejected)
    assert stream.send(action="start", **request_body("job-1"))["success"] == "true"


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_limit_is_that_of_http_and_the_payload_is_not_kept(stream: Stream, letter: str) -> None:
    stream.max_request_mb = 0.01
    body = request_body("job-1", dataset_path="", dataset_content=letter)
    entry = json.dumps(body, ensure_ascii=False)
    room = 10_000 - len(entry.encode()) + len(letter.encode())
    largest = letter * (room // len(letter.encode()))

    def sent(content: str) -> dict[str, str]:
        request = {**body, "dataset_content": content}
        return stream.add({"request": json.dumps(request, ensure_ascii=False)})

    assert "larger than 0.01 MB (MAX_REQUEST_MB)" in sent(largest + letter)["message"]
    ((_, rejected),) = stream.redis.xrange(REJECTED)
    assert "larger than 0.01 MB (MAX_REQUEST_MB)" in rejected["reason"]
    assert rejected["fields"].startswith("request (")
    assert len(json.dumps(rejected)) < 300
    assert sent(largest)["success"] == "true"


def test_what_a_crashed_consumer_left_is_taken_over_once(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = stream.consumer("crashed")
    entry = stream.redis.xadd(REQUESTS, {"request": json.dumps(request_body("job-1"))})
    stream.redis.xreadgroup(GROUP, crashed.name, {REQUESTS: ">"})
    stream.consumer("two").consume(block_ms=1)
    assert stream.bridge.store.get("job-1") is None, "it may still be at work"
    monkeypatch.setattr(stream_consumer, "TAKE_OVER_AFTER_MS", 0)
    stream.consumer("two").consume(block_ms=1)
    assert stream.status() is JobStatus.QUEUED
    stream.consumer("three").consume(block_ms=1)
    assert [reply["request_id"] for _, reply in stream.redis.xrange(REPLIES)] == [entry]


def test_half_a_surrogate_pair_stops_no_consumer(stream: Stream) -> None:
    reply = stream.add({"request": '{"execution_id": "\\ud800", "config": {"\\udfff": 1}}'})
    assert (reply["success"], reply["job_id"]) == ("false", "?")
    message = {
        "body": "W1tdLCB7InJlcXVlc3QiOiB7fX0sIHt9XQ==",
        "properties": {"body_encoding": "base64"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "tasks.submit", "id": "\ud800"},
    }
    stream.redis.lpush("requests", json.dumps(message))
    assert stream.send(action="start", **request_body("job-1"))["success"] == "true"
    assert "?" in {reply["request_id"] for _, reply in stream.redis.xrange(REPLIES)}


def test_a_defect_sets_one_entry_aside_and_is_logged(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any, request: Any) -> Any:
        raise ZeroDivisionError(request["job_token"])

    with monkeypatch.context() as patch:
        patch.setattr(StreamConsumer, "_act", broken)
        reply = stream.send(action="start", **request_body("job-1"))
    assert reply["message"] == "a defect of the bridge (ZeroDivisionError)"
    ((_, rejected),) = stream.redis.xrange(REJECTED)
    assert TOKEN not in json.dumps([reply, rejected])
    assert "is rejected" in caplog.text
    assert "in broken" in caplog.text
    assert TOKEN not in caplog.text
    assert stream.send(action="start", **request_body("job-1"))["success"] == "true"
