"""What is written of an attempt that made way, whatever came in between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.store_calls import JOB, admit, claim, stored
from trainyard.contract.names import TASK_TRAIN
from trainyard.contract.statuses import JobStatus
from trainyard.store.job_store import JobStore
from worker import signals
from worker.doubt import Doubt
from worker.supervisor.attempt_end import AttemptMadeWay, Rest

REST = Rest(checkpoint="c/checkpoint-4", parked=f"{JOB}:1", parked_on="slot-0", parked_worker="w")
END = AttemptMadeWay(rest=REST, because="job short slips in").model_dump(mode="json")


@pytest.fixture
def done(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the worker did besides: what was sent to the broker, and which process was ended."""
    found: list[str] = []
    admit(store)
    assert claim(store)
    monkeypatch.setattr(signals, "job_store", lambda: store)
    monkeypatch.setattr(signals, "slot", lambda: SimpleNamespace(socket_name="s", doubt=Doubt()))
    monkeypatch.setattr(signals, "_send", lambda job_id: found.append(f"sent {job_id}"))
    monkeypatch.setattr(
        signals, "release_parked", lambda _, name, __: found.append(f"ended {name}") or True
    )
    return found


def write(store: JobStore) -> tuple[JobStatus, int, str]:
    sender = SimpleNamespace(name=TASK_TRAIN, request=SimpleNamespace(id=f"{JOB}:1"))
    signals.write_outcome(sender, END)
    job = stored(store)
    return job.status, job.attempt, job.parked


WAITS = (JobStatus.QUEUED, 2, f"{JOB}:1")


@pytest.mark.parametrize(
    ("meanwhile", "written", "besides"),
    [
        (lambda store: None, WAITS, f"sent {JOB}"),
        # the answer was lost
        (lambda store: store.make_way(JOB, 1, "x", REST.model_dump()), WAITS, f"sent {JOB}"),
        (lambda store: store.pause(JOB), (JobStatus.PAUSED, 1, f"{JOB}:1"), ""),
        (lambda store: store.cancel(JOB), (JobStatus.CANCELLED, 1, ""), f"ended {JOB}:1"),
        (lambda store: store.lost(JOB, 1, "Lost."), (JobStatus.QUEUED, 2, ""), f"ended {JOB}:1"),
    ],
)
def test_what_came_in_between(
    store: JobStore, done: list[str], meanwhile: Any, written: Any, besides: str
) -> None:
    meanwhile(store)
    assert write(store) == written
    assert done == [besides] * bool(besides)


def test_the_next_attempt_may_have_begun(store: JobStore, done: list[str]) -> None:
    """It has taken the process over by then."""
    assert store.make_way(JOB, 1, "job short slips in", REST.model_dump())
    assert claim(store, 2)
    assert store.append(JOB, 2, 1, [], {"parked": ""})
    assert write(store)[:2] == (JobStatus.RUNNING, 2)


def test_the_slot_is_trusted(store: JobStore, done: list[str]) -> None:
    signals._lost_here.add("other")
    write(store)
    assert not signals._lost_here
