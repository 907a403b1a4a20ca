"""Both OpenAPI files against the servers that they describe, by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dev_backend import DevBackend
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess, python_module
from trainyard.client import BridgeClient, BridgeError

BRIDGE_CONFIG = REPOSITORY / "schemathesis.toml"
OPENAI_CONFIG = REPOSITORY / "tests/support/schemathesis_openai.toml"
BACKEND_CONFIG = REPOSITORY / "tests/support/schemathesis_backend.toml"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def schemathesis(document: str, url: str, config: Path, folder: Path, *options: str) -> None:
    """Every check of every phase; the bound is on the examples of each operation."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(config), "run"]
    command += [str(REPOSITORY / "docs/openapi" / document), "--url", url, "--no-color", *options]
    command += ["--max-examples", "15", "--seed", "1", "--continue-on-failure"]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " generated" in done.stdout


@pytest.mark.parametrize(
    ("document", "config"), [("bridge.json", BRIDGE_CONFIG), ("openai.json", OPENAI_CONFIG)]
)
def test_the_bridge_is_as_its_documents_say(
    document: str, config: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "REDIS_URL": redis_server.url,
        "BRIDGE_PORT": str(port),
        "TRAINYARD_HOME": str(tmp_path),
    }
    log = tmp_path / "bridge.log"
    command = python_module("backend_bridge.server")
    bridge = ChildProcess("bridge", command, env=environment, log_file=log)
    bridge.start()
    try:
        client = BridgeClient(f"http://127.0.0.1:{port}")
        wait_for("the bridge answers", lambda: _answers(client))
        client.close()
        schemathesis(document, f"http://127.0.0.1:{port}", config, tmp_path)
    finally:
        bridge.stop(20)


def _answers(client: BridgeClient) -> bool:
    try:
        client.jobs()
    except BridgeError:
        return False
    return True


def test_the_development_backend_is_as_its_document_says(tmp_path: Path) -> None:
    with DevBackend() as backend:
        backend.create_job("job-1", "tok-1")
        header = ("-H", "Authorization: Bearer tok-1")
        schemathesis("backend.yaml", backend.url, BACKEND_CONFIG, tmp_path, *header)
