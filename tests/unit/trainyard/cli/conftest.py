"""The bridge that the command line speaks to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_bridge import FakeBridge
from trainyard.cli import progress, watching


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBridge]:
    """One that takes a job, and is followed without a pause."""
    with FakeBridge() as bridge:
        monkeypatch.setenv("BRIDGE_PORT", str(bridge.port))
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # dead, and for other hosts
        monkeypatch.setenv("BACKEND_URL", "http://127.0.0.1:9")  # a backend of one's own
        monkeypatch.setattr(watching, "FOLLOW_EVERY_S", 0)
        monkeypatch.setattr(progress, "LINE_EVERY_S", -1)
        answer = {"job_id": "j", "status": "queued", "queue_position": 1, "ignored": []}
        bridge.answers["POST", "/api/training/execute"] = 200, answer
        yield bridge
