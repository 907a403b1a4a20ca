"""Requests that are wrong by chance, over each way in: answered, in a sentence, with no defect."""

from __future__ import annotations

import base64
import json
import random
from typing import Any
from urllib.parse import quote

import pytest

from backend_bridge.intake.stream_consumer import GROUP, StreamConsumer
from tests.support.bridge import Running
from tests.support.hostile_values import TEXTS, VALUES, as_sent, mutated
from tests.support.requests import request_body
from trainyard.contract.names import QUEUE_REQUESTS, REPLIES, REQUESTS, TASK_SUBMIT

LONG = (pytest.mark.long, pytest.mark.timeout(3600))
SEED = 19
BODY = request_body(
    **{"training": {"method": "dpo", "learning_rate": 1e-4, "max_steps": 3, "beta": 0.1}},
    **{"data": {"max_length": 64, "columns": {"a": "b"}}, "lora": {"r": 4, "alpha": 8}},
)
"""The shape of a request; each has a few things of it changed."""
READS = ("jobs", "queue", "status/{}", "logs/{}", "metrics/{}", "{}/errors", "checkpoints/{}")
QUERIES = ("limit", "offset", "status", "since", "user_id", "checkpoint", "sort")
ACTS = ("pause/{}", "resume/{}", "cancel/{}", "force-start/{}", "{}/pause", "{}/cancel")


def ask(bridge: Running, chance: random.Random) -> Any:
    """One request over HTTP: most start a job, others read or act on one."""
    job_id = quote(chance.choice(("job-1", "job-2", *TEXTS))[:2000], safe="", errors="replace")
    headers = {"Content-Type": chance.choice(("application/json",) * 9 + ("text/plain",))}
    draw = chance.random()
    if draw < 0.6:
        content = as_sent(chance, mutated(chance, {**BODY, "execution_id": f"job-{draw:.1f}"}))
        return bridge.client.post("/api/training/execute", content=content, headers=headers)
    if draw < 0.8:
        query = {
            name: str(chance.choice(VALUES))[:2000].encode(errors="replace")
            for name in chance.sample(QUERIES, 2)
        }
        return bridge.get(chance.choice(READS).format(job_id), params=query)
    content = as_sent(chance, mutated(chance, {"checkpoint_path": "checkpoints/checkpoint-1"}))
    path = f"/api/training/{chance.choice(ACTS).format(job_id)}"
    return bridge.client.post(path, content=content, headers=headers)


@pytest.mark.parametrize("count", [150, pytest.param(14_000, marks=LONG)])
def test_over_http(bridge: Running, count: int) -> None:
    chance = random.Random(SEED)
    statuses = set()
    for number in range(count):
        answer = ask(bridge, chance)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (number, answer.request.url, answer.text[:500])
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert error and "Traceback" not in error and "\n" not in error.strip(), error
    assert bridge.client.get("/health").status_code == 200
    assert {200, 400, 404, 422} <= statuses


def consume(bridge: Running, redis: Any) -> list[dict[str, str]]:
    """Let all that waits be consumed; the replies."""
    parts = bridge.client.app.state.bridge  # type: ignore[attr-defined]
    consumer = StreamConsumer(redis, parts.admission, parts.control, 1.0)
    consumer._ensure_group()
    while redis.xlen(REQUESTS) or redis.llen(QUEUE_REQUESTS):
        consumer.consume(block_ms=1)
    assert redis.xpending(REQUESTS, GROUP)["pending"] == 0
    replies = [reply for _, reply in redis.xrange(REPLIES)]
    redis.delete(REPLIES)
    return replies


def check(replies: list[dict[str, str]], count: int) -> None:
    assert len(replies) == count
    for reply in replies:
        assert reply["message"], reply
        assert "defect" not in reply["message"], reply
    assert {reply["success"] for reply in replies} == {"true", "false"}


@pytest.mark.parametrize("count", [100, pytest.param(3_000, marks=LONG)])
def test_through_the_stream(bridge: Running, real_redis: Any, count: int) -> None:
    chance = random.Random(SEED)
    for number in range(count):
        asked: dict[str, Any] = {"action": "start", **BODY, "execution_id": f"job-{number % 7}"}
        if number % 3 == 0:
            asked = {"action": chance.choice(("pause", "resume", "cancel")), "job_id": "job-1"}
        sent = as_sent(chance, mutated(chance, asked) if number % 10 else asked)
        name = chance.choice(("request",) * 20 + ("celery", "other"))
        real_redis.xadd(REQUESTS, {name: sent.decode(errors="replace")})
    check(consume(bridge, real_redis), count)


@pytest.mark.parametrize("count", [100, pytest.param(3_000, marks=LONG)])
def test_through_celery(bridge: Running, real_redis: Any, count: int) -> None:
    chance = random.Random(SEED)
    for number in range(count):
        request = {**BODY, "execution_id": f"job-{number % 7}"}
        message = _message(chance, f"task-{number}", request)
        if number % 2:
            message = mutated(chance, message)
        real_redis.lpush(QUEUE_REQUESTS, as_sent(chance, message).decode(errors="replace"))
    check(consume(bridge, real_redis), count)


def _message(chance: random.Random, task_id: str, request: dict[str, Any]) -> dict[str, Any]:
    """As Celery 5 writes it, protocol 2; one time in two the request in it is changed."""
    request = mutated(chance, request) if chance.random() < 0.5 else request
    body = json.dumps([[], {"request": request}, {"callbacks": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": task_id, "task": TASK_SUBMIT, "eta": None, "expires": None},
        "properties": {"correlation_id": task_id, "body_encoding": "base64", "priority": 0},
    }
