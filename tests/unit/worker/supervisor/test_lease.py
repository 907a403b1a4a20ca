"""What is said of an outage of Redis: that it began, and that it is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from trainyard.store.attempt_writes import Renewal
from worker.supervisor.lease import LeaseGuard


class Store:
    lease_ms = 60_000
    away = False

    def renew(self, job_id: str, attempt: int) -> Renewal:
        if self.away:
            raise ConnectionError("refused")
        return Renewal(True, "running", "")


def test_an_outage_is_said_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    store: Any = Store()
    link: Any = SimpleNamespace(keeper=SimpleNamespace(set_lease=lambda _: None))
    guard = LeaseGuard(store, "job-1", 1, link, lambda text, level: None)
    for away in (False, True, True, True, False, False, True):
        store.away = away
        assert (guard.renew() is None) is away
    said = [record.getMessage() for record in caplog.records]
    assert ["not renewed" in text for text in said] == [True, False, True]
    assert "lease renewed again after 0.0 s" in said[1]
