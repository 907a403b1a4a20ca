"""Bridge: how much it takes, and how it answers while many jobs wait.

    enqueue          jobs a second over HTTP, from several connections at once
    enqueue_behind   jobs a second behind 10,000 that wait, beside those behind a hundred
    reads            p99 of status, queue and jobs, one after the other, while 10,000 jobs wait
    waiting_memory   Redis's memory for each of those jobs

The bridge is the real process over a real Redis that keeps an append-only file; nothing runs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from backend_bridge.intake.admission import Admission
from benchmarks.measure import Measure, Target, percentile
from tests.support.celery_app import bridge_celery
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.requests import request_body
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess, python_module
from trainyard.scheduling.queue import JobQueue

WAITING = 10_000
CONNECTIONS = 8


@contextmanager
def _bridge(redis: RedisServer) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {"REDIS_URL": redis.url, "BRIDGE_PORT": str(port), "TRAINYARD_HOME": folder}
        command = python_module("backend_bridge.server")
        log = Path(folder) / "bridge.log"
        process = ChildProcess("bridge", command, env=environment, log_file=log)
        process.start()
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for("the bridge answers", lambda: _answers(url))
            yield url
        finally:
            process.stop(20)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=2).ok
    except requests.RequestException:
        return False


def _fill(redis: RedisServer, count: int, name: str = "waiting") -> None:
    """Let ``count`` jobs wait, admitted as the bridge admits them."""
    with bridge_celery(redis.url) as celery, redis.client() as client:
        admission = Admission(
            job_store(client), JobQueue(celery, client), slots=lambda: 1, max_queued=None
        )
        for number in range(count):
            admission.admit(request_body(f"{name}-{number}"))


def enqueue(full: bool) -> list[Measure]:
    """Jobs a second over HTTP."""
    rates, plain = [], []
    jobs = 2000 if full else 500
    with RedisServer(append_only=True) as redis, _bridge(redis) as url:

        def send(share: int) -> None:
            with requests.Session() as session:
                for number in range(share, jobs, CONNECTIONS):
                    body = request_body(f"run-{run}-{number}")
                    session.post(f"{url}/api/training/execute", json=body).raise_for_status()

        for run in range(3):  # noqa: B007  (send reads it)
            started = time.monotonic()
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(send, range(CONNECTIONS)))
            rates.append(jobs / (time.monotonic() - started))
            plain.append(jobs / _apply_async(redis, jobs))
    target = Target("value", ">=", 100)
    note = f"{CONNECTIONS} connections, fsync at every write"
    return [Measure("enqueue", "jobs/s", rates, plain, "Celery's apply_async", target, note=note)]


def _apply_async(redis: RedisServer, jobs: int) -> float:
    """Seconds in which plain Celery sends as many messages, without HTTP, checks or a store."""
    with bridge_celery(redis.url) as celery:
        started = time.monotonic()
        for number in range(jobs):
            celery.send_task("plain", args=[number], queue="plain")
        return time.monotonic() - started


def reads(full: bool) -> list[Measure]:
    """p99 of status, queue and the first page of jobs while very many wait."""
    waiting, calls, limit = (100_000, 1000, 20) if full else (WAITING, 200, 50)
    paths = {"status": f"status/waiting-{waiting - 1}", "queue": "queue", "jobs": "jobs?limit=50"}
    with RedisServer() as redis:
        _fill(redis, waiting)
        with _bridge(redis) as url, requests.Session() as session:
            p99 = {name: [] for name in paths}
            for _ in range(3):
                for name, path in paths.items():
                    taken = [_timed(session, f"{url}/api/training/{path}") for _ in range(calls)]
                    p99[name].append(1000 * percentile(taken, 0.99))
    target = Target("value", "<=", limit)
    return [
        Measure(f"{name}_10k", "ms (p99)", values, target=target, note=f"{waiting:,} jobs wait")
        for name, values in p99.items()
    ]


def enqueue_behind(full: bool) -> list[Measure]:
    """Jobs a second behind very many that wait, beside those behind a hundred."""
    waiting, more = 100_000 if full else WAITING, 500
    rates = {"behind": [], "alone": []}
    with RedisServer() as many, RedisServer() as few:
        _fill(many, waiting)
        _fill(few, 100)
        for run in range(5):
            for name, redis in (("behind", many), ("alone", few)):
                started = time.monotonic()
                _fill(redis, more, name=f"run-{run}")
                rates[name].append(more / (time.monotonic() - started))
    target, note = Target("ratio", ">=", 0.9), f"{waiting:,} jobs wait; without HTTP"
    behind, alone = rates.values()
    return [Measure("enqueue_behind", "jobs/s", behind, alone, "100 wait", target, note=note)]


def _timed(session: requests.Session, url: str) -> float:
    started = time.perf_counter()
    session.get(url).raise_for_status()
    return time.perf_counter() - started


def redis_per_job(full: bool) -> list[Measure]:
    """Redis's memory for each waiting job, the broker's message with it."""
    with RedisServer() as redis, redis.client() as client:
        before = client.info("memory")["used_memory"]
        _fill(redis, WAITING)
        grown = client.info("memory")["used_memory"] - before
    kib = grown / WAITING / 1024
    target = Target("value", "<=", 4)
    return [Measure("redis_per_job", "KiB", [kib], target=target, note=f"{WAITING:,} jobs")]
