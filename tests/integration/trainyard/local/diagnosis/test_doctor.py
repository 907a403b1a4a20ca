"""`trainyard doctor` and `trainyard prune` on a real Redis: what is found, and what to do."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from backend_bridge.delivery.acknowledge import set_aside_record
from backend_bridge.delivery.outbox import Outbox
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from tests.support.well_yard import well_yard
from trainyard.cli import main
from trainyard.contract.names import REJECTED
from trainyard.local.diagnosis import (
    delivery_findings,
    doctor,
    finding,
    machine_findings,
    redis_findings,
)
from trainyard.local.diagnosis.doctor import examine
from trainyard.local.diagnosis.finding import Finding
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.service import cuda_driver
from trainyard.settings import read_settings, settings
from trainyard.store.counters import count_rejected
from trainyard.store.keys import Key


@pytest.fixture
def yard(
    redis_server: RedisServer, real_redis: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Iterator[SlotRegistry]:
    """Everything is there and well."""
    with well_yard(redis_server, real_redis, monkeypatch, tmp_path / "not" / "made") as found:
        yield found.slots


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


def test_a_yard_that_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nobody is there yet: no failure, until there was time for it."""
    with RedisServer() as young:
        monkeypatch.setenv("REDIS_URL", young.url)
        monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
        monkeypatch.setenv("BRIDGE_PORT", str(free_port()))
        [slots] = found("slots", "warning")
        assert "they may be starting" in slots.sentence
        assert slots.mend.startswith("Look again in a moment")
        assert [one.level for one in found("bridge")] == ["warning"]
        monkeypatch.setattr(doctor, "STARTING_S", 0.0)
        assert [one.level for one in found("slots") + found("bridge")] == ["failure"] * 2


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


def test_another_home_than_that_of_the_yard(
    yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("REDIS_URL")
    (failure,) = found("home")
    assert failure.sentence.endswith(f"home is elsewhere: TRAINYARD_HOME is {tmp_path}/not/made.")
    assert not found("redis")
    assert found("bridge", "ok")


def test_a_redis_that_evicts(yard: SlotRegistry, real_redis: Any) -> None:
    real_redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (failure,) = found("redis", "failure")
    finally:
        real_redis.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in failure.sentence
    risk = found("redis", "warning")[0]
    assert risk.sentence == "Redis keeps no append-only file: a restart of it loses jobs."


def test_a_redis_with_a_known_hole(
    yard: SlotRegistry, real_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_findings, "version_of", lambda _: (7, 2, 4))
    told = found("redis", "warning")[-1]
    assert "has a known hole (CVE-2025-49844)" in told.sentence
    assert told.mend.startswith("Update it: ")
    own = next(one for one in redis_findings.redis_findings(real_redis, embedded=True) if one.mend)
    assert "redis-server" in own.mend
    assert "`trainyard up` again" in own.mend
    monkeypatch.setattr(redis_findings, "version_of", lambda _: (7, 2, 11))
    assert not [f for f in found("redis") if "hole" in f.sentence]


def test_a_slot_that_is_out_is_named_once(yard: SlotRegistry) -> None:
    yard.stamp("box-0", SlotState.DRAINED)
    yard.take_out("box-0", "its memory did not come back")
    (out,) = found("slots")
    assert "box-0 takes no jobs: its memory did not come back" in out.sentence


def test_a_host_that_is_there_and_a_worker_that_takes_nothing(
    yard: SlotRegistry, real_redis: Any
) -> None:
    yard.stamp("box-0", SlotState.DRAINED)
    (drained,) = found("slots")
    assert drained.level == "warning"
    assert "box-0 takes no jobs: its worker was told to take no more" in drained.sentence
    real_redis.hset(Key.SLOT_STAMPS, "box-0", f"{int(time.time()) - 20} consuming")
    (silent,) = found("slots", "failure")
    assert re.search("box-0 takes no jobs: its worker has not taken jobs for 2. s", silent.sentence)
    real_redis.hdel(Key.SLOT_STAMPS, "box-0")
    assert "has not begun to take jobs" in found("slots", "failure")[0].sentence


def test_hours_are_said_with_their_zone_and_a_rest_is_no_trouble(yard: SlotRegistry) -> None:
    yard.beat("box-0", {"gpus": [], "home": "h", "hours": "22:00-08:00 Europe/Berlin"})
    yard.stamp("box-0", SlotState.CONSUMING)
    said = "box-0 takes jobs 22:00-08:00 Europe/Berlin (ACTIVE_HOURS)"
    assert f"{said}." in [one.sentence for one in found("slots", "ok")]
    yard.stamp("box-0", SlotState.RESTING, "Mon 22:00 CET")
    (one,) = found("slots")
    assert (one.level, one.sentence) == ("ok", f"{said}; closed until Mon 22:00 CET.")


def test_a_slot_that_was_lost_is_missed_until_it_is_drained(
    yard: SlotRegistry, real_redis: Any
) -> None:
    yard.beat("lost-0", {})
    real_redis.zincrby(Key.SLOTS, -600, "lost-0")
    (lost,) = found("slots", "warning")
    assert lost.sentence == "lost-0 is gone, and did not leave in order."
    assert trainyard("drain", "lost-0").exit_code == 0
    assert not found("slots", "warning")


def test_what_the_backend_has_not_got(yard: SlotRegistry, real_redis: Any) -> None:
    RunningJob(real_redis, "job-1").metric(1)
    outbox = Outbox(real_redis, lock_s=60)
    hold = outbox.claim("job-1")
    assert hold is not None
    running = outbox.stream.read("job-1", "0-0")[0]
    hold.set_aside = (set_aside_record("job-1", running, "HTTP 400: no", 400), "status")
    hold.missing["POST .../logs"] = "5"
    outbox.hold(hold)
    (set_aside,) = found("delivery", "warning")
    assert "1 messages were set aside, the newest of job job-1: HTTP 400" in set_aside.sentence
    assert "`trainyard redeliver job-1`" in set_aside.mend
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
    assert failing.level == "warning", "it has not been so for long"
    assert "The last try failed: HTTP 503" in failing.sentence


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
    monkeypatch.setattr(delivery_findings, "REJECTED_FRESH_S", -1)
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
    monkeypatch.setattr(machine_findings.shutil, "disk_usage", lambda _: usage)
    assert [finding.level for finding in found("disk")] == [level]


@pytest.mark.parametrize(
    ("cuda", "driver"), [("11.8", 450), ("12.6", 525), ("13.0", 580), ("14.1", 580)]
)
def test_the_oldest_driver_is_that_of_the_major_version(cuda: str, driver: int) -> None:
    assert cuda_driver.oldest_driver(cuda) == driver


def test_the_cuda_of_torch_is_read_without_importing_it() -> None:
    assert cuda_driver.torch_cuda() == torch.version.cuda


def test_nothing_is_said_of_gpus_if_nothing_trains_here(
    yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the containers without torch, on a machine with a GPU that they do not get."""
    monkeypatch.setattr(machine_findings.cuda_driver, "has_torch", lambda: False)
    monkeypatch.setattr(machine_findings, "_has_nvidia_hardware", lambda: True)
    (gpu,) = found("gpu")
    assert gpu.level == "ok"


def test_a_package_out_of_its_range(yard: SlotRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine_findings.metadata, "requires", lambda _: ["celery<1", "no-such-package"]
    )
    (warning,) = found("versions", "warning")
    assert "celery is " in warning.sentence
    assert "no-such-package" not in warning.sentence


def test_prune_says_what_went(yard: SlotRegistry, real_redis: Any) -> None:
    real_redis.xadd("training:replies", {"message": "old"}, id="5-0")
    done = trainyard("prune", "--json")
    assert (done.exit_code, json.loads(done.stdout)["stream_entries"]) == (0, 1)
    assert trainyard("prune").stdout.startswith("Removed 0 jobs")


@pytest.mark.parametrize("more", [["--days", "0"], ["--models"]])
def test_what_couriers_would_keep_is_not_pruned_unasked(
    yard: SlotRegistry, real_redis: Any, more: list[str]
) -> None:
    real_redis.xadd("training:replies", {"message": "old"}, id="5-0")
    done = trainyard("prune", *more)
    assert (done.exit_code, real_redis.xlen("training:replies")) == (2, 1)
    assert "give -y to remove 0 jobs" in done.stderr
    assert trainyard("prune", *more, "--dry-run").stdout.startswith("Would remove 0 jobs")
    assert trainyard("prune", *more, "-y").stdout.startswith("Removed 0 jobs")


def test_prune_on_a_terminal_asks_first(yard: SlotRegistry, real_redis: Any) -> None:
    real_redis.xadd("training:replies", {"message": "old"}, id="5-0")
    person, terminal = pty.openpty()
    os.write(person, b"n\n")
    command = [sys.executable, "-m", "trainyard.cli.main", "prune", "--days", "0"]
    done = subprocess.run(
        command, stdin=terminal, capture_output=True, text=True, timeout=60, check=False
    )
    os.close(person)
    os.close(terminal)
    assert "Remove 0 jobs" in done.stdout
    assert (done.returncode, real_redis.xlen("training:replies")) == (1, 1)


def test_prune_without_redis_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = trainyard("prune")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "not pruned" in done.stderr
