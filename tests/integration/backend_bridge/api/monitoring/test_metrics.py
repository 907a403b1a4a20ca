"""The bridge's figures for Prometheus, read back with its own parser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
import yaml
from prometheus_client.parser import text_string_to_metric_families

from backend_bridge.api.monitoring.figures import FIGURES
from tasks.callbacks.gpu_figures import nvml_sampler
from tasks.callbacks.metrics import MetricReporter
from tests.support.bridge import Running
from tests.support.paths import REPOSITORY
from trainyard import __version__
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Metric
from trainyard.scheduling.couriers import CourierRegister
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slots import SlotRegistry, SlotState
from worker.machine.gpu import list_gpus
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import Record


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
    assert found["jobs_failed_total", "dataset"] == 1
    assert found["jobs_failed_total", "internal"] == 0
    assert found["undelivered_messages", "status"] >= 5


def test_slots_that_are_up_busy_and_silent(bridge: Running, real_redis: Any) -> None:
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="box-0", worker="w")
    registry = SlotRegistry(real_redis)
    for name, state in (("box-0", SlotState.CONSUMING), ("box-1", SlotState.DRAINED)):
        registry.beat(name, {})
        registry.stamp(name, state)
    real_redis.hincrby("trainyard:job:job-1", "updated_at", -90_000)
    found = scrape(bridge)
    assert [found["slot_up", name] for name in ("box-0", "box-1")] == [1, 0]
    assert [found["slot_busy", name] for name in ("box-0", "box-1")] == [1, 0]
    assert found["job_silence_seconds", "box-0"] == pytest.approx(90, abs=30)


def test_a_slot_that_was_lost_is_expected_until_it_leaves_or_is_drained(
    bridge: Running, real_redis: Any
) -> None:
    registry = SlotRegistry(real_redis)
    for name in ("box-0", "box-1", "gone-0"):
        registry.beat(name, {})
        real_redis.zincrby("trainyard:slots", -600, name)
    Drains(real_redis).order("box-1")
    registry.leave("gone-0")
    found = scrape(bridge)
    assert [found["slot_expected", name] for name in ("box-0", "box-1")] == [1, 0]
    assert found["slot_up", "box-0"] == found["slots",] == 0
    assert ("slot_up", "gone-0") not in found


def test_what_a_crash_would_cost_and_since_when_no_step_was_made(
    bridge: Running, real_redis: Any
) -> None:
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="box-0", worker="w")

    def ages(begun: int, step: int, checkpoint: int) -> list[float]:
        now_ms = 1000 * real_redis.time()[0]
        ago = {"attempt_started_at": begun, "step_at": step, "checkpoint_at": checkpoint}
        known = real_redis.hgetall("trainyard:job:job-1").keys() & ago
        real_redis.hset("trainyard:job:job-1", mapping={k: now_ms - 1000 * ago[k] for k in known})
        found = scrape(bridge)
        kinds = ("step", "checkpoint")
        return [round(found[f"job_{kind}_age_seconds", "box-0"], -2) for kind in kinds]

    assert ages(900, 600, 700) == [900, 900], "it has made no step yet"
    progress = '{"step": 4, "total_steps": 9, "epoch": 0.1, "total_epochs": 1}'
    fields = {"progress": progress, "checkpoint": "checkpoints/checkpoint-4"}
    assert bridge.store.append("job-1", 1, 1, [], fields)
    assert ages(900, 600, 700) == [600, 700]
    assert bridge.store.append("job-1", 1, 2, [], {"progress": progress})
    assert ages(500, 600, 700) == [500, 500], "of the attempt before it is no news"
    assert bridge.store.append("job-1", 1, 3, [], {"progress": progress.replace("4", "5", 1)})
    job = bridge.store.get("job-1")
    assert job and job.step_at
    assert job.step_at == pytest.approx(real_redis.time()[0], abs=30)


def test_what_has_not_arrived_by_its_state(bridge: Running, real_redis: Any) -> None:
    bridge.start("unknown")
    bridge.start("known")
    for job_id in ("unknown", "known"):
        assert bridge.store.claim(job_id, 1, slot=f"{job_id}-0", worker="w")
    real_redis.hset("trainyard:delivery:known", "state", '{"heard": true}')
    refused = {"job_id": "known", "kind": "log", "reason": "No.", "at": time.time() - 600}
    real_redis.lpush("trainyard:set-aside", json.dumps(refused))
    found = scrape(bridge)
    states = ("waiting", "unheard", "set_aside")
    assert [found["delivery_backlog_messages", state] for state in states] == [1, 1, 1]
    oldest = [found["delivery_backlog_oldest_seconds", state] for state in states]
    assert oldest == [pytest.approx(n, abs=30) for n in (0, 0, 600)]


def test_couriers_and_the_times_of_requests(bridge: Running, real_redis: Any) -> None:
    assert scrape(bridge)["couriers",] == 0
    CourierRegister(real_redis).beat()
    bridge.client.get("/api/training/status/none")
    for path in ("/wp-admin", "/.env"):
        assert bridge.client.get(path).status_code == 404
    for method in ("BREW", "WHEN"):
        assert bridge.client.request(method, "/metrics").status_code == 405
    found = scrape(bridge)
    assert found["couriers",] == 1
    assert found["bridge_request_seconds_count", "405", "other", "/metrics"] == 2
    assert found["bridge_request_seconds_count", "200", "GET", "/metrics"] == 1
    assert found["bridge_request_seconds_count", "404", "other", "other"] == 2
    assert found["bridge_request_seconds_bucket", "200", "+Inf", "GET", "/metrics"] == 1
    assert 0 < found["bridge_request_seconds_sum", "200", "GET", "/metrics"] < 60
    (asked,) = (key for key in found if key[0].endswith("_count") and "status" in key[-1])
    assert asked[1:3] == ("404", "GET")
    assert "none" not in asked[-1]


def test_the_host_of_the_bridge(make_bridge: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    bridge = make_bridge(TRAINYARD_HOME=str(home))
    found = scrape(bridge)
    assert found["build_info", __version__] == 1
    assert found["redis_memory_bytes",] > 100_000
    assert ("disk_free_bytes",) not in found, "no home is here"
    home.mkdir()
    assert scrape(bridge)["disk_free_bytes",] > 0


def test_alerts_and_dashboard_speak_of_figures_that_are_told(bridge: Running) -> None:
    text = bridge.client.get("/metrics").text
    told = set(re.findall(r"^# TYPE (\w+)", text, re.M))
    told |= {f"{name}_{part}" for name in told for part in ("bucket", "count")}
    board = json.loads((REPOSITORY / "deploy/grafana/trainyard.json").read_text())
    rules = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yml").read_text())
    asked = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    named = {name for expr in asked for name in re.findall(r"trainyard_\w+", expr)}
    assert named
    assert named <= told
    kinds = {kind for expr in asked for kind in re.findall(r'kind=~"([\w|]+)"', expr)}
    assert {one for kind in kinds for one in kind.split("|")} <= set(ErrorKind)
    states = {state for expr in asked for state in re.findall(r'state="(\w+)"', expr)}
    assert states
    assert states <= set(
        re.findall(r'^trainyard_delivery_backlog_messages{state="(\w+)"', text, re.M)
    )


def test_the_alerts_are_rules_for_prometheus() -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is missing (Debian: prometheus)")
    rules = REPOSITORY / "deploy/prometheus/alerts.yml"
    done = subprocess.run(
        [promtool, "check", "rules", rules], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_pause_ends_a_run_once(bridge: Running) -> None:
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="s", worker="w")
    bridge.store.pause("job-1")
    assert bridge.store.paused("job-1", 1, {})
    bridge.store.cancel("job-1")
    found = scrape(bridge)
    assert found["attempt_run_seconds_count",] == 1
    assert found["jobs_ended_total", "cancelled"] == 1


ALLOCATED, RESERVED, TOTAL = 5_368_709_121, 6_442_450_945, 150_754_820_096


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU as its driver and torch tell of it: in bytes."""
    for name, answer in {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "the first",
        "nvmlDeviceGetUUID": "GPU-1",
        "nvmlDeviceGetName": "H200",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=TOTAL),
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=50),
    }.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: ALLOCATED)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: RESERVED)


@pytest.mark.usefixtures("gpu")
def test_bytes_of_a_gpu_are_the_same_bytes_at_the_scrape(bridge: Running, tmp_path: Path) -> None:
    """Through the training's event, the supervisor and Redis, where they are called GB."""
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="s", worker="w")
    registry = SlotRegistry(bridge.store.redis)
    registry.beat("s", {"gpus": [gpu.as_dict() for gpu in list_gpus()]})
    registry.stamp("s", SlotState.CONSUMING)
    sent: list[str] = []
    channel: Any = SimpleNamespace(send=lambda event: sent.append(event.model_dump_json()))
    figures = nvml_sampler("0")
    assert figures
    training: Any = MetricReporter(channel, 8, figures)
    state = SimpleNamespace(global_step=3, max_steps=10, epoch=0.5, log_history=[])
    training.on_log(None, state, None, {"loss": 1.0})
    [line] = sent
    job = bridge.store.get("job-1")
    assert job
    with closing(Record(tmp_path / "metrics.jsonl")) as record:
        events = EventBuffer(bridge.store, job, record)
        events.take(Metric.model_validate_json(line))
        assert events.flush()
    found = scrape(bridge)
    assert found["slots",] == 1
    assert found["gpu_memory_total_bytes", "GPU-1", "s"] == pytest.approx(TOTAL, abs=1)
    assert found["gpu_memory_allocated_bytes", "s"] == pytest.approx(ALLOCATED, abs=1)
    assert found["gpu_memory_reserved_bytes", "s"] == pytest.approx(RESERVED, abs=1)
    assert found["gpu_utilization_ratio", "s"] == 0.5
