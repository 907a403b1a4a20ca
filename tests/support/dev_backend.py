"""The development backend as a real process on a free port, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.support.paths import REPOSITORY
from tests.support.ports import free_port

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


class DevBackendClient:
    """The calls of a test to a development backend that runs at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        # One that is kept may be closed, as idle, in the moment in which a test goes on with it.
        self._session.headers["Connection"] = "close"

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request on a path; the decoded answer. Raises HTTPError for 4xx and 5xx."""
        answer = self._session.request(method, self.url + path, timeout=30, **options)
        answer.raise_for_status()
        return answer.json()

    def create_job(
        self, job_id: str, token: str, config: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Create the row that a backend makes before it starts a job."""
        job = {
            "job_id": job_id,
            "user_id": "user-1",
            "model_name": "tiny",
            "dataset_path": "data.jsonl",
            "status": "pending",
            "config": config or {},
            "job_token": token,
            **fields,
        }
        created: dict[str, Any] = self.call("POST", "/api/training/local/jobs", json=job)["job"]
        return created

    def status(self, job_id: str) -> dict[str, Any]:
        """The job as stored: ``status``, ``error``, ``started_at``, ``latest`` and so on."""
        job: dict[str, Any] = self.call("GET", f"/api/training/local/{job_id}/status")
        return job

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """Every stored metric point."""
        points: list[dict[str, Any]] = self.call("GET", f"/api/training/local/{job_id}/metrics")[
            "metrics"
        ]
        return points

    def logs(self, job_id: str) -> list[str]:
        """Every stored log line."""
        query = {"limit": 100_000}
        lines: list[str] = self.call("GET", f"/api/training/local/{job_id}/logs", params=query)[
            "logs"
        ]
        return lines

    def wait_for_status(self, job_id: str, *wanted: str, timeout_s: float = 120) -> dict[str, Any]:
        """Wait until a job has one of the statuses; the job. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (job := self.status(job_id))["status"] not in wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{job_id} is {job['status']}, not {' or '.join(wanted)}")
            time.sleep(0.05)
        return job


class DevBackend(DevBackendClient):
    """A development backend of one's own: starts at once, ``stop()`` ends it and cleans up.

    ``stop(keep=True)`` and ``start()`` make a backend that is down for a while: port and
    database stay the same. Also a context manager.
    """

    module = "backend_bridge.dev_backend"

    def __init__(
        self,
        bridge_url: str | None = None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dev-backend-")
        self.folder = Path(self._folder.name)
        self.database = self.folder / "backend.sqlite3"
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self._bridge_url = bridge_url
        self._options = options
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> DevBackend:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        command = [sys.executable, "-m", self.module, "--port", str(self.port)]
        command += ["--host", "127.0.0.1", "--database", str(self.database), *self._options]
        if self._bridge_url is not None:
            command += ["--bridge-url", self._bridge_url]
        with (self.folder / "output.txt").open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=self._environment,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                output_text = self.output()
                self.stop()
                raise RuntimeError(f"the development backend did not start: {output_text}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self, *, keep: bool = False) -> int | None:
        """End the process with SIGTERM; its exit code. Without ``keep`` its files go as well."""
        exit_code = None
        if self.process is not None:
            self.process.terminate()
            try:
                exit_code = self.process.wait(STOP_TIMEOUT_S)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
                    self.process.wait()
            self.process = None
        if not keep:
            self.close()
            self._folder.cleanup()
        return exit_code

    def output(self) -> str:
        """What the process has printed."""
        return (self.folder / "output.txt").read_text()


class FaultyBackend(DevBackend):
    """A development backend that misbehaves on demand, and keeps every request that it got."""

    module = "tests.support.faulty_backend"

    def requests(self, job_id: str, *, after: int = 0, reads: bool = False) -> list[dict[str, Any]]:
        """What arrived for a job, in order; tests' own GETs only with ``reads``.

        Each has ``sequence, method, path, headers, body, status, fault, received_at,
        answered_at``; ``status`` is None where no answer went out.
        """
        query = {"job_id": job_id, "after": after, "limit": 100_000}
        found = self.call("GET", "/api/dev/requests", params=query)["requests"]
        return [item for item in found if reads or item["method"] != "GET"]

    def statuses(self, job_id: str) -> list[str]:
        """The statuses that were accepted for a job, in the order of their arrival."""
        return [
            item["body"]["status"]
            for item in self.requests(job_id)
            if item["path"].endswith("/status") and item["status"] == 200
        ]

    def add_fault(self, **fault: Any) -> None:
        """Misbehave towards the requests that match; see ``faulty_backend.faults.Fault``."""
        self.call("POST", "/api/dev/faults", json=fault)

    def clear_faults(self) -> None:
        """Behave well again."""
        self.call("DELETE", "/api/dev/faults")
