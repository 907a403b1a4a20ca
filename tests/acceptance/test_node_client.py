"""The examples for Node, as they stand, with packages from npm, against real services."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.stack import Stack

EXAMPLES = REPOSITORY / "examples" / "node"
pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(not shutil.which("npm"), reason="Node with npm is not installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples with their packages installed."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    subprocess.run(command, cwd=folder, check=True, timeout=100)
    return folder


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


def run(stack: Stack, folder: Path, script: str, job_id: str, **changes: object) -> tuple[int, str]:
    token = f"token-of-{job_id}"
    body = {**stack.body(job_id, steps=2), "job_token": token, **changes}
    stack.backend.create_job(job_id, token, stack.body(job_id)["config"])
    request = folder / f"{job_id}.json"
    request.write_text(json.dumps(body))
    done = subprocess.run(
        ["node", script, str(request)],
        cwd=folder,
        env={**os.environ, "REDIS_URL": stack.redis_server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("script", ["enqueue-celery.js", "enqueue-stream.js"])
def test_an_enqueued_job_completes(stack: Stack, folder: Path, script: str) -> None:
    job_id = script.removesuffix(".js")
    code, output = run(stack, folder, script, job_id)
    assert code == 0, output
    assert output.splitlines()[-1] in (f"job {job_id} is queued", f"job {job_id} is running")
    stack.wait(job_id, "completed")
    stack.backend.wait_for_status(job_id, "completed")
    assert stack.backend.statuses(job_id) == ["running", "completed"]


@pytest.mark.parametrize("script", ["enqueue-celery.js", "enqueue-stream.js"])
def test_a_refusal_is_told(stack: Stack, folder: Path, script: str) -> None:
    code, output = run(stack, folder, script, f"bad-{script[8:-3]}", config={})
    assert code == 1
    assert "config.model" in output
