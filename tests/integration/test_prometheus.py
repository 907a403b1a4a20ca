"""The bridge's figures for Prometheus, read back with its own parser."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from backend_bridge.api.metrics import FIGURES
from tests.support.bridge import Running
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.scheduling.slots import SlotRegistry


def scrape(bridge: Running) -> dict[tuple[str, ...], float]:
    answer = bridge.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    return {(s.name.removeprefix("trainyard_"), *s.labels.values()): s.value for s in samples}


def test_before_the_first_job(bridge: Running) -> None:
    found = scrape(bridge)
    assert found["jobs", "queued"] == found["queue_length",] == found["slots",] == 0
    assert found["job_wait_seconds_count",] == found["forwarder_lag_seconds",] == 0
    assert found["jobs_ended_total", "failed"] == found["set_aside_messages_total", "log"] == 0


def test_the_figures_are_those_of_the_reference(bridge: Running) -> None:
    families = text_string_to_metric_families(bridge.client.get("/metrics").text)
    told = {family.name.removeprefix("trainyard_"): family.type for family in families}
    assert told == {name: figure.kind("x", "x").type for name, figure in FIGURES.items()}


def test_jobs_by_state_waits_runs_and_restarts(bridge: Running, real_redis: Any) -> None:
    for number in range(1, 5):
        bridge.start(f"job-{number}")
    store = bridge.store
    for number in (1, 2, 3):
        assert store.claim(f"job-{number}", 1, slot="box-0", worker="w")
    real_redis.hset("trainyard:job:job-1", "attempt_started_at", 0)  # ran since 1970
    assert store.complete("job-1", 1, {})
    store.lost("job-2", 1, "It was lost.")
    assert store.claim("job-2", 2, slot="box-0", worker="w")
    report = ErrorReport(kind=ErrorKind.DATASET, message="No rows.")
    assert store.fail("job-2", 2, report)
    found = scrape(bridge)
    states = {state: found["jobs", state] for state in ("queued", "running", "completed", "failed")}
    assert states == {"queued": 1, "running": 1, "completed": 1, "failed": 1}
    assert found["queue_length",] == 1
    assert found["job_wait_seconds_count",] == 4
    assert found["job_wait_seconds_bucket", "60.0"] == found["job_wait_seconds_bucket", "+Inf"] == 4
    assert found["attempt_run_seconds_count",] == 3
    assert found["attempt_run_seconds_bucket", "60.0"] == 2
    assert found["attempt_run_seconds_sum",] > 1e9
    assert found["job_restarts_total",] == 1
    assert found["jobs_ended_total", "completed"] == found["jobs_ended_total", "failed"] == 1
    assert found["undelivered_messages", "status"] >= 5


def test_a_pause_ends_a_run_once(bridge: Running) -> None:
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="s", worker="w")
    bridge.store.pause("job-1")
    assert bridge.store.paused("job-1", 1, {})
    bridge.store.cancel("job-1")
    found = scrape(bridge)
    assert found["attempt_run_seconds_count",] == 1
    assert found["jobs_ended_total", "cancelled"] == 1


def test_gpus_of_slots_and_of_running_jobs(busy: Running) -> None:
    gpu = {"uuid": "GPU-1", "name": "H200", "memory_total_gb": 150.0}
    SlotRegistry(busy.store.redis).beat("s", {"gpus": [gpu]})
    point = '{"gpu_memory_allocated_gb": 2.5, "gpu_utilization_percent": 50}'
    assert busy.store.append("job-1", 1, 2, [], {"point": point})
    found = scrape(busy)
    assert found["slots",] == 1
    assert found["gpu_memory_total_bytes", "GPU-1", "s"] == 150e9
    assert found["gpu_memory_allocated_bytes", "s"] == 2.5e9
    assert found["gpu_utilization_ratio", "s"] == 0.5
