"""`trainyard doctor` and `trainyard prune` on a real Redis: what is found, and what to do."""

from __future__ import annotations

import json
import re
import time
from collections import namedtuple
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from click.testing import CliRunner, Result

from backend_bridge.delivery.outbox import Outbox, set_aside_record
from tests.support.fake_bridge import FakeBridge
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from trainyard.cli import main
from trainyard.contract.names import REJECTED
from trainyard.local import doctor, finding, redis_findings
from trainyard.local.doctor import examine
from trainyard.local.finding import Finding
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.settings import read_settings, settings
from trainyard.store.counters import count_rejected
from trainyard.store.keys import Key


@pytest.fixture
def yard(
    redis_server: RedisServer, real_redis: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[SlotRegistry]:
    """Everything is there and well: a slot, a bridge and a backend that answer."""
    registry = SlotRegistry(real_redis)
    registry.beat("box-0", {"gpus": []})
    registry.stamp("box-0", SlotState.CONSUMING)
    with FakeBridge() as server:
        server.answers["GET", "/health"] = 200, {"version": "1"}
        monkeypatch.setenv("REDIS_URL", redis_server.url)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # dead, and for other hosts
        monkeypatch.setenv("BRIDGE_PORT", str(server.port))
        monkeypatch.setenv("BACKEND_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "not" / "made"))
        yield registry


def found(check: str, level: str = "") -> list[Finding]:
    """Findings of one check; whatever is not ok says what to do."""
    settings.cache_clear()
    findings = examine(read_settings())
    assert all(finding.mend for finding in findings if finding.level != "ok")
    assert all(finding.sentence.endswith(".") or finding.level != "ok" for finding in findings)
    return [f for f in findings if f.check == check and level in ("", f.level)]


def trainyard(*arguments: str) -> Result:
    settings.cache_clear()
    return CliRunner().invoke(main.main, arguments, env={"COLUMNS": "200"})


def test_a_yard_that_is_well(yard: SlotRegistry) -> None:
    done = trainyard("doctor", "--json")
    body = json.loads(done.stdout)
    assert (done.exit_code, body["ok"]) == (0, True), done.stdout
    levels = {finding["check"]: finding["level"] for finding in body["findings"]}
    assert levels.keys() >= {
        *("redis", "clocks", "slots", "versions", "disk", "memory", "gpu"),
        *("backend", "bridge", "delivery"),
    }
    assert levels["slots"] == levels["delivery"] == levels["backend"] == "ok"
    assert "box-0" in trainyard("doctor").stdout


def test_no_redis_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://:s3cr3t@127.0.0.1:{free_port()}/0")
    monkeypatch.setenv("BRIDGE_PORT", str(free_port()))
    monkeypatch.setenv("BACKEND_URL", f"http://127.0.0.1:{free_port()}")
    done = trainyard("doctor")
    assert done.exit_code == 1
    assert "s3cr3t" not in done.output
    for sentence in ("Redis does not answer", "No bridge answers", "No backend answers"):
        assert sentence in done.stdout
    assert done.stdout.count("→") >= 3


def test_no_redis_was_ever_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    (failure,) = found("redis")
    assert "no embedded Redis runs" in failure.sentence


def test_a_redis_that_evicts(yard: SlotRegistry, real_redis: Any) -> None:
    real_redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (failure,) = found("redis", "failure")
    finally:
        real_redis.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in failure.sentence
    risk = found("redis", "warning")[0]
    assert risk.sentence == "Redis keeps no append-only file: a restart of it loses jobs."


def test_a_redis_with_a_known_hole(yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_findings, "version_of", lambda _: (7, 2, 4))
    assert "has a known hole (CVE-2025-49844)" in found("redis", "warning")[-1].sentence
    monkeypatch.setattr(redis_findings, "version_of", lambda _: (7, 2, 11))
    assert not [f for f in found("redis") if "hole" in f.sentence]


def test_no_worker_and_a_slot_that_is_out(yard: SlotRegistry) -> None:
    yard.leave("box-0")
    yard.take_out("box-1", "its memory did not come back")
    nobody, out = found("slots", "failure")
    assert "No worker is alive" in nobody.sentence
    assert "box-1 takes no jobs: its memory did not come back" in out.sentence


def test_a_host_that_is_there_and_a_worker_that_takes_nothing(
    yard: SlotRegistry, real_redis: Any
) -> None:
    yard.stamp("box-0", SlotState.DRAINED)
    (drained,) = found("slots", "warning")
    assert "box-0 takes no jobs: its worker was told to take no more" in drained.sentence
    real_redis.hset(Key.SLOT_STAMPS, "box-0", f"{int(time.time()) - 20} consuming")
    nobody, silent = found("slots", "failure")
    assert "No worker is alive" in nobody.sentence
    assert re.search("box-0 takes no jobs: its worker has not taken jobs for 2. s", silent.sentence)
    real_redis.hdel(Key.SLOT_STAMPS, "box-0")
    assert "has not begun to take jobs" in found("slots", "failure")[1].sentence


def test_what_the_backend_has_not_got(
    yard: SlotRegistry, real_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunningJob(real_redis, "job-1").metric(1)
    outbox = Outbox(real_redis, lock_s=60)
    hold = outbox.claim("job-1")
    assert hold is not None
    running = outbox.read("job-1", "0-0")[0]
    outbox.hold(hold, set_aside_record("job-1", running, "HTTP 400: no", 400), "status")
    outbox.note_missing_route("POST .../logs", missing=True)
    monkeypatch.setattr(doctor, "LAG_S", -1)
    set_aside, late = found("delivery", "warning")
    assert "1 messages were set aside, the newest of job job-1: HTTP 400" in set_aside.sentence
    assert "`trainyard redeliver job-1`" in set_aside.mend
    assert "wait for the backend" in late.sentence
    (missing,) = found("delivery", "failure")
    assert "The backend lacks POST .../logs." in missing.sentence
    assert "examples/nextjs" in missing.mend


def test_reports_under_way_have_not_arrived(yard: SlotRegistry, real_redis: Any) -> None:
    RunningJob(real_redis, "job-1").metric(1)
    (waits,) = found("delivery")
    assert (waits.level, "1 jobs are under way" in waits.sentence) == ("ok", True), waits
    state = {"last_error": "HTTP 503", "heard": True}
    real_redis.hset("trainyard:delivery:job-1", "state", json.dumps(state))
    (failing,) = found("delivery")
    assert failing.level == "warning"
    assert "The last try failed: HTTP 503" in failing.sentence
    state = {"last_error": "HTTP 404: unknown", "heard": False}
    real_redis.hset("trainyard:delivery:job-1", "state", json.dumps(state))
    (unheard,) = found("delivery")
    assert "has not accepted anything of job job-1: HTTP 404: unknown" in unheard.sentence
    assert "`trainyard redeliver job-1`" in unheard.mend


def test_requests_that_were_not_understood(
    yard: SlotRegistry, real_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (none,) = found("requests")
    assert none.sentence == "Every request through Redis was understood."
    count_rejected(real_redis)
    real_redis.xadd(REJECTED, {"request_id": "task-7", "reason": "it is compressed"})
    (fresh,) = found("requests", "warning")
    assert "1 requests through Redis were not understood, the newest, task-7" in fresh.sentence
    assert "it is compressed." in fresh.sentence
    assert REJECTED in fresh.mend
    monkeypatch.setattr(doctor, "REJECTED_FRESH_S", -1)
    (old,) = found("requests")
    assert old.level == "ok"


def test_clocks_that_differ(yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "time", SimpleNamespace(time=lambda: 5.0))
    warnings = found("clocks", "warning")
    assert ["Redis" in warning.sentence for warning in warnings] == [True, False]
    assert "backend" in warnings[1].sentence


@pytest.mark.parametrize(("free_gb", "level"), [(1, "failure"), (10, "warning"), (100, "ok")])
def test_a_disk_that_is_filling(
    yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch, free_gb: int, level: str
) -> None:
    usage = namedtuple("usage", "total used free")(0, 0, free_gb * 10**9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert [finding.level for finding in found("disk")] == [level]


@pytest.mark.parametrize(("driver", "warned"), [("470.82", True), ("570.86.15", False)])
def test_a_gpu_and_its_driver(
    yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch, driver: str, warned: bool
) -> None:
    memory = namedtuple("memory", "free total")(10**10, 10**11)
    for name, answer in {
        "nvmlInit": None, "nvmlShutdown": None, "nvmlSystemGetDriverVersion": driver,
        "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": 0, "nvmlDeviceGetName": "H200",
        "nvmlDeviceGetMemoryInfo": memory,
    }.items():  # fmt: skip
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    (gpu,) = found("gpu")
    assert gpu.sentence == f"H200, driver {driver}: 10.0 of 100.0 GB free."
    assert bool(found("driver", "warning")) is warned


def test_a_package_out_of_its_range(yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["celery<1", "no-such-package"])
    (warning,) = found("versions", "warning")
    assert "celery is " in warning.sentence
    assert "no-such-package" not in warning.sentence


def test_prune_says_what_went(yard: SlotRegistry, real_redis: Any) -> None:
    real_redis.xadd("training:replies", {"message": "old"}, id="5-0")
    done = trainyard("prune", "--json")
    assert (done.exit_code, json.loads(done.stdout)["stream_entries"]) == (0, 1)
    assert trainyard("prune").stdout.startswith("Removed 0 jobs")


def test_prune_without_redis_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = trainyard("prune")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "not pruned" in done.stderr
