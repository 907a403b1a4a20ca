"""A forwarder at work, and what a backend received of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from redis import Redis

from backend_bridge.delivery.forwarder import Forwarder
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from tests.support.scripted_backend import Received
from tests.support.waiting import wait_for

QUICK = DeliveryPolicy(
    backoff_base_s=0.02,
    backoff_cap_s=0.1,
    access_delays_s=(0.02, 0.02),
    missing_route_delay_s=0.3,
    redis_pause_s=0.05,
    poll_s=0.05,
)


@contextmanager
def running(forwarder: Forwarder) -> Iterator[threading.Event]:
    """A forwarder at work in a thread; it must end when it is told to."""
    stop = threading.Event()
    thread = threading.Thread(target=forwarder.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive(), "the forwarder does not stop"


@contextmanager
def forwarding(redis: Redis, url: str, **options: Any) -> Iterator[threading.Event]:
    """A quick forwarder of four senders; ``options`` are Forwarder's own."""
    settings: dict[str, Any] = {"policy": QUICK, "request_timeout_s": 5.0, "senders": 4}
    with running(Forwarder(redis, url, **{**settings, **options})) as stop:
        yield stop


def wait_delivered(redis: Redis, timeout_s: float = 60) -> None:
    """Wait until nothing is left to send."""
    wait_for(
        "all is delivered", lambda: redis.zcard("trainyard:undelivered") == 0, timeout_s=timeout_s
    )


def endpoints(requests: list[Received]) -> list[str]:
    """Last part of each path: ``status``, ``metrics`` or ``logs``."""
    return [request.path.rpartition("/")[2] for request in requests]


def lines_of(requests: list[Received]) -> list[str]:
    """Text of all log lines, without the time stamps."""
    return [
        line.partition("] ")[2]
        for request in requests
        if request.path.endswith("/logs")
        for line in request.body["logs"]
    ]


def statuses_of(requests: list[Received]) -> list[str]:
    return [request.body["status"] for request in requests if request.path.endswith("/status")]


def steps_of(requests: list[Received]) -> list[int]:
    """Steps of the metric points."""
    bodies = [request.body for request in requests if request.path.endswith("/metrics")]
    return [point["step"] for body in bodies for point in body.get("metrics", [body])]


def first_tries(requests: list[Received]) -> list[Received]:
    """One request of each key. Tries of one key must follow one another in their lane."""
    by_lane = sorted(requests, key=lambda request: request.path.rpartition("/")[2])
    keys = [key for key, _ in groupby(request.key for request in by_lane)]
    assert len(keys) == len(set(keys)), f"a message overtook another: {keys}"
    return [next(group) for _, group in groupby(by_lane, key=lambda request: request.key)]
