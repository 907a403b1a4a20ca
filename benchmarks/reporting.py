"""Reporting: how fast events reach the backend, and what an absent backend costs.

    status_latency     a transition in the job store, to the request's arrival at the backend;
                       against a PATCH of our own to the same server
    log_delivery       10,000 lines of one job from Redis to the development backend, first request
                       to last answer; against posts of 100 lines over one connection without us
    catching_up        metric points that wait after an outage, to none left, at a backend that
                       takes many in a request; against one that takes one in each
    forwarder_memory   growth of the courier's memory after a million lines that nobody takes

The courier is the real process over a real Redis.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import requests
from redis import Redis

from benchmarks.measure import Measure, Target, percentile
from tests.support.dev_backend import DevBackend, FaultyBackend
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from tests.support.running_job import RunningJob
from tests.support.scripted_backend import OK, Received, Reply, ScriptedBackend
from tests.support.store_calls import job_store
from tests.support.waiting import wait_for
from trainyard.contract.events import Metric
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.contract.units import MB
from trainyard.log_lines import stamp
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.delivery_state import read_progress
from trainyard.store.job_store import JobStore

ROOT = Path(__file__).resolve().parents[1]
LINE = "step 1200: loss 2.3412, learning rate 0.00019, 18,432 tokens per second, epoch 0.75"
KEPT_LINES = 10_000


@contextmanager
def courier(redis_url: str, backend_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A courier process, which leaves when the block ends."""
    environment = {**os.environ, "REDIS_URL": redis_url, "BACKEND_URL": backend_url}
    process = subprocess.Popen(
        [sys.executable, "-m", "backend_bridge.courier"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _log_events(lines: int) -> list[StoredEvent]:
    text = json.dumps([stamp(LINE)] * LOG_LINES_PER_BATCH)
    event = StoredEvent("log", text, LOG_LINES_PER_BATCH)
    return [event] * (lines // LOG_LINES_PER_BATCH)


def status_latency(full: bool = False) -> list[Measure]:
    """Each run: a job is claimed, its ``running`` arrives; then a PATCH of our own arrives."""
    runs = 1000 if full else 200
    arrivals: dict[str, float] = {}

    def arrived(request: Received) -> Reply:
        arrivals.setdefault(request.job_id, time.monotonic())
        return OK

    ours, bare = [], []
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(append_only=True))
        redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        backend = stack.enter_context(ScriptedBackend(arrived))
        session = stack.enter_context(requests.Session())
        session.trust_env = False
        stack.enter_context(courier(server.url, backend.url))
        RunningJob(redis, "warm-up")
        wait_for("the courier delivers", lambda: "warm-up" in arrivals)
        for number in range(runs):
            job_id = f"job-{number}"
            job = _admitted(redis, job_id)
            started = time.monotonic()
            job.claim(job_id, 1, slot="slot-0", worker="worker-0")
            _wait_arrival(arrivals, job_id)
            ours.append(1000 * (arrivals[job_id] - started))
            url = f"{backend.url}/api/training/local/bare-{number}/status"
            started = time.monotonic()
            session.patch(url, json={"status": "running"}, timeout=30)
            bare.append(1000 * (arrivals[f"bare-{number}"] - started))
    p99, bare_p99 = percentile(ours, 0.99), percentile(bare, 0.99)
    request = "a bare PATCH"
    return [
        Measure("status_latency", "ms (p50)", ours, bare, request, Target("value", "<=", 50)),
        Measure("status_latency_p99", "ms (p99)", [p99], [bare_p99], request),
    ]


def _admitted(redis: Redis, job_id: str) -> JobStore:
    store = job_store(redis)
    store.admit(start_request(job_id), slots=1_000_000)
    return store


def _wait_arrival(arrivals: dict[str, float], job_id: str) -> None:
    deadline = time.monotonic() + 60
    while job_id not in arrivals:
        assert time.monotonic() < deadline, f"{job_id} never arrived"
        time.sleep(0.0005)


def log_delivery(full: bool = False) -> list[Measure]:
    """Each run: the lines of a job come while the courier stands still, which then delivers them;
    then the bare posts. The courier has delivered before: its start is not what is measured."""
    runs = 15 if full else 7
    ours, bare = [], []
    with ExitStack() as stack:
        # As the embedded Redis has it: an fsync of each write would be most of what is measured.
        server = stack.enter_context(RedisServer(append_only=True, appendfsync="everysec"))
        redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        backend = stack.enter_context(FaultyBackend())
        process = psutil.Process(stack.enter_context(courier(server.url, backend.url)).pid)
        for number in range(runs + 1):
            job_id, bare_id = f"job-{number}", f"bare-{number}"
            backend.create_job(job_id, "job-token")
            backend.create_job(bare_id, "job-token")
            job = RunningJob(redis, job_id)
            process.suspend()
            job.append(_log_events(KEPT_LINES))
            process.resume()
            _wait_delivered(redis)
            _post_bare(backend.url, bare_id)
            if number:
                ours.append(KEPT_LINES / _span_s(backend, job_id))
                bare.append(KEPT_LINES / _span_s(backend, bare_id))
    posts = "posts over one connection"
    return [Measure("log_delivery", "lines/s", ours, bare, posts, Target("ratio", ">=", 0.9))]


def _post_bare(url: str, job_id: str) -> None:
    lines = [stamp(LINE)] * LOG_LINES_PER_BATCH
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = "Bearer job-token"
        for _ in range(KEPT_LINES // LOG_LINES_PER_BATCH):
            path = f"{url}/api/training/local/{job_id}/logs"
            session.post(path, json={"logs": lines}, timeout=30).raise_for_status()


def _span_s(backend: FaultyBackend, job_id: str) -> float:
    """First log request's arrival to the last one's answer, by the backend's clock."""
    posts = [r for r in backend.requests(job_id) if r["path"].endswith("/logs")]
    first, last = posts[0]["received_at"], posts[-1]["answered_at"]
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def catching_up(full: bool = False) -> list[Measure]:
    """Each run: the points come while the courier stands still, which then delivers them."""
    points, runs = (100_000, 1) if full else (3_000, 3)
    many = [_points_per_s(points) for _ in range(runs)]
    single = [_points_per_s(points // 10, "--without-optional-routes") for _ in range(runs)]
    note = f"{points:,} points, {points // 10:,} of them one by one"
    target = Target("ratio", ">=", 10)
    return [Measure("catching_up", "points/s", many, single, "one by one", target, note=note)]


def _points_per_s(points: int, *options: str) -> float:
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(append_only=True, appendfsync="everysec"))
        redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        backend = stack.enter_context(DevBackend(options=options))
        process = psutil.Process(stack.enter_context(courier(server.url, backend.url)).pid)
        backend.create_job("job", "job-token")
        job = RunningJob(redis, "job")
        _wait_delivered(redis)
        process.suspend()
        for first in range(1, points + 1, 1000):
            steps = range(first, min(first + 1000, points + 1))
            found = [Metric(step=step, epoch=0.5, train_loss=2.5) for step in steps]
            job.append([StoredEvent("metric", point.model_dump_json()) for point in found])
        started = time.monotonic()
        process.resume()
        _wait_delivered(redis)
        took_s = time.monotonic() - started
        assert len(backend.metrics("job")) == points, "the backend lacks points"
    return points / took_s


def _wait_delivered(redis: Redis) -> None:
    wait_for("all is delivered", lambda: redis.zcard("trainyard:undelivered") == 0, timeout_s=1800)


def forwarder_memory(full: bool = False) -> list[Measure]:
    """Memory of the courier alone (unique set size) before and after the lines."""
    lines, jobs = 1_000_000, 20
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(append_only=True))
        redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        process = stack.enter_context(courier(server.url, f"http://127.0.0.1:{free_port()}"))
        running = [RunningJob(redis, f"job-{number}") for number in range(jobs)]
        wait_for("it has tried", lambda: _tries(redis) >= jobs)
        watched = psutil.Process(process.pid)
        before = watched.memory_full_info().uss
        most = before
        for _ in range(lines // jobs // 1000):
            for job in running:
                job.append(_log_events(1000))
            most = max(most, watched.memory_full_info().uss)
        grown_mb = (most - before) / MB
    note = f"{lines:,} lines, {jobs} jobs; {before / MB:.0f} MB before"
    return [
        Measure("forwarder_memory", "MB", [grown_mb], target=Target("value", "<=", 50), note=note)
    ]


def _tries(redis: Redis) -> int:
    """How many jobs were tried."""
    found: list[Any] = [redis.hgetall(name) for name in redis.scan_iter("trainyard:delivery:*")]
    return sum(any(lane.failures for lane in read_progress(raw).lanes) for raw in found)
