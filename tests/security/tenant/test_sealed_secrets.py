"""Secrets of the worker in the processes that read what strangers wrote: not there to be read."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import sealed_secrets
from tasks.channel import SocketChannel
from tasks.datasets.sources.locate import DownloadLimits, locate_dataset
from tasks.errors import DatasetError
from tests.support.file_server import FileServer, Handler
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import TrainingSpec
from trainyard.secret_environment import (
    others_secrets,
    seal,
    without_others_secrets,
    without_secrets,
)

CANARY = "canary-0123456789"
ENVIRONMENT = {
    "HF_TOKEN": f"hf_{CANARY}",
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "AWS_SESSION_TOKEN": CANARY,
    "WANDB_API_KEY": CANARY,
    "AZURE_STORAGE_CONNECTION_STRING": CANARY,
    "HTTPS_PROXY": f"http://me:{CANARY}@proxy:3128",
    "REDIS_URL": f"redis://:{CANARY}@host",
    "BRIDGE_API_KEY": CANARY,
    "FLOWER_BASIC_AUTH": f"me:{CANARY}",
    "HOME": "/home/me",
    "HF_ENDPOINT": "https://hub.example",
}
PLAIN = {"HOME", "HF_ENDPOINT"}
OURS = {"REDIS_URL", "BRIDGE_API_KEY", "FLOWER_BASIC_AUTH"}


@pytest.fixture(autouse=True)
def kept_by_this_test() -> Iterator[None]:
    yield
    if sealed_secrets._kept is not None:
        os.close(sealed_secrets._kept)
        sealed_secrets._kept = None


def test_who_gets_which_secrets() -> None:
    everything = set(ENVIRONMENT)
    assert set(without_secrets(ENVIRONMENT)) == PLAIN
    assert set(without_others_secrets(ENVIRONMENT)) == PLAIN | OURS
    assert set(others_secrets(ENVIRONMENT)) == everything - PLAIN - OURS


def test_they_come_beside_the_spec_and_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    spec = TrainingSpec(
        job_id="a",
        attempt=1,
        slot="s",
        job_dir="/",
        cache_dir="/",
        dataset_roots=[],
        model_roots=[],
    )
    supervisor, theirs = socket.socketpair()
    secrets = seal(ENVIRONMENT)
    with supervisor:
        socket.send_fds(supervisor, [spec.model_dump_json().encode() + b"\n"], [secrets])
        supervisor.sendall(b'{"command": "pause"}\n')
        os.close(secrets)
        channel = SocketChannel(theirs.detach())
        assert channel.receive_spec() == spec
        channel.start()
        assert channel.pause_requested.wait(5)
        channel.close()
    assert sealed_secrets.are_kept()
    assert CANARY not in json.dumps(dict(os.environ))
    sealed_secrets.reveal(["WANDB_"], ["_PROXY"])
    assert {name for name in ENVIRONMENT if CANARY in os.environ.get(name, "")} == {
        "WANDB_API_KEY",
        "HTTPS_PROXY",
    }
    for name in ("WANDB_API_KEY", "HTTPS_PROXY"):
        del os.environ[name]  # monkeypatch would put it back for all tests that follow


def test_nobody_writes_to_a_sealed_file() -> None:
    secrets = seal(ENVIRONMENT)
    with os.fdopen(secrets, "r+b", buffering=0) as file, pytest.raises(PermissionError):
        file.write(b"x")


def test_what_takes_a_secret_is_fetched_by_a_child(tmp_path: Path) -> None:
    def only_with_the_password(to: Handler) -> None:
        login = base64.b64encode(f"me:{CANARY}".encode()).decode()
        allowed = to.headers.get("Authorization") == f"Basic {login}" and "sig=" in to.path
        to.send_response(200 if allowed else 401)
        body = b'{"text": "a"}\n' if allowed else b""
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)

    limits = DownloadLimits(10**6, allow_private_urls=True)
    with FileServer(answers={"/a.jsonl": only_with_the_password}) as server:
        clean = server.url("/a.jsonl")
        whole = clean.replace("://", f"://me:{CANARY}@") + f"?sig={CANARY}"
        another = whole.replace("/a.jsonl", "/another.jsonl")
        sealed_secrets.keep(seal({}, f"{another}\n{whole}"))
        found = locate_dataset(clean, None, [], tmp_path, limits)
        assert (found.name, found.path.read_text()) == ("a.jsonl", '{"text": "a"}\n')
        sealed_secrets.keep(seal({}, whole.replace("/a.jsonl", "/b.jsonl")))
        with pytest.raises(DatasetError, match=r"not open to this worker \(401\)") as caught:
            locate_dataset(clean, None, [], tmp_path / "other", limits)
    assert CANARY not in str(caught.value)
    assert caught.value.kind is ErrorKind.DATASET
    assert "signed" in caught.value.mend
