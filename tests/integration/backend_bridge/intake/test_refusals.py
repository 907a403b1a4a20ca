"""Requests through Redis that are refused: what the backend is told of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from backend_bridge.intake.stream_consumer import GROUP, StreamConsumer
from tests.support.bridge import Running
from tests.support.forwarding import forwarding, statuses_of, wait_delivered
from tests.support.redis_server import RedisServer
from tests.support.requests import TOKEN, request_body
from tests.support.scripted_backend import Reply, ScriptedBackend
from trainyard.contract.names import QUEUE_REQUESTS, REJECTED, REPLIES, REQUESTS, TASK_SUBMIT

BAD = {"training": {"batch_size": "four"}}


class Intake:
    """A consumer of requests, and a backend that hears of them."""

    def __init__(self, bridge: Running, redis: Any, backend: ScriptedBackend) -> None:
        self.bridge, self.redis, self.backend = bridge, redis, backend
        parts = bridge.client.app.state.bridge  # type: ignore[attr-defined]
        self.consumer = StreamConsumer(redis, parts.admission, parts.control, 1.0)
        self.consumer._ensure_group()

    def send(self, **request: Any) -> None:
        self.redis.xadd(REQUESTS, {"request": json.dumps(request)})
        self.consumer.consume(block_ms=1)

    def told(self) -> list[Any]:
        """Bodies of what the backend received, once all is delivered."""
        with forwarding(self.redis, self.backend.url):
            wait_delivered(self.redis)
        return [request.body for request in self.backend.received]


@pytest.fixture
def intake(bridge: Running, real_redis: Any) -> Iterator[Intake]:
    with ScriptedBackend() as backend:
        yield Intake(bridge, real_redis, backend)


def test_the_backend_is_told_failed_with_the_reason(intake: Intake) -> None:
    intake.send(action="start", **request_body("job-1", **BAD))
    (body,) = intake.told()
    assert body["status"] == "failed"
    assert "config.training.batch_size" in body["error"]
    (request,) = intake.backend.received
    assert request.method == "PATCH"
    assert request.path == "/api/training/local/job-1/status"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.key.startswith("job-1:0:")


@pytest.mark.parametrize(
    ("task", "options", "reason"),
    [
        (TASK_SUBMIT, {"kwargs": {"request": request_body("job-1", **BAD)}}, "batch_size"),
        (TASK_SUBMIT, {"kwargs": {"request": json.dumps(request_body("job-1"))}}, "no JSON object"),
        (TASK_SUBMIT, {"args": [request_body("job-1"), 1]}, "needs one argument"),
        (TASK_SUBMIT, {"kwargs": request_body("job-1")}, "needs one argument"),
        (TASK_SUBMIT, {"args": [request_body("job-1")], "countdown": 60}, "is for later"),
        ("tasks.start", {"args": [request_body("job-1")]}, "takes only tasks.submit"),
    ],
)
def test_one_that_came_through_celery_is_told_as_well(
    intake: Intake, redis_server: RedisServer, task: str, options: dict[str, Any], reason: str
) -> None:
    with Celery(broker=redis_server.url, set_as_current=False) as sender:
        sender.send_task(task, queue=QUEUE_REQUESTS, ignore_result=True, **options)
    intake.consumer.consume(block_ms=1)
    (body,) = intake.told()
    assert body["status"] == "failed"
    assert reason in body["error"]


def test_it_is_tried_again_as_the_same_message_and_leaves_nothing(intake: Intake) -> None:
    intake.backend.script("job-1", [Reply(500, b"{}"), Reply(fault="reset")])
    intake.send(**request_body("job-1", **BAD))
    assert len(intake.told()) == 3
    assert len({request.key for request in intake.backend.received}) == 1
    assert intake.redis.keys("*job-1*") == [], "a refused request stays in Redis"


def test_a_backend_that_knows_no_such_job_is_not_told_for_ever(intake: Intake) -> None:
    intake.backend.answer = lambda request: Reply(404, b"{}")
    intake.send(**request_body("job-1", **BAD))
    assert len(intake.told()) == 3
    assert intake.redis.llen("trainyard:set-aside") == 1
    assert intake.redis.keys("*job-1*") == [], "a refused request stays in Redis"


def test_an_action_that_does_not_exist_is_told_too(intake: Intake) -> None:
    intake.send(action="dance", job_id="job-1", job_token=TOKEN)
    (body,) = intake.told()
    assert body["error"] == "no such action: 'dance'"
    assert intake.redis.xlen(REJECTED) == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "start", **request_body("job-1", job_token=None)},
        {"action": "start", **request_body("../job", **BAD)},
        {"action": "start", **request_body("job-1", job_token="two words")},
        {"action": "pause", "job_id": "gone", "job_token": TOKEN},
    ],
    ids=["no token", "no job id", "a token that no header carries", "a control call"],
)
def test_what_names_no_job_and_token_or_starts_none_is_not_told(
    intake: Intake, request_: dict[str, Any]
) -> None:
    intake.send(**request_)
    assert intake.told() == []
    (_, reply) = intake.redis.xrange(REPLIES)[0]
    assert reply["success"] == "false"


def test_a_job_that_has_the_id_is_not_called_failed(intake: Intake) -> None:
    intake.send(**request_body("job-1"))
    assert intake.bridge.store.claim("job-1", 1, slot="s", worker="w")
    intake.send(**request_body("job-1", **BAD))
    intake.send(**request_body("job-1", name="another request"))
    assert [body["status"] for body in intake.told()] == ["running"]


def test_a_better_request_follows_behind_the_refusals(intake: Intake) -> None:
    for size in ("four", "five"):
        intake.send(**request_body("job-1", training={"batch_size": size}))
    intake.send(**request_body("job-1"))
    assert intake.bridge.store.claim("job-1", 1, slot="s", worker="w")
    intake.told()
    assert statuses_of(intake.backend.received) == ["failed", "failed", "running"]
    assert len({request.key for request in intake.backend.received}) == 3


def test_the_token_shows_nowhere(intake: Intake) -> None:
    intake.backend.answer = lambda request: Reply(400, json.dumps({"error": TOKEN}).encode())
    intake.send(action=TOKEN, job_id="job-1", job_token=TOKEN)
    assert TOKEN not in json.dumps(intake.told())
    shown = [intake.redis.xrange(stream) for stream in (REPLIES, REJECTED, REQUESTS)]
    shown += intake.redis.lrange("trainyard:set-aside", 0, -1)
    assert len(shown) == 4
    assert TOKEN not in json.dumps(shown)
    assert intake.redis.xpending(REQUESTS, GROUP)["pending"] == 0
