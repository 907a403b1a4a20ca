"""Redis away, a frozen supervisor, a hung training: nothing runs twice, nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, kill, wait_for

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
    try:
        wait_for("its training is ended", lambda: not stack.training_processes(), 3 * LEASE_S)
        wait_for("the job is queued again", lambda: stack.bridge.status("frozen")["attempt"] == 2)
        events = stack.redis.xlen("trainyard:events:frozen")
        time.sleep(LEASE_S)
    finally:
        os.kill(child, signal.SIGCONT)
    stack.wait("frozen", "running")
    lines = stack.redis.xrange("trainyard:events:frozen")[events:]
    assert all(fields["attempt"] == "2" for _, fields in lines)
    stack.bridge.cancel("frozen", force=True)
    stack.wait("frozen", "cancelled")


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
    stack.bridge.cancel("unsent", force=True)
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


def written(stack: Stack, job_id: str) -> set[tuple[str, int]]:
    """Every file of a job's folder, with its time of change."""
    folder = stack.home / "jobs" / job_id
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
