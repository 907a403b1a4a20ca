"""Celery's remote commands, as a worker's panel has them: each by way of the job store."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.control import Panel
from redis.exceptions import ConnectionError

from tests.support.store_calls import JOB, admit, claim, job_store, stored
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slot_names import host_name
from trainyard.scheduling.slots import SlotRegistry
from worker import remote_control, signals

SLOT = SimpleNamespace(name="box-0", socket_name="x")


class Consumer:
    """Celery's consumer, as far as queues and revokes go."""

    def __init__(self) -> None:
        self.queues = {"gpu", "gpu.box-0"}
        self.consumer = self

    def call_soon(self, call: Any, queue: str, *_: Any, **__: Any) -> None:
        call(queue)

    def cancel_task_queue(self, queue: str) -> None:
        self.queues.discard(queue)

    def add_task_queue(self, queue: str) -> None:
        self.queues.add(queue)


class Worker:
    """A slot's worker over a job store; ``removed``: what it took out of the broker."""

    def __init__(self, redis: Any, patch: pytest.MonkeyPatch) -> None:
        self.store = job_store(redis)
        self.removed: list[str] = []
        self.slots = SlotRegistry(redis)
        self.consumer = Consumer()
        dispatcher = SimpleNamespace(
            queue=SimpleNamespace(remove=self.removed.append), slots=self.slots
        )
        for module in (signals, remote_control):
            patch.setattr(module, "slot", lambda: SLOT)
            patch.setattr(module, "dispatcher", lambda: dispatcher)
        patch.setattr(signals, "job_store", lambda: self.store)
        patch.setattr(remote_control.control, "revoke", lambda *_, **__: {"ok": "revoked"})

    def control(self, command: str, **arguments: Any) -> dict[str, str]:
        answer: dict[str, str] = Panel.data[command](self.consumer, **arguments)
        return answer

    def status(self) -> JobStatus:
        return stored(self.store).status


@pytest.fixture
def worker(redis: Any, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(redis, monkeypatch)


@pytest.mark.parametrize(
    "command",
    ["pool_grow", "pool_shrink", "autoscale", "pool_restart", "time_limit", "rate_limit"],
)
def test_what_would_break_a_slot_is_refused(worker: Worker, command: str) -> None:
    assert worker.control(command, n=1)["error"].startswith(f"{command} is refused: ")


@pytest.mark.parametrize("command", ["revoke", "terminate"])
@pytest.mark.parametrize("named", [f"{JOB}:1", [f"{JOB}:1", "no attempt", "other:1"]])
def test_a_revoke_cancels_what_waits(worker: Worker, command: str, named: Any) -> None:
    admit(worker.store)
    options = {"signal": "SIGTERM"} if command == "terminate" else {}
    assert worker.control(command, task_id=named, **options) == {"ok": "revoked"}
    assert worker.status() is JobStatus.CANCELLED
    assert worker.removed == [f"{JOB}:1"]


@pytest.mark.parametrize("named", [f"{JOB}:1", f"{JOB}:2"])
def test_a_revoke_is_left_to_celery_for_what_runs_or_is_no_attempt_any_more(
    worker: Worker, named: str
) -> None:
    admit(worker.store)
    claim(worker.store)
    assert worker.control("revoke", task_id=named) == {"ok": "revoked"}
    assert worker.status() is JobStatus.RUNNING


def test_a_revoke_that_the_store_did_not_hear_says_so(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(worker.store, "get", away)
    assert "nothing was changed" in worker.control("revoke", task_id=f"{JOB}:1")["error"]


def test_a_shutdown_is_what_sigterm_is(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *signal_: sent.append(signal_))
    worker.control("shutdown")
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_a_drain_is_of_both_queues_and_is_undone(worker: Worker) -> None:
    drains = Drains(worker.slots.redis)
    worker.control("cancel_consumer", queue="gpu")
    assert worker.consumer.queues == set()
    assert drains.holds("box-0", "box"), "it outlives a restart of the worker"
    assert "takes jobs" in worker.control("add_consumer", queue="gpu")["ok"]
    assert not drains.holds("box-0", "box")
    drains.order(host_name())
    assert "its host is drained" in worker.control("add_consumer", queue="gpu")["error"]


def test_a_slot_that_is_unfit_and_a_queue_of_others_are_refused(worker: Worker) -> None:
    worker.slots.take_out("box-0", "its GPU is full")
    assert "its GPU is full" in worker.control("add_consumer", queue="gpu")["error"]
    assert "only" in worker.control("add_consumer", queue="others")["error"]
