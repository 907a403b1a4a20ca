"""Backends that others write: what they answer differs, and what arrives does not."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.support.forwarding import (
    forwarding,
    lines_of,
    statuses_of,
    steps_of,
    wait_delivered,
)
from tests.support.running_job import RunningJob
from tests.support.scripted_backend import Received, Reply, ScriptedBackend
from tests.support.waiting import wait_for
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.store.delivery_report import delivery_report

FLASK_404 = Reply(404, b"<!doctype html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>")
EXPRESS_LIMIT_BYTES = 102_400


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as backend:
        yield backend


def test_a_flask_application_without_the_logs_route(
    real_redis: Redis, backend: ScriptedBackend
) -> None:
    has_logs = threading.Event()
    refused: list[Received] = []

    def answer(request: Received) -> Reply:
        if request.path.endswith("/logs") and not has_logs.is_set():
            refused.append(request)
            return FLASK_404
        return Reply(200, b'{"ok": true}\n')

    backend.answer = answer
    with forwarding(real_redis, backend.url):
        job = RunningJob(real_redis, "job-1")
        for step in range(1, 6):
            job.log(f"line {step}")
            job.metric(step)
        job.complete()
        wait_for("the end goes by", lambda: statuses_of(backend.received)[1:] == ["completed"])
        assert steps_of(backend.received) == [1, 2, 3, 4, 5]
        wait_for("the route is named", lambda: delivery_report(real_redis).missing_routes)
        (route,) = delivery_report(real_redis).missing_routes
        assert route == "POST /api/training/local/{jobId}/logs"
        assert {request.key for request in refused} == {"job-1:1:2"}
        has_logs.set()
        wait_delivered(real_redis)
    taken = [r for r in backend.received if all(r is not other for other in refused)]
    assert max(Counter(request.key for request in taken).values()) == 1
    assert lines_of(taken) == [f"line {step}" for step in range(1, 6)]
    report = delivery_report(real_redis)
    assert (report.missing_routes, report.set_aside) == ({}, [])


@pytest.mark.parametrize("body", [b'{"ok": true}', b"[]", b'"OK"', b'{"status": "running"}'])
def test_any_json_is_an_acceptance(
    real_redis: Redis, backend: ScriptedBackend, body: bytes
) -> None:
    backend.answer = lambda request: Reply(200, body)
    with forwarding(real_redis, backend.url):
        job = RunningJob(real_redis, "job-1")
        job.log("line")
        job.metric(1)
        job.complete()
        wait_delivered(real_redis)
    assert [request.key for request in backend.received] == [f"job-1:1:{n}" for n in range(1, 5)]


@pytest.mark.parametrize("limit_bytes", [EXPRESS_LIMIT_BYTES, 20_000])
def test_an_express_application_that_bounds_its_bodies(
    real_redis: Redis, backend: ScriptedBackend, limit_bytes: int
) -> None:
    refused: set[int] = set()

    def answer(request: Received) -> Reply:
        if len(json.dumps(request.body)) > limit_bytes:
            refused.add(id(request))
            return Reply(413, b"<pre>PayloadTooLargeError: request entity too large</pre>")
        return Reply(200, b'{"ok":true}')

    backend.answer = answer
    with forwarding(real_redis, backend.url):
        job = RunningJob(real_redis, "job-1")
        for batch in range(3):
            first = batch * LOG_LINES_PER_BATCH
            job.log(*(f"line {first + n} " + "€" * 1000 for n in range(LOG_LINES_PER_BATCH)))
        job.complete()
        wait_delivered(real_redis)
    taken = [request for request in backend.received if id(request) not in refused]
    numbers = [int(line.split()[1]) for line in lines_of(taken)]
    assert numbers == list(range(3 * LOG_LINES_PER_BATCH))
    assert max(Counter(request.key for request in taken).values()) == 1
    assert all(line.count("€") == 1000 for line in lines_of(taken))
    assert len(refused) == (0 if limit_bytes == EXPRESS_LIMIT_BYTES else 2)
    assert delivery_report(real_redis).set_aside == []
