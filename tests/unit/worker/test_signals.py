"""A pool child that was killed is no cancel, though Celery calls it one after an earlier cancel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from worker import signals


@pytest.mark.parametrize("asked", [True, False])
def test_only_who_was_revoked_is_cancelled(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    job = SimpleNamespace(attempt=1)
    store = SimpleNamespace(
        get=lambda job_id: job, cancel=lambda job_id, force: calls.append(("cancel", job_id))
    )
    monkeypatch.setattr(signals, "job_store", lambda: store)
    monkeypatch.setattr(signals, "slot", lambda: SimpleNamespace(socket_name="x"))
    monkeypatch.setattr(signals, "wait_gone", lambda *_: False)
    monkeypatch.setattr(signals, "_pool_child_died", lambda *who: calls.append(("died", *who)))
    monkeypatch.setattr(state, "revoked", {"job-1:1"} if asked else set())
    signals.cancel_revoked(SimpleNamespace(id="job-1:1"), terminated=True)
    assert calls == [("cancel", "job-1") if asked else ("died", "job-1", 1)]
