"""The Next.js example in Node, held against the contract tests of the development backend."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.integration.backend_bridge.test_dev_backend import (
    Job,
    TestCreation,
    TestIdempotencyKey,
    TestLogs,
    TestMetrics,
    TestStatus,
)
from tests.integration.backend_bridge.test_dev_backend import TestChecksInOrder as DevBackendChecks
from tests.support.dev_backend import DevBackend, DevBackendClient
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]
EXAMPLE = REPOSITORY / "examples" / "nextjs"
__all__ = ["TestCreation", "TestIdempotencyKey", "TestLogs", "TestMetrics", "TestStatus"]


class NextBackend(DevBackend):
    """The example as ``next start`` serves it; the calls are the development backend's."""

    def __init__(self, built: Path, store: Path) -> None:
        self.port = free_port()
        DevBackendClient.__init__(self, f"http://127.0.0.1:{self.port}")
        self._store = store
        self.process = subprocess.Popen(
            [built / "node_modules/.bin/next", "start", "-H", "127.0.0.1", "-p", str(self.port)],
            cwd=built,
            env={**os.environ, "TRAINING_STORE": str(store), "NEXT_TELEMETRY_DISABLED": "1"},
            stdout=subprocess.DEVNULL,
        )
        wait_for("Next.js answers", self._answers)

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/api/training/local/jobs", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self, *, keep: bool = False) -> int | None:
        """End the process."""
        assert self.process is not None
        self.process.terminate()
        self._session.close()
        return self.process.wait(30)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed with npm, type-checked and built, in a folder of its own."""
    if shutil.which("npm") is None:
        pytest.skip("npm is missing")
    folder = tmp_path_factory.mktemp("nextjs") / "app"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", ".next"))
    environment = {**os.environ, "NEXT_TELEMETRY_DISABLED": "1"}
    for command in (["npm", "install", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return folder


@pytest.fixture(scope="module")
def backend(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NextBackend]:
    running = NextBackend(built, tmp_path_factory.mktemp("store"))
    yield running
    running.stop()


@pytest.fixture
def job(backend: NextBackend) -> Job:
    return Job(backend)


class TestChecksInOrder(DevBackendChecks):
    def test_a_method_that_is_not_there_is_405_as_json(self, job: Job) -> None:
        """Next.js answers 405 itself, without a body: the worker asks for no more than the code."""
        assert job.send("DELETE", "status").status_code == 405


def test_no_token_is_stored(backend: NextBackend) -> None:
    backend.create_job("secretive", "tok-QmFzZTY0c2VjcmV0")
    stored = (backend._store / "secretive.json").read_text()
    assert "tok-QmFzZTY0c2VjcmV0" not in stored


def test_types_are_right(built: Path) -> None:
    done = subprocess.run(
        [built / "node_modules/.bin/tsc", "--noEmit"],
        cwd=built,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
