"""Redis away, a frozen supervisor, a hung training: nothing runs twice, nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from backend_bridge.delivery.messages import LANE_OF_KIND
from tests.support.stack import Stack, kill
from tests.support.waiting import wait_for
from trainyard.contract.checkpoint_manifest import Manifest
from trainyard.store.delivery_state import read_progress

pytestmark = pytest.mark.slow

LEASE_S = 4


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(LEASE_SECONDS=str(LEASE_S), HANG_SECONDS="6") as running:
        yield running


def test_a_training_is_held_while_redis_is_away_and_goes_on(stack: Stack) -> None:
    stack.submit("held", steps=3000)
    stack.wait_for_step("held", 2)
    process = stack.training_process()
    stack.redis_server.kill()
    time.sleep(2.5 * LEASE_S)
    wait_for("the training is held", lambda: "Held at step" in stack.log("held"))
    before = len(list((stack.home / "jobs/held/checkpoints").glob("checkpoint-*")))
    time.sleep(1)
    assert len(list((stack.home / "jobs/held/checkpoints").glob("checkpoint-*"))) == before
    stack.redis_server.start()
    wait_for("it goes on", lambda: "the training goes on" in stack.log("held"))
    assert "breaking change" not in (stack.home / "worker-0.log").read_text()
    job = stack.wait("held", "completed", "running")
    assert process.is_running()
    assert (job["attempt"], job["restarts"]) == (1, 0)
    stack.bridge.cancel("held", force=True)
    stack.wait("held", "cancelled")
    stack.wait_delivered("held")
    at_bridge = stack.bridge.logs("held", limit=100_000, offset=0)["logs"]
    assert at_bridge == stack.log("held").splitlines()
    assert stack.backend.statuses("held") == ["running", "cancelled"]


def test_a_frozen_supervisor_loses_its_job_and_writes_nothing_more(stack: Stack) -> None:
    stack.submit("frozen", steps=100_000)
    stack.wait_for_step("frozen", 2)
    child = stack.worker_child(0)
    os.kill(child, signal.SIGSTOP)
    frozen_at = time.monotonic()
    try:
        wait_for("its training is ended", lambda: not stack.training_processes(), 3 * LEASE_S)
        wait_for("the job is queued again", lambda: stack.bridge.status("frozen")["attempt"] == 2)
        stack.wait_delivered("frozen")
        before = of_first_attempt(stack, "frozen")
        time.sleep(max(0.0, frozen_at + 2 * LEASE_S - time.monotonic()))
    finally:
        os.kill(child, signal.SIGCONT)
    stack.wait("frozen", "running")
    stack.wait_for_step("frozen", 2)
    stack.bridge.cancel("frozen", force=True)
    stack.wait("frozen", "cancelled")
    stack.wait_delivered("frozen")
    entries, keys, checkpoints = of_first_attempt(stack, "frozen")
    assert (entries, keys) == before[:2]
    assert set(checkpoints) <= set(before[2])


@pytest.mark.slow
def test_what_a_supervisor_killed_without_redis_had_to_say_arrives(stack: Stack) -> None:
    stack.submit("unsent", steps=100_000, training={"logging_steps": 1, "eval_strategy": "no"})
    stack.wait_for_step("unsent", 4)
    stack.redis_server.kill()
    before = len(stack.log("unsent").splitlines())
    wait_for("lines without Redis", lambda: len(stack.log("unsent").splitlines()) > before + 20)
    kill(stack.worker_child(0))
    wait_for("its training is gone", lambda: not stack.training_processes(), 3 * LEASE_S)
    stack.redis_server.start()
    wait_for("the next attempt runs", lambda: stack.bridge.status("unsent")["attempt"] > 1)
    stack.wait("unsent", "running")
    stack.bridge.cancel("unsent", force=False)
    stack.wait("unsent", "cancelled")
    stack.wait_delivered("unsent")
    in_file = stack.log("unsent").splitlines()
    arrived = stack.backend.logs("unsent")
    assert len(in_file) > before + 20
    assert sorted(arrived) == sorted(in_file)
    ours = [line for line in in_file if "was lost" not in line]
    assert [line for line in arrived if "was lost" not in line] == ours
    points = (stack.home / "jobs/unsent/metrics.jsonl").read_text().splitlines()
    assert [p["step"] for p in stack.bridge.metrics("unsent")] == [
        json.loads(point)["step"] for point in points
    ]


def test_a_hung_training_leaves_its_stacks_and_is_restarted(stack: Stack) -> None:
    stack.submit("hung", steps=3000, training={"eval_strategy": "no"}, data={"eval_split": 0})
    stack.wait_for_step("hung", 4)
    stack.training_process().suspend()
    wait_for("it is restarted", lambda: stack.bridge.status("hung")["attempt"] == 2)
    assert "it hangs. Where its threads stand" in stack.log("hung")
    stack.wait_for_step("hung", 5)
    stack.bridge.cancel("hung", force=True)
    stack.wait("hung", "cancelled")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_without_redis_at_the_lease_that_users_have() -> None:
    with Stack(LEASE_SECONDS="30") as stack:
        stack.submit("minute", steps=1_000_000, training={"logging_steps": 20})
        stack.wait_for_step("minute", 2)
        process = stack.training_process()
        stack.redis_server.kill()
        cut_at = time.monotonic()
        wait_for("it is held", lambda: "Held at step" in stack.log("minute"))
        assert time.monotonic() - cut_at < 30, "before its lease ends"
        log, files = stack.log("minute"), written(stack, "minute")
        made_meanwhile = log[log.index("Redis is away") :]
        time.sleep(cut_at + 60 - time.monotonic())
        assert (stack.log("minute"), written(stack, "minute")) == (log, files), "it stands still"
        assert process.is_running()
        stack.redis_server.start()
        wait_for("it goes on", lambda: "the training goes on" in stack.log("minute"))
        held_at = int(re.findall("Held at step ([0-9]+)", made_meanwhile)[0])
        stack.wait_for_step("minute", held_at + 1)
        assert stack.training_process() == process
        stack.bridge.cancel("minute", force=False)
        job = stack.wait("minute", "cancelled")
        assert (job["attempt"], job["restarts"]) == (1, 0)
        stack.wait_delivered("minute")
        assert stack.backend.statuses("minute") == ["running", "cancelled"]
        assert stack.backend.logs("minute") == stack.log("minute").splitlines()
        steps = {point["step"] for point in stack.bridge.metrics("minute")}
        assert steps >= set(range(20, held_at + 1, 20)), "those made without Redis are there"


@pytest.mark.slow
def test_a_host_that_is_cut_off_ends_its_training_when_another_has_the_job() -> None:
    with Stack(slots=2, separate_networks=True, LEASE_SECONDS=str(LEASE_S)) as stack:
        stack.submit("torn", steps=1_000_000, training={"logging_steps": 20, "save_steps": 50})
        stack.wait_for_step("torn", 60)
        number = int(stack.bridge.status("torn")["slot"].rpartition("-")[2])
        process = stack.training_process(number)
        stack.networks[number].cut()
        wait_for("it is held", lambda: "Held at step" in stack.log("torn"))
        wait_for("another has it", lambda: stack.bridge.status("torn")["attempt"] == 2)
        stack.wait_for_step("torn", 60)
        assert stack.bridge.status("torn")["slot"] == f"test-{1 - number}"
        assert process.is_running(), "held, it may outlive its lease"
        wait_for("what it wrote has arrived", lambda: first_attempt_delivered(stack, "torn"))
        before = of_first_attempt(stack, "torn")
        stack.networks[number].mend()
        wait_for("it is ended", lambda: not process.is_running())
        wait_for("its slot is back", lambda: stack.slots_alive() == 2)
        stack.bridge.cancel("torn", force=True)
        job = stack.wait("torn", "cancelled")
        assert (job["attempt"], job["restarts"]) == (2, 1)
        stack.wait_delivered("torn")
        entries, keys, checkpoints = of_first_attempt(stack, "torn")
        assert (entries, keys) == before[:2], "it wrote nothing any more"
        assert set(checkpoints) <= set(before[2])
        assert stack.backend.statuses("torn") == ["running", "running", "cancelled"]
        stack.submit("next", steps=2)
        stack.wait("next", "completed")


def first_attempt_delivered(stack: Stack, job_id: str) -> bool:
    """Whether every entry of a job's first attempt was delivered."""
    progress = read_progress(stack.redis.hgetall(f"trainyard:delivery:{job_id}"))
    return not any(
        progress.lane(LANE_OF_KIND[fields["kind"]]).is_behind(entry_id)
        for entry_id, fields in stack.redis.xrange(f"trainyard:events:{job_id}")
        if fields["attempt"] == "1" and fields["kind"] in LANE_OF_KIND
    )


def of_first_attempt(stack: Stack, job_id: str) -> tuple[int, list[str], list[str]]:
    """What the first attempt of a job has written: entries of the stream, requests that the
    backend has taken, checkpoints."""
    entries = [fields for _, fields in stack.redis.xrange(f"trainyard:events:{job_id}")]
    keys = {
        str(request["headers"].get("idempotency-key"))
        for request in stack.backend.requests(job_id)
        if request["status"] == 200
    }
    checkpoints = (stack.home / "jobs" / job_id / "checkpoints").glob("checkpoint-*/manifest.json")
    manifests = [Manifest.model_validate_json(path.read_bytes()) for path in checkpoints]
    return (
        sum(entry["attempt"] == "1" for entry in entries),
        sorted(key for key in keys if key.startswith(f"{job_id}:1:")),
        sorted(str(manifest.step) for manifest in manifests if manifest.attempt == 1),
    )


def written(stack: Stack, job_id: str) -> set[tuple[str, int]]:
    """Every file of a job's folder, with its time of change."""
    folder = stack.home / "jobs" / job_id
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
