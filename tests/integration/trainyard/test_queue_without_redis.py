"""The broker's side of a job while Redis is away: the same error as the store's."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest
from redis.exceptions import RedisError

from tests.support.celery_app import bridge_celery
from tests.support.redis_server import RedisServer
from trainyard.scheduling.queue import JobQueue
from trainyard.store.connection import connect


@pytest.mark.parametrize(
    "ask",
    [
        lambda queue: queue.enqueue("job:1"),
        lambda queue: queue.enqueue("job:1", slot="slot-0"),
        lambda queue: queue.revoke("job:1", "slot-0@host"),
        lambda queue: queue.release_parked("job:1", "slot-0@host"),
    ],
    ids=["enqueue", "enqueue to a slot", "revoke", "release"],
)
def test_no_error_of_kombu_comes_out(ask: Callable[[JobQueue], object]) -> None:
    with (
        RedisServer() as server,
        bridge_celery(server.url) as celery,
        connect(server.url, retries=0) as redis,
    ):
        queue = JobQueue(celery, redis)
        queue.enqueue("before:1")
        server.kill()
        with pytest.raises(RedisError):
            ask(queue)


def test_a_broker_that_never_answers_costs_a_few_time_outs() -> None:
    """A connection is made, and nothing comes of it: as through a NAT that has lost it."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"redis://127.0.0.1:{hole.getsockname()[1]}/0"
        with bridge_celery(url) as celery, connect(url, retries=0) as redis:
            options = celery.conf.broker_transport_options
            assert options["socket_timeout"] == options["socket_connect_timeout"] == 5
            celery.conf.broker_transport_options = {**options, "socket_timeout": 0.2}
            began = time.monotonic()
            with pytest.raises(RedisError):
                JobQueue(celery, redis).enqueue("job:1")
    assert time.monotonic() - began < 6 * 0.2 + 1, "at 5 s this is half a minute"
