"""Pause and resume on real processes: acknowledged when proven, exact, warm or cold."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.client import BridgeError
from trainyard.contract.checkpoint_manifest import MANIFEST_NAME, Manifest

STEPS = 60


@pytest.fixture(scope="module")
def reference(stack: Stack) -> str:
    """Weights of the job that was never paused."""
    stack.submit("never-paused", **settings())
    stack.wait("never-paused", "completed")
    return weights(stack, "never-paused")


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
    assert losses(stack, "warm") == losses(stack, "never-paused")
    stack.wait_delivered("warm")
    assert stack.backend.statuses("warm") == ["running", "paused", "running", "completed"]


def test_cold_resume_is_exact_and_another_job_ran_meanwhile(stack: Stack, reference: str) -> None:
    """And where its newest checkpoint is damaged meanwhile, the one before it is taken."""
    for job_id in ("cold", "damaged"):
        pause(stack, job_id)
    stack.submit("between", steps=2)
    stack.wait("between", "completed")
    stack.workers[0].stop(60)
    assert not stack.training_processes(), "the parked trainings end with their worker"
    folders = sorted((stack.home / "jobs/damaged/checkpoints").glob("checkpoint-*"), key=step_of)
    assert len(folders) >= 2
    victim = folders[-1] / "optimizer.pt"
    victim.write_bytes(victim.read_bytes()[:-7])
    stack.workers[0].start()
    for job_id in ("cold", "damaged"):
        stack.bridge.resume(job_id)
    for job_id in ("cold", "damaged"):
        stack.wait(job_id, "completed")
        assert weights(stack, job_id) == reference
    assert losses(stack, "cold") == losses(stack, "never-paused")
    assert "Resuming from the checkpoint of step" in stack.log("cold")
    assert f"checkpoint of step {step_of(folders[-2])}" in stack.log("damaged")


def test_a_cancel_ends_a_parked_training(stack: Stack) -> None:
    pause(stack, "unwanted")
    assert stack.training_processes()
    stack.bridge.cancel("unwanted", force=False)
    stack.wait("unwanted", "cancelled")
    assert not stack.training_processes()
    stack.wait_delivered("unwanted")
    assert stack.backend.statuses("unwanted") == ["running", "paused", "cancelled"]


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


def test_a_checkpoint_that_cannot_be_used_is_refused_and_the_job_stays_paused(
    stack: Stack, reference: str
) -> None:
    pause(stack, "picky")
    folders = sorted((stack.home / "jobs/picky/checkpoints").glob("checkpoint-*"), key=step_of)
    first, last = folders[0], folders[-1]
    manifest = Manifest.model_validate_json((first / MANIFEST_NAME).read_bytes())
    weights_file = first / "model.safetensors"
    whole = weights_file.read_bytes()
    weights_file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BridgeError, match="has other contents than was written") as refused:
        stack.bridge.resume("picky", f"checkpoints/{first.name}")
    assert refused.value.status == 409
    weights_file.write_bytes(whole)
    for changed, said in (
        (manifest.model_copy(update={"job_id": "warm"}), "is of another job, warm"),
        (with_fingerprint(manifest, model="larger"), "is of another model: larger"),
    ):
        (first / MANIFEST_NAME).write_text(changed.model_dump_json())
        with pytest.raises(BridgeError, match=said):
            stack.bridge.resume("picky", f"checkpoints/{first.name}")
    job = stack.bridge.status("picky")
    assert (job["status"], job["attempt"]) == ("paused", 1)

    # What only the training can know: it refuses, and the job is paused again.
    changed = with_fingerprint(manifest, **{"data set": "another"})
    (first / MANIFEST_NAME).write_text(changed.model_dump_json())
    stack.bridge.resume("picky", f"checkpoints/{first.name}")
    wait_for("attempt 2 has run", lambda: len(stack.backend.statuses("picky")) >= 4)
    job = stack.wait("picky", "paused")
    assert (job["attempt"], job["restarts"]) == (2, 0)
    assert "is of another training; these differ: data set" in job["error"]
    stack.wait_delivered("picky")
    assert stack.backend.statuses("picky") == ["running", "paused", "running", "paused"]
    answer = stack.bridge.resume("picky")
    assert answer["checkpoint"] == f"checkpoints/{last.name}"
    stack.wait("picky", "completed")
    assert f"checkpoint of step {step_of(last)}" in stack.log("picky")
    assert weights(stack, "picky") == reference


def with_fingerprint(manifest: Manifest, **changed: str) -> Manifest:
    return manifest.model_copy(update={"fingerprint": {**manifest.fingerprint, **changed}})


def test_a_waiting_job_is_paused_and_resumes_into_the_queue(stack: Stack) -> None:
    stack.submit("occupier", steps=100_000)
    stack.wait("occupier", "running")
    stack.submit("patient", steps=2)
    stack.bridge.pause("patient")
    assert stack.bridge.status("patient")["status"] == "paused"
    assert stack.redis.keys("trainyard.gpu*") == []
    stack.bridge.resume("patient")
    assert stack.bridge.status("patient")["queue_position"] == 1
    stack.bridge.cancel("occupier", force=True)
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
    with pytest.raises(BridgeError, match="there is no job 'nobody'"):
        stack.bridge.resume("nobody")


@pytest.mark.slow
def test_a_job_whose_folder_is_gone_starts_again_and_says_so(stack: Stack) -> None:
    pause(stack, "homeless")
    stack.workers[0].stop(60)
    shutil.rmtree(stack.home / "jobs" / "homeless" / "checkpoints")
    stack.workers[0].start()
    wait_for("its host is there again", lambda: stack.slots_alive() == 1)
    answer = stack.bridge.resume("homeless")
    assert "has no checkpoint-" in answer["message"]
    assert "or the last good checkpoint, if any" in answer["message"]
    stack.wait("homeless", "completed")
    wait_for("delivery", lambda: stack.backend.status("homeless")["status"] == "completed")


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
