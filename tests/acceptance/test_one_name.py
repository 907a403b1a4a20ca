"""One slot, one worker: the second of a name refuses to start, and says who has it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer
from trainyard.local.ports import free_ports
from trainyard.scheduling.slot_leases import Holder, SlotLeases
from trainyard.scheduling.slots import SlotRegistry, SlotState

WORKER = ["-m", "celery", "-A", "worker.app", "worker", "-Q", "gpu", "-c", "1"]
ELSEWHERE = Holder("w", host="another-host", pid=7, birth="another-boot 1 1", home="another-home")


@pytest.fixture
def twin(redis_server: RedisServer, real_redis: object) -> Iterator[None]:
    """A worker on another host that holds the slot twin-0."""
    stop = threading.Event()

    def hold() -> None:
        with redis_server.client() as redis:
            leases, registry = SlotLeases(redis), SlotRegistry(redis)
            while not stop.wait(0.2):
                assert leases.take("twin-0", ELSEWHERE) is None
                registry.beat("twin-0", {})
                registry.stamp("twin-0", SlotState.CONSUMING)

    thread = threading.Thread(target=hold)
    thread.start()
    yield
    stop.set()
    thread.join()


def refused(redis_server: RedisServer, home: Path, *command: str, **settings: str) -> str:
    """What a start says that ends by itself."""
    done = subprocess.run(
        [sys.executable, *command],
        env={
            **os.environ,
            "REDIS_URL": redis_server.url,
            "TRAINYARD_HOST": "twin",
            "TRAINYARD_HOME": str(home),
            "SLOTS": "1",
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("command", [["-m", "worker.launcher"], WORKER])
def test_a_host_of_the_same_name_refuses(
    redis_server: RedisServer, twin: None, tmp_path: Path, command: list[str]
) -> None:
    said = refused(redis_server, tmp_path, *command)
    assert "the slot twin-0 has a worker already: process 7 on another-host, over another" in said
    assert "TRAINYARD_HOST for this host" in said


def test_a_yard_beside_one_of_the_same_name_says_so_on_the_terminal(
    redis_server: RedisServer, twin: None, tmp_path: Path
) -> None:
    """The slot that takes jobs, as everybody sees, is not its own."""
    names = ("BRIDGE_PORT", "FLOWER_PORT", "DEV_BACKEND_PORT")
    ports = {name: str(port) for name, port in zip(names, free_ports(3), strict=True)}
    said = refused(redis_server, tmp_path, "-m", "trainyard.cli.main", "up", **ports)
    assert "workers did not start" in said
    assert "the slot twin-0 has a worker already: process 7 on another-host" in said
    assert "TRAINYARD_HOST for this host" in said


@pytest.mark.parametrize("options", [["-c", "2"], ["--autoscale=3,1"], ["-P", "threads"]])
def test_a_slot_runs_one_job_at_a_time(
    redis_server: RedisServer, real_redis: object, tmp_path: Path, options: list[str]
) -> None:
    said = refused(redis_server, tmp_path, *WORKER, *options)
    assert "worker: a slot runs one job at a time: -c 1, without --autoscale and --pool" in said
