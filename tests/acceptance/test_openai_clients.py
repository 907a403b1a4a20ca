"""OpenAI's own clients, unmodified, against a running yard."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client_environments import STORIES, node_with, python_with, run
from tests.support.ports import free_port
from tests.support.stack import Stack
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess

PYTHON_CLIENT = "openai==3.57.0"
NODE_CLIENT = "openai@7.59.0"
PROXY = "litellm[proxy]==1.108.7"
KEY = "bridge-k3y"
CONFIG = {"training": {"max_length": 64, "save_strategy": "steps", "save_steps": 40}}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


def story(stack: Stack) -> list[str]:
    return [f"http://127.0.0.1:{stack.port}", json.dumps({"key": KEY, "config": CONFIG})]


def test_the_client_for_python(stack: Stack, tmp_path: Path) -> None:
    python = python_with(tmp_path, PYTHON_CLIENT)
    shutil.copy(STORIES / "openai_story.py", tmp_path)
    assert run([python, "openai_story.py", *story(stack)], tmp_path) == "done\n"


@pytest.mark.node
@pytest.mark.skipif(not shutil.which("npm"), reason="Node with npm is not installed")
def test_the_client_for_node(stack: Stack, tmp_path: Path) -> None:
    node_with(tmp_path, NODE_CLIENT)
    shutil.copy(STORIES / "openai_story.mjs", tmp_path)
    assert run(["node", "openai_story.mjs", *story(stack)], tmp_path) == "done\n"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_litellm_as_a_proxy_in_front(stack: Stack, tmp_path: Path) -> None:
    """Its routes of fine-tunings are its paying users'; files and answers are not."""
    stack.submit("made", steps=2)
    python = python_with(tmp_path, PROXY, PYTHON_CLIENT)
    ours = {"api_base": f"http://127.0.0.1:{stack.port}/v1", "api_key": KEY}
    config = {
        "model_list": [{"model_name": "*", "litellm_params": {"model": "openai/*", **ours}}],
        "files_settings": [{"custom_llm_provider": "openai", **ours}],
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    port = free_port()
    command = [str(python.with_name("litellm")), "--config", str(tmp_path / "config.yaml")]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": "sk-proxy"}
    proxy = ChildProcess("litellm", command, env=environment, log_file=tmp_path / "litellm.log")
    proxy.start()
    try:
        wait_for("the proxy answers", lambda: listens(port), 150)
        stack.wait("made", "completed")
        shutil.copy(STORIES / "litellm_story.py", tmp_path)
        wanted = {"key": "sk-proxy", "model": "ft:tiny:trainyard::made"}
        asked = [f"http://127.0.0.1:{port}", json.dumps(wanted)]
        assert run([python, "litellm_story.py", *asked], tmp_path) == "done\n"
    finally:
        proxy.stop(20)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
