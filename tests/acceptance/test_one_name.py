"""Two hosts of one name: the second refuses to start, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer
from trainyard.home import home_id
from trainyard.scheduling.slots import SlotRegistry

WORKER = ["-m", "celery", "-A", "worker.app", "worker", "-Q", "gpu", "-c", "1"]


@pytest.mark.parametrize("command", [["-m", "worker.launcher"], WORKER])
def test_the_second_refuses(
    redis_server: RedisServer, real_redis: object, tmp_path: Path, command: list[str]
) -> None:
    with redis_server.client() as redis:
        SlotRegistry(redis).beat("twin-0", {"home": home_id(tmp_path / "first")})
    done = subprocess.run(
        [sys.executable, *command],
        env={
            **os.environ,
            "REDIS_URL": redis_server.url,
            "TRAINYARD_HOST": "twin",
            "TRAINYARD_HOME": str(tmp_path / "second"),
            "SLOTS": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "a worker over another TRAINYARD_HOME runs as the slot twin-0" in done.stderr
    assert "set TRAINYARD_HOST to a name of its own" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_slot_runs_one_job_at_a_time(redis_server: RedisServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *WORKER[:-1], "2"],
        env={
            **os.environ,
            "REDIS_URL": redis_server.url,
            "TRAINYARD_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "worker: a slot runs one job at a time: -c 1" in done.stderr
