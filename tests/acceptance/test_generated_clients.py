"""Clients that public generators make of the bridge's description, against the running bridge."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client_environments import STORIES, node_with, python_with, run
from tests.support.paths import REPOSITORY
from tests.support.stack import Stack

DOCUMENT = REPOSITORY / "docs/openapi/bridge.json"
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
NODE_PACKAGES = [
    *("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20")
]
STEPS = 300
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


def go_through_a_job(stack: Stack, command: list[str | Path], folder: Path, job_id: str) -> None:
    """Let a client start, pause, resume, read and download; what it saw is checked there."""
    token = f"token-of-{job_id}"
    stack.backend.create_job(job_id, token, {})
    wanted = {
        "execution_id": job_id,
        "job_token": token,
        "dataset_path": "sums.jsonl",
        "model": "tiny",
        "steps": STEPS,
    }
    url = f"http://127.0.0.1:{stack.port}"
    output = run([*command, url, json.dumps(wanted), folder], folder)
    assert output == "done\n"
    with tarfile.open(folder / "model.tar") as archive:
        assert any(name.endswith("model.safetensors") for name in archive.getnames())
    assert (folder / "train.log").read_text().startswith("[20")


def test_a_client_by_openapi_python_client(stack: Stack, tmp_path: Path) -> None:
    python = python_with(tmp_path, PYTHON_GENERATOR)
    generate = [python.with_name("openapi-python-client"), "generate", "--path", DOCUMENT]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    options = ["--meta", "none", "--output-path", "bridge_client", "--fail-on-warning"]
    run([*generate, "--config", config, *options], tmp_path)
    shutil.copy(STORIES / "story.py", tmp_path)
    go_through_a_job(stack, [python, "story.py"], tmp_path, "by-python")


@pytest.mark.node
@pytest.mark.skipif(not shutil.which("npm"), reason="Node with npm is not installed")
def test_a_client_by_openapi_typescript(stack: Stack, tmp_path: Path) -> None:
    node_with(tmp_path, *NODE_PACKAGES)
    run(["npx", "openapi-typescript", DOCUMENT, "-o", "bridge.d.ts"], tmp_path)
    shutil.copy(STORIES / "story.ts", tmp_path)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    run(["npx", "tsc", *options, "story.ts"], tmp_path)
    go_through_a_job(stack, ["node", "story.js"], tmp_path, "by-typescript")
