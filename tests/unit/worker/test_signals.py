"""Ends of a task as Celery announces them, and what each means for the job and for the slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.names import TASK_TRAIN
from worker import signals
from worker.doubt import Doubt
from worker.supervisor.loss import AttemptFailed


@pytest.mark.parametrize("asked", [True, False])
def test_only_who_was_revoked_is_cancelled(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    job = SimpleNamespace(attempt=1)
    store = SimpleNamespace(
        get=lambda job_id: job, cancel=lambda job_id, force: calls.append(("cancel", job_id))
    )
    monkeypatch.setattr(signals, "job_store", lambda: store)
    monkeypatch.setattr(signals, "slot", lambda: SimpleNamespace(socket_name="x"))
    monkeypatch.setattr(signals, "release_parked", lambda *_: False)
    monkeypatch.setattr(signals, "_pool_child_died", lambda *who: calls.append(("died", *who)))
    monkeypatch.setattr(state, "revoked", {"job-1:1"} if asked else set())
    signals.cancel_revoked(SimpleNamespace(id="job-1:1"), terminated=True)
    assert calls == [("cancel", "job-1") if asked else ("died", "job-1", 1)]


@pytest.mark.parametrize(("kind", "doubted"), [("disk_full", True), ("dataset", False)])
def test_a_full_disk_fails_one_job_and_not_all_that_wait(
    kind: str, doubted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = Doubt()
    failed: list[ErrorReport] = []
    store = SimpleNamespace(fail=lambda job_id, attempt, report: failed.append(report))
    monkeypatch.setattr(signals, "job_store", lambda: store)
    monkeypatch.setattr(signals, "slot", lambda: SimpleNamespace(doubt=doubt))
    report = ErrorReport(kind=ErrorKind(kind), message="No.", hint="")
    sender = SimpleNamespace(name=TASK_TRAIN)
    signals.write_failure(sender, "job-1:1", AttemptFailed.from_report(report))
    assert failed == [report]
    assert doubt.take() is doubted, "the next job waits until the slot has proven itself"
