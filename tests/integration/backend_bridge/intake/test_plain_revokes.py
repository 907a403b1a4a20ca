"""Remote commands of an application that names only the broker, on a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from backend_bridge.intake.plain_revokes import PlainRevokes
from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.contract.names import BROKER_PREFIX


@pytest.fixture
def plain(real_redis: Any) -> Iterator[PlainRevokes]:
    store, stop = job_store(real_redis), threading.Event()
    store.admit(start_request("job-1"), slots=1)
    plain = PlainRevokes(real_redis, store)
    thread = threading.Thread(target=plain.run, args=(stop,))
    thread.start()
    wait_for("it listens", lambda: real_redis.pubsub_numsub(plain.channel)[0][1])
    yield plain
    stop.set()
    thread.join()


def test_a_revoke_of_ours_is_passed_on_and_nothing_else(
    plain: PlainRevokes, real_redis: Any, redis_server: RedisServer
) -> None:
    """The last command is ours: what came before it would have been heard before it."""
    with (
        Celery("backend", broker=redis_server.url) as app,
        real_redis.pubsub(ignore_subscribe_messages=True) as ours,
    ):
        ours.subscribe(f"{BROKER_PREFIX}{plain.channel}")
        wait_for("the test listens", lambda: ours.subscribed)
        app.control.shutdown()
        app.control.broadcast("cancel_consumer", arguments={"queue": "gpu"})
        for foreign in ("job-2:1", "1f0c", "job-1", ["job-3:1", "x"]):
            app.control.revoke(foreign, terminate=True)
        app.control.revoke("job-1:1", terminate=True, signal="SIGKILL")
        heard: list[Any] = []

        def look() -> bool:
            message = ours.get_message(timeout=0.2)
            heard.extend([message["data"]] if message else [])
            return bool(heard)

        wait_for("it is passed on", look)
    (message,) = heard
    assert not plain.pass_on("[]") | plain.pass_on('{"body": 5}') | plain.pass_on("{")
    assert plain.pass_on(message), "and it is a revoke of ours"
