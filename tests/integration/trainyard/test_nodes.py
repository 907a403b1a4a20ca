"""Nodes and drains, by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from tests.support.store_calls import admit, job_store
from trainyard.cli.main import main
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slots import SlotRegistry, SlotState

Run = Callable[..., Result]


@pytest.fixture
def run(
    redis_server: RedisServer, real_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    slots = SlotRegistry(real_redis)
    for name, gpus in (("slot-0", [{"name": "NVIDIA H200"}]), ("box-1", [])):
        slots.beat(name, {"gpus": gpus, "home": "h"})
        slots.stamp(name, SlotState.CONSUMING)
    return lambda *command: CliRunner().invoke(main, command)


def test_nodes_are_listed_with_what_runs_there(run: Run, real_redis: Redis) -> None:
    RunningJob(real_redis, "long")  # on slot-0
    SlotRegistry(real_redis).take_out("box-1", "its driver is too old")
    box, slot = json.loads(run("nodes", "--json").stdout)
    assert (box["host"], box["state"], box["reason"], box["job_id"]) == (
        *("box", "out of service", "its driver is too old", None),
    )
    assert (slot["gpus"], slot["state"], slot["job_id"]) == (["NVIDIA H200"], "consuming", "long")
    assert slot["since"].startswith("20")
    assert "its driver is too old" in run("nodes").output


def test_the_hours_of_a_slot_are_told(run: Run, real_redis: Redis) -> None:
    slots = SlotRegistry(real_redis)
    slots.beat("box-1", {"gpus": [], "home": "h", "hours": "22:00-08:00 UTC"})
    assert "its hours are 22:00-08:00 UTC" in " ".join(run("nodes").output.split())
    slots.stamp("box-1", SlotState.RESTING, "Mon 22:00 UTC")
    box, slot = json.loads(run("nodes", "--json").stdout)
    assert (box["state"], box["hours"], slot["hours"]) == ("resting", "22:00-08:00 UTC", "")
    assert box["reason"].endswith("22:00-08:00 UTC: until Mon 22:00 UTC")


def test_a_slot_or_a_host_is_drained_until_it_is_undrained(run: Run, real_redis: Redis) -> None:
    drains = Drains(real_redis)
    assert "`trainyard undrain box` undoes it" in run("drain", "box").output
    assert drains.holds("box-1", "box") and not drains.holds("slot-0", "slot")
    said = run("undrain", "box", "--json")
    assert (said.exit_code, json.loads(said.stdout)) == (0, {"name": "box", "drained": False})
    assert not drains.all()
    again = run("undrain", "box")
    assert again.exit_code == 1 and "box is not drained" in again.output


def test_what_runs_on_a_drained_slot_is_put_back_with_a_checkpoint(
    run: Run, real_redis: Redis
) -> None:
    job = RunningJob(real_redis, "long")  # on slot-0
    said = run("drain", "box", "--checkpoint", "--json")
    assert json.loads(said.stdout) == {"name": "box", "drained": True, "put_back": []}
    assert not job.store.renew("long", 1).put_back
    assert "long is put back" in run("drain", "slot-0", "--checkpoint").output
    assert job.store.renew("long", 1).put_back
    job.store.put_back("long", 1, "its slot was drained.")
    assert job.store.claim("long", 2, slot="slot-1", worker="w", slot_process="p")
    assert not job.store.renew("long", 2).put_back, "it was asked of the first attempt"


def test_a_drained_slot_or_host_claims_nothing(run: Run, real_redis: Redis) -> None:
    store = job_store(real_redis)
    admit(store, "next")
    run("drain", "box-1")
    assert not store.claim("next", 1, slot="box-1", worker="w", slot_process="p")
    run("undrain", "box-1")
    run("drain", "box")
    assert not store.claim("next", 1, slot="box-1", worker="w", slot_process="p")
    run("undrain", "box")
    assert store.claim("next", 1, slot="box-1", worker="w", slot_process="p")


def test_what_is_no_slot_and_no_host_is_not_drained(run: Run) -> None:
    refused = run("drain", "bx-1")
    assert refused.exit_code == 1
    assert "there is no slot or host 'bx-1': known: box, box-1, slot, slot-0" in refused.output
