"""Wakes on a real Redis: an event wakes the courier beside its slot alone, whoever dies."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from backend_bridge.delivery.forwarder import Forwarder
from backend_bridge.delivery.outbox import Outbox
from tests.support.forwarding import QUICK, forwarding, running, wait_delivered
from tests.support.running_job import RunningJob
from tests.support.scripted_backend import ScriptedBackend
from tests.support.waiting import wait_for
from trainyard.store.keys import Key, wake_channel

SLOTS = ("host-0", "host-1", "host-2")


@pytest.fixture
def heard(real_redis: Redis) -> Iterator[Callable[[str], list[str]]]:
    """What came on a channel since the last call; the channel is listened to from the first on."""
    with ExitStack() as stack:
        listeners: dict[str, Any] = {}

        def ids(channel: str) -> list[str]:
            if channel not in listeners:
                listeners[channel] = stack.enter_context(real_redis.pubsub())  # type: ignore[no-untyped-call]
                listeners[channel].subscribe(channel)
                assert listeners[channel].get_message(timeout=10)["type"] == "subscribe"
                return []
            real_redis.publish(channel, "end")
            found = list[str]()
            while (message := listeners[channel].get_message(timeout=10)["data"]) != "end":
                found.append(message)
            return found

        yield ids


def test_an_event_wakes_the_courier_of_its_slot_and_everybody_if_that_is_away(
    real_redis: Redis, heard: Callable[[str], list[str]]
) -> None:
    jobs = [RunningJob(real_redis, f"of-{n}", slot=f"host-{n}") for n in (1, 2)]
    real_redis.delete(Key.UNDELIVERED)  # as if all of them had been sent
    channels = (Key.WAKE, wake_channel("host-1"))
    for channel in channels:
        heard(channel)
    for job in jobs:
        job.log("line")
    assert [heard(channel) for channel in channels] == [["of-2"], ["of-1"]]


def test_what_becomes_due_wakes_once_and_is_for_who_looks_when_nobody_took_it(
    real_redis: Redis, heard: Callable[[str], list[str]]
) -> None:
    RunningJob(real_redis, "job-1", slot="host-1")
    heard(wake_channel("host-1"))
    outbox = Outbox(real_redis, lock_s=5)
    assert outbox.due(10, untaken_s=0.3) == ([], None)
    assert outbox.due(10, untaken_s=0.3) == ([], None)
    assert heard(wake_channel("host-1")) == ["job-1"]
    wait_for("nobody took it", lambda: outbox.due(10, untaken_s=0.3) == (["job-1"], None))
    assert heard(wake_channel("host-1")) == []


def test_each_courier_sends_for_its_slot(
    real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: dict[str, set[str]] = defaultdict(set)
    """By the job, the slots whose couriers tried to take it."""
    claim = Outbox.claim

    def noted(outbox: Outbox, job_id: str) -> Any:
        claims[job_id].add(threading.current_thread().name)
        return claim(outbox, job_id)

    monkeypatch.setattr(Outbox, "claim", noted)
    never_late = replace(QUICK, poll_s=30.0)  # nobody takes another's job because that is slow
    with ScriptedBackend() as backend, ExitStack() as stack:
        for slot in SLOTS:
            forwarder = Forwarder(real_redis, backend.url, slot=slot, senders=1, policy=never_late)
            _name_senders(forwarder, slot, monkeypatch)
            stack.enter_context(running(forwarder))
            wait_for("it listens", lambda slot=slot: _listeners(real_redis, slot))
        jobs = [RunningJob(real_redis, f"of-{slot}", slot=slot) for slot in SLOTS]
        wait_delivered(real_redis)
        claims.clear()
        for number in range(20):
            for job in jobs:
                job.log(f"line {number}")
            wait_delivered(real_redis)
    assert claims == {f"of-{slot}": {slot} for slot in SLOTS}


def test_a_courier_that_is_deaf_costs_its_jobs_no_delivery(real_redis: Redis) -> None:
    """Somebody listens for the slot and sends nothing, as a courier does that is stuck."""
    with ScriptedBackend() as backend, real_redis.pubsub() as stuck:  # type: ignore[no-untyped-call]
        stuck.subscribe(wake_channel("host-1"))
        with forwarding(real_redis, backend.url, slot="host-2"):
            RunningJob(real_redis, "job-1", slot="host-1").log("line")
            wait_delivered(real_redis)
        assert backend.of("job-1")


def _listeners(redis: Redis, slot: str) -> int:
    return int(redis.pubsub_numsub(wake_channel(slot))[0][1])


def _name_senders(forwarder: Forwarder, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send = forwarder._send_jobs

    def named(*rest: Any) -> None:
        threading.current_thread().name = slot
        send(*rest)

    monkeypatch.setattr(forwarder, "_send_jobs", named)
