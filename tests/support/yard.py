"""A yard as a person has it: ``trainyard up`` over one home, ended with Ctrl-C."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.dev_backend import DevBackendClient
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess
from trainyard.client import BridgeClient

TERMINAL = ("completed", "failed", "cancelled")
STOP_TIMEOUT_S = 60


class Yard:
    """All services over ``home``, which holds everything of theirs: embedded Redis, the jobs, the
    development backend's database, ``models`` and ``datasets``. On free ports; a context manager.

    What ``trainyard up`` says itself goes into the file ``output``, outside of the home;
    ``environment`` is added to its own, in which a dead proxy stands: it is for other hosts.
    """

    def __init__(self, home: Path, output: Path, **environment: str) -> None:
        self.home = home
        bridge, backend, flower = free_port(), free_port(), free_port()
        self.bridge = BridgeClient(f"http://127.0.0.1:{bridge}", environment.get("BRIDGE_API_KEY"))
        self.flower_url = f"http://127.0.0.1:{flower}"
        self.backend = DevBackendClient(f"http://127.0.0.1:{backend}")
        self.environment = {
            **dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9"),
            **environment,
            "REDIS_URL": "embedded",
            "BRIDGE_PORT": str(bridge),
            "DEV_BACKEND_PORT": str(backend),
            "FLOWER_PORT": str(flower),
            "TRAINYARD_HOME": str(home),
            "TRAINYARD_HOST": "yard",  # else the name of this machine
            "DATASET_ROOTS": str(home / "datasets"),
            "MODEL_ROOTS": str(home / "models"),
            "SLOTS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        program = Path(sys.executable).with_name("trainyard")
        command = [sys.executable, str(program), "up"]
        self._process = ChildProcess("up", command, env=self.environment, log_file=output)

    def __enter__(self) -> Self:
        self._process.start()
        try:
            wait_for("the yard is up", self._is_up)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.bridge.close()
        self.backend.close()

    def _is_up(self) -> bool:
        assert self._process.pid is not None, f"it did not start:\n{self.output()}"
        return "Ctrl-C stops them all" in self.output()

    @property
    def pid(self) -> int | None:
        """Of `trainyard up`, whose children the services are."""
        return self._process.pid

    def output(self) -> str:
        """What `trainyard up` has said."""
        return self._process.recent_output(1000)

    def stop(self) -> int | None:
        """Ctrl-C, if it runs; the exit code."""
        if self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGINT)
            try:
                wait_for("the yard stops", lambda: self._process.pid is None, STOP_TIMEOUT_S)
            finally:
                self._process.stop(STOP_TIMEOUT_S)
        return self._process.returncode

    # ------------------------------------------------------------ jobs

    def submit(self, body: dict[str, Any], token: str | None = None) -> None:
        """Create the job at the backend and start it at the bridge."""
        job_id, token = body["execution_id"], token or f"tok-{secrets.token_hex(8)}"
        self.backend.create_job(job_id, token, body["config"])
        self.bridge.start({**body, "job_token": token})

    def wait(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until the bridge says one of ``statuses``, and no terminal one but those."""

        def reached() -> dict[str, Any] | None:
            job = self.bridge.status(job_id)
            wrong = job["status"] in TERMINAL and job["status"] not in statuses
            assert not wrong, f"{job_id} is {job['status']}: {job['error']}\n{self.log(job_id)}"
            return job if job["status"] in statuses else None

        found: dict[str, Any] = wait_for(f"{job_id} is {statuses}", reached)
        return found

    def wait_for_step(self, job_id: str, step: int) -> None:
        """Wait until a running job has done ``step`` optimizer steps."""
        wait_for(
            f"{job_id} reaches step {step}",
            lambda: (self.wait(job_id, "queued", "running")["current_step"] or 0) >= step,
        )

    def log(self, job_id: str) -> str:
        """The job's complete log file."""
        path = self.home / "jobs" / job_id / "train.log"
        return path.read_text() if path.exists() else ""

    def statuses(self, job_id: str) -> list[str]:
        """The statuses that the backend has taken, each once, in the order of their arrival.

        Of its database: an answer is kept with the Idempotency-Key of its request.
        """
        file = self.home / "dev_backend" / "backend.sqlite3"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            query = "SELECT answer FROM answers WHERE job_id = ?"
            answers = [json.loads(row[0]) for row in database.execute(query, (job_id,))]
        taken = [answer for answer in answers if "status" in answer]
        return [a["status"] for a in sorted(taken, key=lambda a: a["updated_at"])]

    def service_logs(self) -> dict[str, str]:
        """What each service has logged, by its name."""
        return {path.stem: path.read_text() for path in (self.home / "logs").glob("*.log")}
