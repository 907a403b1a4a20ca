"""Canaries: one secret of each kind, planted for jobs that run, are killed, fail and are cancelled.

They are looked for everywhere: files, pages, memory, environments, command lines.
"""

from __future__ import annotations

import array
import base64
import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.support.file_server import FileServer, Handler
from tests.support.models import make_tiny_model
from tests.support.waiting import wait_for
from tests.support.yard import Yard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a yard, and all that it holds

ENVIRONMENT = {
    "HF_TOKEN": "hf_CanaryOfTheHub0123456789abc",
    "AWS_SECRET_ACCESS_KEY": "CanaryOfTheStore/0123456789+abcdefg",
    "WANDB_API_KEY": "0123456789abcdefcanaryofthetracker",
}
PASSWORD, SIGNATURE = "CanaryOfTheUrl-0123", "CanarySignature9876543210"
BRIDGE_KEY, FLOWER_PASSWORD = "CanaryOfTheBridge-4711", "CanaryOfTheFlower-0815"
TOKEN = "tok-CanaryOfTheJob-31415"
CANARIES = {**ENVIRONMENT, "password": PASSWORD, "signature": SIGNATURE}
OURS = {"bridge": BRIDGE_KEY, "flower": FLOWER_PASSWORD, "token": TOKEN}
ROWS = b'{"text": "a sentence about nothing"}\n{"text": "another one"}\n' * 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NO_PROXY = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "")
READS_FOREIGN_DATA = ("ty-slot", "ty-keeper", "ty-training")


def _only_with_the_password(to: Handler) -> None:
    login = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    allowed = to.headers.get("Authorization") == f"Basic {login}" and SIGNATURE in to.path
    to.send_response(200 if allowed else 401)
    to.send_header("Content-Length", str(len(ROWS) if allowed else 0))
    to.end_headers()
    to.wfile.write(ROWS if allowed else b"")


def memory_of(pid: int) -> bytes:
    """All that a process has written to: its heap, its stacks, its environment."""
    found = list[bytes]()
    with (
        Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory,
        Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pages,
    ):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if region := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line):
                start, end = (int(at, 16) // PAGE_BYTES for at in region.groups())
                for first, count in in_memory(pages, start, end):
                    found.append(_stretch(memory, first, count))
    return b"".join(found)


def _stretch(memory: Any, first: int, count: int) -> bytes:
    """``count`` pages; without those that the process gave back since they were looked for."""
    memory.seek(first * PAGE_BYTES)
    try:
        return memory.read(count * PAGE_BYTES) or b""
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    half = count // 2
    if not half:
        return b""
    return _stretch(memory, first, half) + _stretch(memory, first + half, count - half)


def in_memory(pages: Any, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches of a region that are there: libraries reserve gigabytes."""
    pages.seek(start * 8)
    flags = array.array("Q", pages.read((end - start) * 8))
    first = None
    for number, flag in enumerate([*flags, 0], start):
        if flag >> 63 and first is None:
            first = number
        elif not flag >> 63 and first is not None:
            yield first, number - first
            first = None


def held_by(content: bytes, canaries: Mapping[str, str] = CANARIES) -> list[str]:
    return [name for name, value in canaries.items() if value.encode() in content]


@dataclass
class Round:
    """A job from its request to its end, as it was seen from outside."""

    yard: Yard
    memory: dict[str, list[str]] = field(default_factory=dict)
    environments: dict[str, list[str]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    @property
    def all_canaries(self) -> dict[str, str]:
        """Those that were planted, and the password that the embedded Redis made."""
        return {**CANARIES, **OURS, "redis": (self.yard.home / "redis" / "password").read_text()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    folder = tmp_path_factory.mktemp("canaries")
    make_tiny_model(folder / "home" / "models" / "tiny")
    with (
        FileServer(answers={"/a.jsonl": _only_with_the_password}) as server,
        Yard(
            *(folder / "home", folder / "up.log"),
            **{"ALLOW_PRIVATE_URLS": "1", "BRIDGE_API_KEY": BRIDGE_KEY},
            **{"FLOWER_BASIC_AUTH": f"me:{FLOWER_PASSWORD}", **NO_PROXY, **ENVIRONMENT},
        ) as yard,
    ):
        url = server.url("/a.jsonl").replace("://", f"://me:{PASSWORD}@")
        found = Round(yard)
        config = {"model": {"name": "tiny"}, "training": {"max_steps": 100_000}}
        asked = {"dataset_path": f"{url}?X-Amz-Signature={SIGNATURE}", "config": config}
        missing = {**config, "model": {"name": "nowhere"}}
        yard.submit({**asked, "execution_id": "fails", "config": missing}, TOKEN)
        yard.wait("fails", "failed")
        yard.submit({**asked, "execution_id": "canary"}, TOKEN)
        yard.wait_for_step("canary", 2)
        _kill_the_training(yard)
        wait_for("it is started again", lambda: yard.bridge.status("canary")["restarts"])
        yard.wait_for_step("canary", 4)
        for process in psutil.Process(yard.pid).children(recursive=True):
            name = Path(f"/proc/{process.pid}/comm").read_text().strip()
            if name in READS_FOREIGN_DATA:
                found.memory[name] = held_by(memory_of(process.pid))
            what = " ".join(process.cmdline())
            found.commands.append(what)
            found.environments[what] = held_by(Path(f"/proc/{process.pid}/environ").read_bytes())
        yard.bridge.cancel("canary", force=False)
        yard.wait("canary", "cancelled")
        found.pages = _pages(yard)
        yield found


def _kill_the_training(yard: Yard) -> None:
    for process in psutil.Process(yard.pid).children(recursive=True):
        if Path(f"/proc/{process.pid}/comm").read_text().strip() == "ty-training":
            process.kill()
            return
    raise AssertionError("no training runs")


def _pages(yard: Yard) -> dict[str, str]:
    """What bridge and Flower tell those who have the key and the password."""
    key = {"Authorization": f"Bearer {BRIDGE_KEY}"}
    login = {
        "Authorization": f"Basic {base64.b64encode(f'me:{FLOWER_PASSWORD}'.encode()).decode()}"
    }
    paths = (
        *("/health", "/metrics", "/openapi.json", "/api/training/jobs", "/api/training/queue"),
        *(f"/api/training/{job}/{what}" for job in ("fails", "canary") for what in ("errors",)),
        *(f"/api/training/status/{job}" for job in ("fails", "canary")),
    )
    asked = [(yard.bridge.url, path, key) for path in paths]
    asked += [(yard.flower_url, path, login) for path in ("/tasks", "/workers", "/metrics")]
    asked += [(yard.flower_url, "/api/tasks", login), (yard.flower_url, "/api/workers", login)]
    found = {}
    for address, path, headers in asked:
        answer = requests.get(address + path, headers=headers, timeout=60)
        assert answer.status_code == 200, (path, answer.text)
        found[address + path] = answer.text
    return found


def test_what_reads_foreign_data_never_held_a_secret(finished: Round) -> None:
    assert finished.memory == {name: [] for name in READS_FOREIGN_DATA}


def test_only_the_workers_have_them_in_their_environment(finished: Round) -> None:
    """`trainyard up` has them too: it is the person's own command."""
    with_them = [what for what, held in finished.environments.items() if held]
    assert with_them
    assert all("worker" in what and "slot_process" not in what for what in with_them), with_them


def test_they_are_in_no_file_but_the_job_stores(finished: Round) -> None:
    home = finished.yard.home
    files = [file for file in home.rglob("*") if file.is_file() and not file.is_symlink()]
    canaries = finished.all_canaries
    holding = {
        str(file.relative_to(home)) for file in files if held_by(file.read_bytes(), canaries)
    }
    # The development backend knows the tokens of its own jobs.
    assert all(name.startswith(("redis/", "dev_backend/backend.")) for name in holding), holding
    assert len(files) > 10


def test_no_answer_of_the_bridge_has_them(finished: Round) -> None:
    bridge = finished.yard.bridge
    said = (
        f"{bridge.status('canary')} {bridge.jobs()} {bridge.logs('canary', limit=1000, offset=0)}"
    )
    assert held_by(said.encode()) == []
    assert re.search(r"http://127\.0\.0\.1:\d+/a\.jsonl", said)


def test_no_page_no_command_line_and_no_word_of_the_yard_has_them(finished: Round) -> None:
    said = {**finished.pages, "up": finished.yard.output(), "commands": str(finished.commands)}
    canaries = finished.all_canaries
    assert {
        where: held for where, text in said.items() if (held := held_by(text.encode(), canaries))
    } == {}
    assert len(finished.commands) > 5
