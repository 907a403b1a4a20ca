"""Pause and resume on real processes: acknowledged when proven, exact, warm or cold."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend_bridge.bridge_client import BridgeError
from tests.support.stack import Stack, wait_for

STEPS = 60


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


@pytest.fixture(scope="module")
def reference(stack: Stack) -> str:
    """Weights of the job that was never paused."""
    stack.submit("reference", **settings())
    stack.wait("reference", "completed")
    return weights(stack, "reference")


def settings() -> dict[str, object]:
    return {"steps": STEPS, "training": {"logging_steps": 5, "lr_scheduler_type": "cosine"}}


def weights(stack: Stack, job_id: str) -> str:
    path = stack.home / "jobs" / job_id / "model" / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pause(stack: Stack, job_id: str) -> dict[str, object]:
    """A job that was paused somewhere in its middle."""
    stack.submit(job_id, **settings())
    stack.wait_for_step(job_id, 3)
    assert stack.bridge.pause(job_id)["success"]
    return stack.wait(job_id, "paused")


def losses(stack: Stack, job_id: str) -> list[tuple[int, float]]:
    return [
        (point["step"], point["train_loss"])
        for point in stack.bridge.metrics(job_id)
        if point.get("train_loss") is not None
    ]


def test_warm_resume_is_exact(stack: Stack, reference: str) -> None:
    job = pause(stack, "warm")
    assert 0 < int(str(job["current_step"])) < STEPS
    (training,) = [p for p in stack.training_processes() if p.pid == stack.training_process().pid]
    stack.wait_delivered("warm")
    assert stack.backend.statuses("warm") == ["running", "paused"]
    answer = stack.bridge.resume("warm")
    assert str(answer["checkpoint"]).startswith("checkpoints/checkpoint-")
    assert stack.wait("warm", "completed")["attempt"] == 2
    assert f"Training process {training.pid} started (parked before, goes on)" in stack.log("warm")
    assert weights(stack, "warm") == reference
    assert losses(stack, "warm") == losses(stack, "reference")
    stack.wait_delivered("warm")
    assert stack.backend.statuses("warm") == ["running", "paused", "running", "completed"]


def test_cold_resume_is_exact_and_another_job_ran_meanwhile(stack: Stack, reference: str) -> None:
    pause(stack, "cold")
    stack.submit("between", steps=2)
    stack.wait("between", "completed")
    stack.workers[0].stop(60)
    assert not stack.training_processes(), "the parked training ends with its worker"
    stack.workers[0].start()
    stack.bridge.resume("cold")
    stack.wait("cold", "completed")
    assert "Resuming from the checkpoint of step" in stack.log("cold")
    assert weights(stack, "cold") == reference
    assert losses(stack, "cold") == losses(stack, "reference")


def test_a_cancel_ends_a_parked_training(stack: Stack) -> None:
    pause(stack, "unwanted")
    assert stack.training_processes()
    stack.bridge.cancel("unwanted", force=False)
    stack.wait("unwanted", "cancelled")
    assert not stack.training_processes()
    stack.wait_delivered("unwanted")
    assert stack.backend.statuses("unwanted") == ["running", "paused", "cancelled"]


def test_a_damaged_checkpoint_is_not_resumed_from(stack: Stack) -> None:
    pause(stack, "damaged")
    stack.workers[0].stop(60)
    folders = sorted((stack.home / "jobs/damaged/checkpoints").glob("checkpoint-*"), key=step_of)
    assert len(folders) >= 2
    victim = folders[-1] / "optimizer.pt"
    victim.write_bytes(victim.read_bytes()[:-7])
    stack.workers[0].start()
    stack.bridge.resume("damaged")
    stack.wait("damaged", "completed")
    assert f"checkpoint of step {step_of(folders[-2])}" in stack.log("damaged")


def test_a_chosen_checkpoint_must_be_the_jobs_own(stack: Stack) -> None:
    pause(stack, "chooser")
    for path in ("../../warm/checkpoints/checkpoint-4", "/etc", "checkpoints/../x", "model"):
        with pytest.raises(BridgeError, match="is no checkpoint of job chooser"):
            stack.bridge.resume("chooser", path)
    assert stack.bridge.status("chooser")["status"] == "paused"
    first = min((stack.home / "jobs/chooser/checkpoints").glob("checkpoint-*"), key=step_of)
    answer = stack.bridge.resume("chooser", f"checkpoints/{first.name}")
    assert answer["checkpoint"] == f"checkpoints/{first.name}"
    stack.wait("chooser", "completed")
    assert f"checkpoint of step {step_of(first)}" in stack.log("chooser")


def test_a_waiting_job_is_paused_and_resumes_into_the_queue(stack: Stack) -> None:
    stack.submit("busy", steps=100_000)
    stack.wait("busy", "running")
    stack.submit("patient", steps=2)
    stack.bridge.pause("patient")
    assert stack.bridge.status("patient")["status"] == "paused"
    assert stack.redis.keys("gpu*") == []
    stack.bridge.resume("patient")
    assert stack.bridge.status("patient")["queue_position"] == 1
    stack.bridge.cancel("busy", force=True)
    stack.wait("patient", "completed")
    stack.wait_delivered("patient")
    assert stack.backend.statuses("patient") == ["paused", "running", "completed"]


def test_what_cannot_be_paused_or_resumed_says_so(stack: Stack) -> None:
    stack.submit("quick", steps=2)
    stack.wait("quick", "completed")
    with pytest.raises(BridgeError, match="cannot be paused: it is completed"):
        stack.bridge.pause("quick")
    with pytest.raises(BridgeError, match="cannot be resumed: it is completed"):
        stack.bridge.resume("quick")
    with pytest.raises(BridgeError, match="there is no job nobody"):
        stack.bridge.resume("nobody")


def test_a_job_whose_folder_is_gone_starts_again_and_says_so(stack: Stack) -> None:
    pause(stack, "homeless")
    stack.workers[0].stop(60)
    shutil.rmtree(stack.home / "jobs" / "homeless" / "checkpoints")
    stack.workers[0].start()
    stack.bridge.resume("homeless")
    stack.wait("homeless", "completed")
    wait_for("delivery", lambda: stack.backend.status("homeless")["status"] == "completed")


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
