"""A whole training on a disk that fails: nothing false is said, and the next attempt is exact."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.failing_disk import HOWS
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.checkpoint_manifest import verify
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Checkpoint, Outcome

OPERATIONS = 180
"""Of a training with three checkpoints and its result; later faults strike nothing."""
MANY_STRIKES = 40


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a data set."""
    rows = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}"} for n in range(60)]
    write_jsonl(tmp_path / "datasets" / "sums.jsonl", rows)
    return tmp_path


def request(job_id: str) -> dict[str, Any]:
    training = {"max_steps": 6, "batch_size": 4, "learning_rate": 0.01, "save_steps": 2}
    training |= {"logging_steps": 2, "save_total_limit": 1}
    config = {"model": {"name": "dropout"}, "training": training}
    return {"execution_id": job_id, "dataset_path": "sums.jsonl", "config": config}


def weights(job_dir: Path) -> str:
    return hashlib.sha256((job_dir / "model" / "model.safetensors").read_bytes()).hexdigest()


class Trainings:
    """A training without a fault, and others of the same that are struck."""

    def __init__(self, home: Path, models: Path, preloaded: Preloaded) -> None:
        self._home, self._models, self._preloaded = home, models, preloaded
        self._whole = weights(self._run("whole", 1, None).job_dir)

    def _run(self, job_id: str, attempt: int, fault: tuple[int, str] | None) -> Run:
        self._preloaded.disk = fault and (str(self._home / "jobs" / job_id), *fault)
        try:
            return run_training(
                self._home,
                request(job_id),
                models=self._models,
                preloaded=self._preloaded,
                attempt=attempt,
            )
        finally:
            self._preloaded.disk = None

    def strike(self, at: int, how: str) -> str:
        """What became of an attempt whose disk fails at operation ``at``; then the next one."""
        job_id = f"{how}-{at}"
        run = self._run(job_id, 1, (at, how))
        end = self._judge(run, how)
        checkpoints = run.job_dir / "checkpoints"
        if sent := run.of(Checkpoint):
            last = run.job_dir / sent[-1].path
            newer = sorted(p for p in checkpoints.glob("checkpoint-*") if p.name > last.name)
            assert newer or verify(last).step == sent[-1].step
        if end != "completed":
            again = self._run(job_id, 2, None)
            assert again.outcome.outcome == "completed", again.log
            if sent:
                assert "Resuming from the checkpoint of step" in again.log
            assert not list((checkpoints / ".partial").iterdir())
        assert weights(run.job_dir) == self._whole, f"{how} at {at}"
        shutil.rmtree(run.job_dir)
        return end

    def _judge(self, run: Run, how: str) -> str:
        last = run.events[-1]
        if not isinstance(last, Outcome):
            assert (how in ("kill", "power"), run.exit_code) == (True, -signal.SIGKILL), run.log
            return "killed"
        if last.outcome == "failed":
            assert last.error is not None
            if how == "full":
                assert last.error.kind is ErrorKind.DISK_FULL, (last.error, run.log)
        return last.outcome


def test_a_loss_of_power_in_a_save(home: Path, models: Path, preloaded: Preloaded) -> None:
    assert Trainings(home, models, preloaded).strike(50, "power") == "killed"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_faults(home: Path, models: Path, preloaded: Preloaded) -> None:
    trainings = Trainings(home, models, preloaded)
    seed = int(time.time())
    rng, ends = random.Random(seed), Counter[str]()
    for number in range(MANY_STRIKES):
        how, at = HOWS[number % len(HOWS)], rng.randrange(1, OPERATIONS)
        try:
            ends[f"{how}: {trainings.strike(at, how)}"] += 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {how} at {at}: {error}") from error
    print(seed, dict(ends))
