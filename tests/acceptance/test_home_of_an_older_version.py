"""Upgrade: a home that an older version made goes on working, whatever its jobs were doing."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import requests
from safetensors.numpy import load_file

from tests.support.make_old_home import JOBS, PAUSE_AFTER, STEPS
from tests.support.yard import Yard

DATA = Path(__file__).parents[1] / "data"
HOMES = ("home-0.1.0",)
RESUMED = ("paused", "interrupted")
CLOSE = 1e-4  # another processor, or another torch, adds in another order


@dataclass(frozen=True)
class Upgraded:
    """A yard over an old home in which every job has ended; ``found`` is how it found each."""

    yard: Yard
    found: dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=HOMES)
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    folder = tmp_path_factory.mktemp(request.param)
    with tarfile.open(DATA / f"{request.param}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    with Yard(folder / "home", folder / "up.log") as yard:
        found = {job["job_id"]: job for job in yard.bridge.jobs()}
        yard.bridge.resume("paused")
        for job_id in (*RESUMED, "waiting"):
            yard.wait(job_id, "completed")
            yard.backend.wait_for_status(job_id, "completed")
        yield Upgraded(yard, found)


def figures(yard: Yard, job_id: str, *names: str) -> dict[tuple[int, str], float]:
    """The named figures that a job reported, by step and name."""
    return {
        (point["step"], name): point[name]
        for point in yard.bridge.metrics(job_id)
        for name in names
        if point.get(name) is not None
    }


def losses(yard: Yard, job_id: str) -> dict[tuple[int, str], float]:
    return figures(yard, job_id, "train_loss", "eval_loss")


def check_same_training(yard: Yard, job_id: str) -> None:
    """A job made the same steps and came to the same weights as the one completed before.

    Not to the same ``train_loss``: 0.1.0 reported the mean of the steps' means, later versions the
    mean over the steps' tokens. What is minimised at each step is the same.
    """
    same = ("learning_rate", "grad_norm", "eval_loss")
    expected_figures = figures(yard, "completed", *same)
    assert figures(yard, job_id, *same) == pytest.approx(expected_figures, rel=CLOSE)
    weights, expected = (
        load_file(yard.home / "jobs" / name / "model" / "model.safetensors")
        for name in (job_id, "completed")
    )
    assert weights.keys() == expected.keys()
    for name, values in weights.items():
        numpy.testing.assert_allclose(values, expected[name], atol=CLOSE, err_msg=name)


def test_every_job_is_found_as_it_was(upgraded: Upgraded) -> None:
    found = upgraded.found
    assert found.keys() == JOBS.keys()
    for job_id, status in JOBS.items():
        going_on = {"queued", "running", "completed"} if status == "queued" else {status}
        assert found[job_id]["status"] in going_on, job_id
    assert PAUSE_AFTER <= found["paused"]["current_step"] < STEPS
    assert (found["completed"]["current_step"], found["completed"]["progress"]) == (STEPS, 100.0)
    assert found["failed"]["error"].startswith("No usable column in the data set")
    assert found["failed"]["error_hint"]


def test_the_completed_job_keeps_its_metrics_its_log_and_its_model(
    upgraded: Upgraded, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    yard = upgraded.yard
    trained = losses(yard, "completed")
    assert {step for step, name in trained if name == "eval_loss"} == {STEPS // 2, STEPS}
    assert trained[STEPS, "train_loss"] < trained[1, "train_loss"] / 2
    log = yard.bridge.logs("completed", limit=100_000, offset=0)["logs"]
    assert log == yard.log("completed").splitlines()
    assert any(f"step {STEPS}/{STEPS}, epoch" in line for line in log)
    downloaded = requests.get(
        f"{yard.bridge.url}/api/training/completed/download/model", timeout=30
    )
    with tarfile.open(fileobj=io.BytesIO(downloaded.content)) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() == upgraded.found["completed"]["result"]["parameters"]
    assert AutoTokenizer.from_pretrained(folder)("What is 1 plus 2?")["input_ids"]


@pytest.mark.parametrize("job_id", RESUMED)
def test_a_job_goes_on_from_its_old_checkpoint_as_if_nothing_had_been(
    upgraded: Upgraded, job_id: str
) -> None:
    yard = upgraded.yard
    job = yard.bridge.status(job_id)
    assert (job["attempt"], job["restarts"], job["current_step"]) == (2, 0, STEPS)
    (said,) = re.findall(r"Resuming from the checkpoint of step (\d+)", yard.log(job_id))
    assert PAUSE_AFTER <= int(said) < STEPS
    uninterrupted, went_on = losses(yard, "completed"), losses(yard, job_id)
    assert list(went_on) == list(uninterrupted)
    before = [key for key in went_on if key[0] <= int(said)]
    assert [went_on[key] for key in before] == [uninterrupted[key] for key in before]
    check_same_training(yard, job_id)
    # The old checkpoint has no sums over tokens: the first loss is of the steps since the resume.
    first = min(step for step, _ in went_on if step > int(said))
    after = [key for key in went_on if key[0] > first]
    throughout = losses(yard, "waiting")
    assert after
    assert [went_on[key] for key in after] == pytest.approx(
        [throughout[key] for key in after], rel=CLOSE
    )
    rates = figures(yard, job_id, "tokens_per_second")
    assert min(rates.values()) > 0


def test_the_job_that_had_only_waited_is_trained(upgraded: Upgraded) -> None:
    job = upgraded.yard.bridge.status("waiting")
    assert (job["attempt"], job["restarts"], job["current_step"]) == (1, 0, STEPS)
    check_same_training(upgraded.yard, "waiting")


def test_the_backend_has_everything_once(upgraded: Upgraded) -> None:
    backend = upgraded.yard.backend
    assert {job_id: upgraded.yard.statuses(job_id) for job_id in JOBS} == {
        "completed": ["running", "completed"],
        "failed": ["running", "failed"],
        "paused": ["running", "paused", "running", "completed"],
        "interrupted": ["running", "running", "completed"],
        "waiting": ["running", "completed"],
        "cancelled": ["cancelled"],
    }
    for job_id in JOBS:
        assert backend.logs(job_id) == upgraded.yard.log(job_id).splitlines()
        at_bridge = upgraded.yard.bridge.metrics(job_id)
        assert [p["step"] for p in backend.metrics(job_id)] == [p["step"] for p in at_bridge]


def test_the_yard_ran_and_stops_without_a_complaint(upgraded: Upgraded) -> None:
    yard = upgraded.yard
    assert yard.stop() == 0
    assert "trainyard:" not in yard.output()
    assert "died" not in yard.output()
    logs = yard.service_logs()
    assert {"bridge", "workers"} <= logs.keys()
    for name in ("bridge", "workers"):
        assert not re.search("ERROR|Traceback", logs[name]), logs[name]
