"""One job, by the client that openapi-python-client made: `story.py URL REQUEST FOLDER`."""

import json
import sys
import time
from pathlib import Path

from bridge_client import Client
from bridge_client.api.control import pause, resume
from bridge_client.api.files import download_logs, download_model
from bridge_client.api.health import prometheus
from bridge_client.api.jobs import execute, metrics, status
from bridge_client.models import (
    ControlAnswer,
    ControlRefusal,
    JobAnswer,
    JobConfig,
    JobStatus,
    MetricsAnswer,
    ModelConfig,
    StartAnswer,
    StartRequest,
    TrainingConfig,
)
from bridge_client.types import File

url, wanted, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
client = Client(base_url=url)
job_id = wanted["execution_id"]


def wait(*states: JobStatus) -> JobAnswer:
    while True:
        job = status.sync(job_id, client=client)
        assert isinstance(job, JobAnswer), job
        if job.status in states and (job.current_step or 0) >= 2:
            return job
        assert job.status is not JobStatus.FAILED, job.error
        time.sleep(0.05)


training = TrainingConfig(max_steps=wanted["steps"], logging_steps=2, max_length=64)
config = JobConfig(model=ModelConfig(name=wanted["model"]), training=training)
started = execute.sync(
    client=client,
    body=StartRequest(
        config=config,
        execution_id=job_id,
        job_token=wanted["job_token"],
        dataset_path=wanted["dataset_path"],
    ),
)
assert isinstance(started, StartAnswer), started
wait(JobStatus.RUNNING)
paused = pause.sync(job_id, client=client)
assert isinstance(paused, ControlAnswer), paused
wait(JobStatus.PAUSED)
resumed = resume.sync(job_id, client=client)
assert isinstance(resumed, ControlAnswer), resumed
wait(JobStatus.COMPLETED)
refused = resume.sync(job_id, client=client)
assert isinstance(refused, ControlRefusal), refused

found = metrics.sync(job_id, client=client)
assert isinstance(found, MetricsAnswer), found
last = found.metrics[-1]
assert last.step == wanted["steps"]
assert isinstance(found.metrics[0].train_loss, float)
archive = download_model.sync(job_id, client=client)
assert isinstance(archive, File), archive
(folder / "model.tar").write_bytes(archive.payload.read())
log = download_logs.sync(job_id, client=client)
assert isinstance(log, str), log
(folder / "train.log").write_text(log)
figures = prometheus.sync(client=client)
assert isinstance(figures, str), figures
assert "trainyard_jobs" in figures
print("done")
