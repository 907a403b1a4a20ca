"""Services of one yard: which jobs a stop puts back into the queue."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from trainyard.local import services
from trainyard.store.job_store import JobStore


def test_what_a_stop_puts_back_is_what_runs_here_and_is_not_to_be_cancelled(
    store: JobStore, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"here": "box-0", "cancelled": "box-1", "elsewhere": "other-0"}
    for name, slot in where.items():
        store.admit(start_request(name), slots=9)
        assert store.claim(name, 1, slot=slot, worker=slot)
    store.cancel("cancelled")
    environment = {"TRAINYARD_HOME": str(tmp_path), "REDIS_URL": redis_server.url}
    ours: Any = services.Services(services.Ports(1, 1, None), environment, wait=False)
    ours._children = [SimpleNamespace(name="workers")]
    monkeypatch.setattr(services, "_slots_of", lambda *_: {"box-0", "box-1"})
    assert ours.running() == ["here"]
