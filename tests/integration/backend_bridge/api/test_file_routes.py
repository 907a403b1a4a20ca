"""Checkpoints, model and log of a job over HTTP, and what cannot be reached that way."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import LINES, Running, refusal
from trainyard.contract.events import Checkpoint
from trainyard.home import home_id
from trainyard.store.attempt_writes import StoredEvent

FIELDS = {
    *("path", "epoch", "step", "eval_loss", "train_loss", "size_bytes", "created_at"),
    *("is_best", "is_latest"),
}


def written(step: int, **fields: Any) -> StoredEvent:
    event = Checkpoint(
        path=f"checkpoints/checkpoint-{step}", step=step, epoch=step / 4, size_bytes=9, **fields
    )
    return StoredEvent("checkpoint", event.model_dump_json())


class Job:
    """job-1, which runs with its folder in this bridge's TRAINYARD_HOME."""

    def __init__(self, bridge: Running, home: Path, *, own_home: bool = True) -> None:
        self.bridge, self.store = bridge, bridge.store
        self.folder = home / "jobs" / "job-1"
        bridge.start()
        where = home_id(home) if own_home else "another"
        assert bridge.store.claim("job-1", 1, slot="far-0", worker="w", home=where)
        events = [
            written(4, train_loss=2.0, eval_loss=1.5, is_best=True),
            written(8, train_loss=1.0, eval_loss=1.7),
            StoredEvent("log", json.dumps(LINES), 5),
        ]
        assert bridge.store.append("job-1", 1, 1, events)

    def write(self, path: str, content: str = "x") -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def complete(self) -> None:
        assert self.store.complete("job-1", 1, {"model_dir": "model"})

    def download(self, query: str = "") -> tarfile.TarFile:
        answer = self.bridge.get(f"job-1/download/model{query}")
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["content-length"]) == len(answer.content)
        return tarfile.open(fileobj=io.BytesIO(answer.content))


@pytest.fixture
def job(make_bridge: Any, tmp_path: Path) -> Job:
    return Job(make_bridge(TRAINYARD_HOME=str(tmp_path)), tmp_path)


@pytest.fixture
def far_job(make_bridge: Any, tmp_path: Path) -> Job:
    return Job(make_bridge(TRAINYARD_HOME=str(tmp_path)), tmp_path, own_home=False)


def test_checkpoints_of_another_host_as_they_were_reported(far_job: Job) -> None:
    body = far_job.bridge.get("checkpoints/job-1").json()
    assert set(body) == {"job_id", "checkpoints", "best_checkpoint"}
    assert body["job_id"] == "job-1"
    assert body["best_checkpoint"] == "checkpoints/checkpoint-4"
    first, second = body["checkpoints"]
    assert set(first) == set(second) == FIELDS
    assert (first["step"], first["epoch"], first["eval_loss"]) == (4, 1.0, 1.5)
    assert (first["is_best"], first["is_latest"]) == (True, False)
    assert (second["is_best"], second["is_latest"]) == (False, True)


def test_checkpoints_that_were_deleted_are_not_listed(job: Job) -> None:
    job.write("checkpoints/checkpoint-8/manifest.json")
    body = job.bridge.get("checkpoints/job-1").json()
    assert [item["step"] for item in body["checkpoints"]] == [8]
    assert body["best_checkpoint"] is None


def test_a_checkpoint_of_the_same_step_is_listed_once(far_job: Job) -> None:
    again = [written(4, train_loss=0.5)]
    assert far_job.store.append("job-1", 1, 2, again)
    items = far_job.bridge.get("checkpoints/job-1").json()["checkpoints"]
    assert [(item["step"], item["train_loss"]) for item in items] == [(8, 1.0), (4, 0.5)]
    assert items[-1]["is_latest"]


def test_a_job_without_checkpoints(bridge: Running) -> None:
    bridge.start()
    body = bridge.get("checkpoints/job-1").json()
    assert body == {"job_id": "job-1", "checkpoints": [], "best_checkpoint": None}


def test_the_model_is_an_archive_of_its_folder(job: Job) -> None:
    job.write("model/config.json", "{}")
    job.write("model/deep/model.safetensors", "w" * 3_000_000)
    job.complete()
    with job.download() as archive:
        assert archive.getnames() == [
            "job-1-model/config.json",
            "job-1-model/deep/model.safetensors",
        ]
        found = archive.extractfile("job-1-model/deep/model.safetensors")
        assert found is not None
        assert found.read() == b"w" * 3_000_000


def test_a_link_in_the_folder_leads_nowhere(job: Job, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    job.write("model/config.json")
    (job.folder / "model" / "file").symlink_to(secret)
    (job.folder / "model" / "folder").symlink_to(tmp_path)
    job.complete()
    with job.download() as archive:
        assert archive.getnames() == ["job-1-model/config.json"]


@pytest.mark.parametrize("name", ["checkpoints/checkpoint-4", "checkpoint-4"])
def test_a_checkpoint_is_an_archive_too(job: Job, name: str) -> None:
    job.write("checkpoints/checkpoint-4/manifest.json")
    with job.download(f"?checkpoint={name}") as archive:
        assert archive.getnames() == ["job-1-checkpoint-4/manifest.json"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../../../../etc", 422),
        ("checkpoints/checkpoint-4/../../..", 422),
        ("/etc/passwd", 422),
        ("checkpoints/checkpoint-４", 422),
        ("checkpoint-5", 404),
        ("checkpoint-6", 404),
    ],
)
def test_no_way_out_of_the_jobs_checkpoints(job: Job, name: str, code: int) -> None:
    job.write("checkpoints/checkpoint-6/unfinished")
    answer = job.bridge.get("job-1/download/model", params={"checkpoint": name})
    assert "checkpoint" in refusal(answer, code)["error"]


def test_a_model_that_is_not_there(job: Job) -> None:
    error = refusal(job.bridge.get("job-1/download/model"), 409)["error"]
    assert "has no trained model: it is running" in error


def test_a_model_on_another_host(far_job: Job) -> None:
    far_job.complete()
    error = refusal(far_job.bridge.get("job-1/download/model"), 404)["error"]
    assert "far-0" in error
    checkpoint = far_job.bridge.get("job-1/download/model?checkpoint=checkpoint-4")
    assert "far-0" in refusal(checkpoint, 404)["error"]


def test_the_log_is_the_file_else_the_lines_that_are_kept(far_job: Job) -> None:
    answer = far_job.bridge.get("job-1/download/logs")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.splitlines() == LINES


def test_the_complete_log(job: Job) -> None:
    job.write("train.log", "all\nof it\n")
    answer = job.bridge.get("job-1/download/logs")
    assert answer.text == "all\nof it\n"
    assert "job-1.log" in answer.headers["content-disposition"]
    job.write("train.log.1", "what was\nbefore\n")
    assert job.bridge.get("job-1/download/logs").text == "what was\nbefore\nall\nof it\n"


@pytest.mark.parametrize("path", ["checkpoints/x", "x/download/model", "x/download/logs"])
def test_no_such_job(bridge: Running, path: str) -> None:
    assert "there is no job" in refusal(bridge.get(path), 404)["error"]
