"""An attempt whose training ends while Redis is away."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from redis.exceptions import ConnectionError

from tests.support.store_calls import JOB, admit, claim, events, job_store
from trainyard.contract.events import Outcome, Phase
from trainyard.settings import settings
from worker.slot import WorkerSlot
from worker.supervisor import attempt as module
from worker.supervisor.attempt import Attempt
from worker.supervisor.attempt_end import AttemptCompleted, Course

LEASE_S = 0.2


def test_all_that_was_said_is_told_before_the_end_though_the_lease_ends_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()
    back = threading.Timer(5 * LEASE_S, away.clear)

    def supervise(self: Attempt, lease: Any, events: Any, log: Any, *_: Any) -> Any:
        away.set()
        back.start()
        log.say("The last words")
        events.take(Phase(name="data", seconds=1.0))
        return SimpleNamespace(course=Course(outcome=Outcome(outcome="completed")))

    monkeypatch.setattr(Attempt, "_supervise", supervise)
    monkeypatch.setattr(module, "stops", lambda: False)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with fakeredis.FakeRedis(decode_responses=True) as redis:
        store = job_store(redis, lease_s=LEASE_S)
        admit(store)
        job = store.get(JOB)
        assert job is not None and claim(store)
        for name in ("append", "renew"):
            monkeypatch.setattr(store, name, unless(away, getattr(store, name)))
        slot = WorkerSlot("slot-0", "home", "socket", stop_read=-1, stop_write=-1)
        end = Attempt(store, settings(), slot, "worker-0", job).run()
        back.join()
        assert isinstance(end, AttemptCompleted)
        told = events(redis)
    assert "The last words" in told[-2]["data"] + told[-1]["data"]
    assert "phase" in {event["kind"] for event in told}


def unless(away: threading.Event, call: Any) -> Any:
    def answer(*arguments: Any) -> Any:
        if away.is_set():
            raise ConnectionError("Redis is away")
        return call(*arguments)

    return answer
