"""The broker's side of a job while Redis is away: the same error as the store's."""

from __future__ import annotations

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
