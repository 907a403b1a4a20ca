"""The examples for Python, as they stand, against a consumer on a real Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend_bridge.intake.stream_consumer import StreamConsumer
from tests.support.bridge import Running
from tests.support.paths import REPOSITORY
from tests.support.redis_server import RedisServer
from tests.support.requests import request_body
from trainyard.contract.statuses import JobStatus

pytestmark = pytest.mark.parametrize("script", ["enqueue_celery.py", "enqueue_stream.py"])


@pytest.fixture
def consumed(bridge: Running, real_redis: Any) -> Iterator[Running]:
    """The bridge, while requests through Redis are read."""
    parts = bridge.client.app.state.bridge  # type: ignore[attr-defined]
    consumer, stop = (
        StreamConsumer(real_redis, parts.admission, parts.control, 1.0),
        threading.Event(),
    )
    reading = threading.Thread(target=consumer.run, args=[stop])
    reading.start()
    yield bridge
    stop.set()
    reading.join()


def enqueued(
    script: str, request: dict[str, Any], redis_server: RedisServer, folder: Path
) -> subprocess.CompletedProcess[str]:
    file = folder / "request.json"
    file.write_text(json.dumps(request))
    return subprocess.run(
        [sys.executable, REPOSITORY / "examples/python" / script, file],
        env={**os.environ, "REDIS_URL": redis_server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_job_is_enqueued(
    consumed: Running, redis_server: RedisServer, tmp_path: Path, script: str
) -> None:
    done = enqueued(script, request_body("job-1"), redis_server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "job job-1 is queued"
    job = consumed.store.get("job-1")
    assert job is not None
    assert job.status is JobStatus.QUEUED


def test_a_refusal_is_told(
    consumed: Running, redis_server: RedisServer, tmp_path: Path, script: str
) -> None:
    request = request_body("job-1", training={"batch_size": "four"})
    done = enqueued(script, request, redis_server, tmp_path)
    assert done.returncode == 1
    assert "config.training.batch_size" in done.stdout
