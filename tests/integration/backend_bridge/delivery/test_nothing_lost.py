"""Every trouble at once: what the development backend has at the end is what was written."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.dev_backend import FaultyBackend
from tests.support.forwarding import wait_delivered
from tests.support.paths import REPOSITORY
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from tests.support.waiting import wait_for
from trainyard.child_process import python_module
from trainyard.store.connection import connect
from trainyard.store.delivery_report import delivery_report
from trainyard.store.delivery_state import read_progress

COURIER = """
import sys, threading
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.forwarder import Forwarder
from trainyard.store.connection import connect
policy = DeliveryPolicy(backoff_base_s=0.02, backoff_cap_s=0.1, redis_pause_s=0.05, poll_s=0.1,
                        access_delays_s=(0.2, 0.2), unheard_delay_s=0.5, missing_route_delay_s=0.3,
                        lock_margin_s=1.1, patience_s=float(sys.argv[3]))
forwarder = Forwarder(connect(sys.argv[1]), sys.argv[2], request_timeout_s=1.0, policy=policy)
forwarder.run(threading.Event())
"""
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 502, "html": True},
    {"status": 503, "retry_after_s": 0},
    {"status": 429, "retry_after_s": 1, "retry_after_date": True},
    {"status": 401},
    {"status": 404},
    {"status": 405},
    {"status": 408},
    {"half_body": True},
    {"reset": True},
    {"lose_answer": True},
    {"latency_s": 1.2},  # longer than a request may take: done, and never known
    {"down_s": 0.5},
)


@contextmanager
def courier(redis: RedisServer, backend: FaultyBackend, patience_s: float) -> Iterator[None]:
    """A forwarder in a process of its own, killed at the end as a worker is."""
    arguments = [sys.executable, "-c", COURIER, redis.url, backend.url, str(patience_s)]
    process = subprocess.Popen(arguments, cwd=REPOSITORY)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def points_taken(redis: Any) -> int:
    """How many points the backend has taken of job-0, as far as the courier knows."""
    return read_progress(redis.hgetall("trainyard:delivery:job-0")).metric.done


def write_much(jobs: list[RunningJob], rounds: int) -> None:
    for number in range(rounds):
        for job in jobs:
            job.log(f"line {2 * number}", f"line {2 * number + 1}")
            job.metric(number + 1, train_loss=1.0 / (number + 1))


@pytest.mark.parametrize("patience_s", [30.0, pytest.param(0.2, marks=pytest.mark.slow)])
def test_after_every_trouble_all_is_there_once_and_in_order(patience_s: float) -> None:
    rounds, seed = 40, random.randrange(2**32)
    chance = random.Random(seed)
    with RedisServer(append_only=True) as server, FaultyBackend() as backend:
        redis = connect(server.url)
        names = [f"job-{number}" for number in range(3)]
        for name in names:
            backend.create_job(name, "job-token")
        jobs = [RunningJob(redis, name) for name in names]
        for fault in chance.sample(FAULTS, len(FAULTS)):
            times = 1 if "down_s" in fault or "latency_s" in fault else chance.randint(1, 3)
            backend.add_fault(**fault, times=times)
        writer = threading.Thread(target=write_much, args=(jobs, rounds))
        with courier(server, backend, patience_s):
            writer.start()
            wait_for("it has begun", lambda: points_taken(redis) > 2)
        with courier(server, backend, patience_s):
            wait_for("another goes on", lambda: points_taken(redis) > 10)
            writer.join()
            server.kill()
            server.start()
            for job in jobs:
                job.complete()
            wait_delivered(redis)
        assert backend.call("GET", "/api/dev/faults") == {"faults": []}, "a trouble never came"
        for name in names:
            said = f"{name} with seed {seed}"
            assert backend.statuses(name)[0] == "running", said
            assert backend.status(name)["status"] == "completed", said
            lines = [line.partition("] ")[2] for line in backend.logs(name)]
            assert lines == [f"line {number}" for number in range(2 * rounds)], said
            steps = [point["step"] for point in backend.metrics(name)]
            assert steps == list(range(1, rounds + 1)), said
            assert_tries_repeat(backend.requests(name), said)
        assert delivery_report(redis).set_aside_counts == {}
        redis.close()


def assert_tries_repeat(requests: list[dict[str, Any]], said: str) -> None:
    """Every request has a key; a second try is the same, and follows a first of unknown fate."""
    twice = 0
    by_key: dict[str, list[dict[str, Any]]] = {}
    for request in requests:
        by_key.setdefault(request["headers"]["idempotency-key"], []).append(request)
    for tries in by_key.values():
        assert all(later["body"] == tries[0]["body"] for later in tries), said
        # The courier that was killed may have lost the answer it was waiting for.
        taken_well = [one for one in tries if one["status"] == 200 and one["fault"] is None]
        assert len(taken_well) <= 2, said
        twice += len(taken_well) == 2
    assert twice <= 1, said
    for one, other in itertools.pairwise(requests):
        if one["fault"] is None and one["answered_at"]:
            one_by_one = one["answered_at"] <= other["received_at"]
            assert one_by_one, f"two requests of one job were under way: {said}"


@pytest.mark.parametrize("status", [401, 404])
def test_an_outage_that_answers_401_or_404_loses_nothing(status: int) -> None:
    """It lasts for longer than a job is tried that was never heard, and a courier is killed."""
    with RedisServer(append_only=True) as server, FaultyBackend() as backend:
        redis = connect(server.url)
        backend.create_job("job-0", "job-token")
        job = RunningJob(redis, "job-0")
        job.log("line 0", "line 1")
        with courier(server, backend, patience_s=30.0):
            wait_delivered(redis)
            backend.add_fault(status=status)
            write_much([job], 40)
            job.complete()
            wait_for("all lanes were refused", lambda: failures(redis) >= 12)
        with courier(server, backend, patience_s=0.2):
            wait_for("another goes on", lambda: failures(redis) >= 30)
            backend.clear_faults()
            wait_delivered(redis)
        lines = [line.partition("] ")[2] for line in backend.logs("job-0")]
        assert lines == ["line 0", "line 1", *(f"line {n}" for n in range(80))]
        assert [point["step"] for point in backend.metrics("job-0")] == list(range(1, 41))
        assert backend.statuses("job-0") == ["running", "completed"]
        taken = [r for r in backend.requests("job-0") if r["status"] == 200]
        assert len({r["headers"]["idempotency-key"] for r in taken}) == len(taken)
        assert delivery_report(redis).set_aside_counts == {}
        redis.close()


def failures(redis: Any) -> int:
    """How often in a row the lanes of job-0 were not taken, in all."""
    progress = read_progress(redis.hgetall("trainyard:delivery:job-0"))
    return sum(lane.failures for lane in progress.lanes)


LOG_CAP = 10_000
"""What the backend keeps of a job's log, and LOG_LINES_KEPT by default."""


@contextmanager
def courier_service(redis: RedisServer, backend: FaultyBackend, home: Path) -> Iterator[None]:
    """The courier as a worker or bridge starts it."""
    settings = {"REDIS_URL": redis.url, "BACKEND_URL": backend.url, "TRAINYARD_HOME": str(home)}
    process = subprocess.Popen(
        python_module("backend_bridge.courier"),
        env={**os.environ, **settings},
        cwd=REPOSITORY,
    )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_past_the_cap_the_backend_has_the_newest_lines_and_one_that_counts_the_others(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    early, late = 300, LOG_CAP + 1000 + chance.randrange(500)
    with RedisServer(append_only=True) as server, FaultyBackend() as backend:
        redis = connect(server.url)
        backend.create_job("job-0", "job-token")
        job = RunningJob(redis, "job-0")
        with courier_service(server, backend, tmp_path):
            job.log(*(f"line {n}" for n in range(100)))
            job.log(*(f"line {n}" for n in range(100, early)))
            wait_delivered(redis)
            backend.stop(keep=True)
            written = early
            while written < late:
                to = min(late, written + chance.randint(1, 100))
                job.log(*(f"line {n}" for n in range(written, to)))
                written = to
            job.complete()
            tried = failures(redis)
            wait_for("the next try has read all of it", lambda: failures(redis) > tried)
            backend.start()
            wait_delivered(redis)
        said = f"seed {seed}"
        lines = [line.partition("] ")[2] for line in backend.logs("job-0")]
        (place,) = (n for n, line in enumerate(lines) if not line.startswith("line "))
        before, after = lines[:place], lines[place + 1 :]
        count = re.fullmatch(r"… (\d+) log lines were cut here .*", lines[place])
        assert count is not None, lines[place]
        first = early + int(count[1])
        assert after == [f"line {n}" for n in range(first, late)], said
        assert before == [f"line {n}" for n in range(early - place, early)], said
        assert LOG_CAP - 100 < len(after) + 1 <= len(lines) == LOG_CAP, said
        assert backend.status("job-0")["status"] == "completed", said
        assert_tries_repeat(backend.requests("job-0"), said)
        redis.close()
