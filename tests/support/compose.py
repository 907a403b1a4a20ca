"""The services of docker-compose.yml on a real Docker engine, through ``compose-check``."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.support.models import make_tiny_model
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.stack import write_rows
from tests.support.waiting import wait_for
from trainyard.client import BridgeClient

COMPOSE_CHECK = Path(
    os.environ.get("COMPOSE_CHECK") or REPOSITORY.parent / "shared/bin/compose-check"
)
BUILD_TIMEOUT_S = 1800
WAIT_S = 300.0
"""A worker's start in a container, beside other work on few cores."""
STARTED_AND_ENDED = ("queued", "running", "completed")


class Compose:
    """A project of its own on free ports with the development backend; a context manager.

    Leaving it removes containers and volumes, and keeps the images.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="trainyard-compose-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)  # the containers' user reads it too
        for name in ("datasets", "models"):
            (folder / name).mkdir()
        self.bridge_port, self.flower_port, self.backend_port = (free_port() for _ in range(3))
        self.project = f"trainyard-test-{secrets.token_hex(3)}"
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": "dev",
            "DATASETS_DIR": str(folder / "datasets"),
            "MODELS_DIR": str(folder / "models"),
            "BRIDGE_PORT": str(self.bridge_port),
            "FLOWER_PORT": str(self.flower_port),
            "DEV_BACKEND_PORT": str(self.backend_port),
            "LEASE_SECONDS": "4",
            "STOP_TIMEOUT_SECONDS": "60",
        }
        write_rows(folder / "datasets" / "sums.jsonl", 64)
        for file in make_tiny_model(folder / "models" / "tiny").iterdir():
            file.chmod(0o644)  # safetensors are written for their owner alone
        self.bridge = BridgeClient(f"http://127.0.0.1:{self.bridge_port}")

    def __enter__(self) -> Self:
        try:
            self._check("up", timeout_s=BUILD_TIMEOUT_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bridge.close()
        self._check("down")
        self._folder.cleanup()

    def _check(self, command: str, *arguments: str, timeout_s: float = 300) -> str:
        done = subprocess.run(
            [str(COMPOSE_CHECK), command, str(REPOSITORY), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{command} {arguments}:\n{done.stdout}\n{done.stderr}"[-4000:]
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """``docker compose`` on this project; what it printed."""
        return self._check("compose", *arguments)

    def set(self, **environment: str) -> None:
        """Change what ``.env`` would say; a service hears of it at its next ``up``."""
        self._environment.update(environment)

    def inside(self, service: str, *command: str) -> str:
        """Run a command in a service's container; what it printed."""
        return self.compose("exec", "-T", service, *command)

    def submit(self, job_id: str, steps: int) -> None:
        """Start a small job whose row the development backend has."""
        token = f"tok-{secrets.token_hex(8)}"
        config = {
            "model": {"name": "tiny"},
            "training": {
                "method": "sft",
                "max_steps": steps,
                "batch_size": 4,
                "max_length": 64,
                "logging_steps": 2,
                "save_steps": 5,
            },
            "data": {"train_split": 1.0, "eval_split": 0},
        }
        row = {"job_id": job_id, "user_id": "u1", "model_name": "tiny", "status": "pending"}
        row |= {"dataset_path": "sums.jsonl", "config": config, "job_token": token}
        self._backend("POST", "jobs", json=row)
        body = {"config": config, "dataset_path": "sums.jsonl", "execution_id": job_id}
        self.bridge.start({**body, "name": job_id, "user_id": "u1", "job_token": token})

    def _backend(self, method: str, path: str, **options: Any) -> Any:
        url = f"http://127.0.0.1:{self.backend_port}/api/training/local/{path}"
        answer = requests.request(method, url, timeout=20, **options)
        answer.raise_for_status()
        return answer.json()

    def wait(self, job_id: str, status: str) -> dict[str, Any]:
        """Wait until the bridge says ``status``; fails at another end."""

        def reached() -> dict[str, Any] | None:
            job = self.bridge.status(job_id)
            wrong = job["status"] not in (*STARTED_AND_ENDED, status)
            assert not wrong, f"{job['status']}: {job['error']}\n{self.log(job_id)}"
            return job if job["status"] == status else None

        job: dict[str, Any] = wait_for(f"{job_id} is {status}", reached, WAIT_S)
        return job

    def wait_for_step(self, job_id: str, step: int) -> None:
        """Wait until a running job has done so many optimizer steps."""
        wait_for(
            f"{job_id} reaches step {step}",
            lambda: (self.bridge.status(job_id)["current_step"] or 0) >= step,
            WAIT_S,
        )

    def wait_at_backend(self, job_id: str, status: str) -> None:
        """Wait until the development backend has stored ``status``."""
        wait_for(
            f"the backend hears that {job_id} is {status}",
            lambda: self._backend("GET", f"{job_id}/status")["status"] == status,
            WAIT_S,
        )

    def log(self, job_id: str) -> str:
        """The job's log, as the bridge has it."""
        return "\n".join(self.bridge.logs(job_id, limit=1000, offset=0)["logs"])
