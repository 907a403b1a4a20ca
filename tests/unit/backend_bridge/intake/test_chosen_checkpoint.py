"""A checkpoint that a person names for a resume: refused with the reason, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend_bridge.intake.chosen_checkpoint import reason_against
from tasks.checkpoints.folder import seal
from tests.support.store_calls import JOB, admit, claim, events, statuses, stored
from trainyard.contract.checkpoint_manifest import MANIFEST_NAME, Manifest
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.statuses import JobStatus
from trainyard.home import home_id
from trainyard.settings import read_settings
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles
from trainyard.store.job_store import JobStore


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFiles:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    return JobFiles(read_settings())


def job(tmp_path: Path, **fields: Any) -> Job:
    home = home_id(tmp_path)
    known = {"status": JobStatus.PAUSED, "attempt": 2, "created_at": 0.0, "updated_at": 0.0}
    return Job("j", **{**known, "home": home, "model": "tiny", "method": "sft", **fields})


def checkpoint(tmp_path: Path, step: int, **manifest: Any) -> Path:
    folder = tmp_path / "jobs" / "j" / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    known = {"job_id": "j", "attempt": 1, "step": step, "epoch": 0.5}
    fingerprint = {"model": "tiny", "method": "sft", "data set": "d"}
    seal(folder, Manifest(**{**known, "fingerprint": fingerprint, **manifest}))
    return folder


def test_a_good_one_is_not_refused(tmp_path: Path, files: JobFiles) -> None:
    checkpoint(tmp_path, 4)
    for name in ("checkpoint-4", "checkpoints/checkpoint-4", "checkpoints/checkpoint-4/"):
        assert reason_against(job(tmp_path), name, files) is None


def test_what_is_wrong_with_it_is_said(tmp_path: Path, files: JobFiles) -> None:
    (checkpoint(tmp_path, 1) / "model.safetensors").write_bytes(b"weighty")
    (checkpoint(tmp_path, 2) / "model.safetensors").unlink()
    (checkpoint(tmp_path, 3) / MANIFEST_NAME).unlink()
    checkpoint(tmp_path, 4, job_id="k")
    checkpoint(tmp_path, 5, fingerprint={"model": "large"})
    checkpoint(tmp_path, 6, fingerprint={"model": "tiny", "method": "dpo"})
    (tmp_path / "jobs/j/checkpoints/checkpoint-7").symlink_to(checkpoint(tmp_path, 8))
    said = {
        "checkpoint-1": "damaged: model.safetensors of checkpoint-1 has other contents",
        "checkpoint-2": "damaged: checkpoint-2 lacks model.safetensors",
        "checkpoint-3": "damaged: checkpoint-3 has no manifest",
        "checkpoint-4": "of another job, k",
        "checkpoint-5": "of another model: large, and the job's is tiny",
        "checkpoint-6": "of another method: dpo",
        "checkpoint-7": "has no checkpoint-7: `trainyard checkpoints j` lists them",
        "checkpoint-9": "has no checkpoint-9",
        "../other/checkpoint-4": "is no checkpoint of job j",
        "/etc": "is no checkpoint of job j",
    }
    for name, words in said.items():
        assert words in str(reason_against(job(tmp_path), name, files)), name


def test_contents_of_a_large_one_are_left_to_the_training(tmp_path: Path, files: JobFiles) -> None:
    folder = checkpoint(tmp_path, 1)
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert reason_against(job(tmp_path), "checkpoint-1", files, hash_up_to=6) is None
    assert reason_against(job(tmp_path), "checkpoint-1", files, hash_up_to=7) is not None
    (folder / "model.safetensors").write_bytes(b"weigh")
    assert "another size" in str(reason_against(job(tmp_path), "checkpoint-1", files, hash_up_to=0))


def test_a_folder_on_another_host_is_not_judged(tmp_path: Path, files: JobFiles) -> None:
    checkpoint(tmp_path, 4, job_id="k")
    assert reason_against(job(tmp_path, home="elsewhere"), "checkpoint-4", files) is None
    assert reason_against(job(tmp_path, home="elsewhere"), "/etc", files) is not None


WRONG = ErrorReport(kind=ErrorKind.CONFIGURATION, message="It is damaged.", hint="Name another.")


@pytest.fixture
def resumed(store: JobStore) -> JobStore:
    """A job that was paused and has been resumed from a checkpoint that a person named."""
    admit(store)
    claim(store)
    store.pause(JOB)
    store.paused(JOB, 1, {"checkpoint": "checkpoints/checkpoint-8"})
    store.resume(JOB, "checkpoints/checkpoint-4")
    claim(store, 2)
    return store


@pytest.mark.parametrize("pausing", [False, True])
def test_where_the_training_refuses_it_the_job_is_paused_again(
    resumed: JobStore, redis: Any, pausing: bool
) -> None:
    if pausing:
        resumed.pause(JOB)
    assert resumed.resume_refused(JOB, 2, WRONG)
    found = stored(resumed)
    assert (found.status, found.resume_from) == (JobStatus.PAUSED, "")
    assert (found.checkpoint, found.error) == ("checkpoints/checkpoint-8", WRONG)
    assert resumed.occupying() == []
    assert statuses(redis) == ["running", "paused", "running", "paused"]
    assert "the job stays paused: It is damaged. Name another." in events(redis)[-2]["data"]
    again = resumed.resume(JOB)
    assert again is not None
    assert (again.attempt, again.error) == (3, None)


def test_a_cancel_wins_and_an_older_attempt_says_nothing(resumed: JobStore) -> None:
    assert not resumed.resume_refused(JOB, 1, WRONG)
    resumed.cancel(JOB)
    assert resumed.resume_refused(JOB, 2, WRONG)
    found = stored(resumed)
    assert found.status is JobStatus.CANCELLED
