"""The embedded Redis as a process: how it is guarded, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry

from tests.support.hangup import children_hear_hangups
from tests.support.paths import REPOSITORY
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from trainyard.contract.error_tree import TrainyardError
from trainyard.local.redis_binaries import binaries, version_of
from trainyard.local.services import Ports, Services
from trainyard.local.socket_place import leave_place, socket_place
from trainyard.redis_check.suitability import check
from trainyard.store.connection import connect

WAIT_S = 30.0


class Embedded:
    """``python -m trainyard.local.embedded_redis`` over one folder, for one test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "redis"
        self.started: list[subprocess.Popen[str]] = []
        self._seen: set[psutil.Process] = set()

    def launch(self) -> subprocess.Popen[str]:
        with children_hear_hangups():
            process = subprocess.Popen(
                [sys.executable, "-m", "trainyard.local.embedded_redis"],
                env={**os.environ, "TRAINYARD_HOME": str(self.home)},
                cwd=self.home,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.started.append(process)
        return process

    def start(self) -> subprocess.Popen[str]:
        url = self.folder / "url"
        before = url.stat().st_mtime_ns if url.exists() else None
        process = self.launch()
        wait_for(
            "the embedded Redis says where it is",
            lambda: (
                process.poll() is not None or (url.exists() and url.stat().st_mtime_ns != before)
            ),
        )
        assert process.poll() is None
        self._seen |= set(psutil.Process(process.pid).children())
        return process

    @property
    def server(self) -> psutil.Process:
        (server,) = psutil.Process(self.started[-1].pid).children()
        return server

    @property
    def url(self) -> str:
        return (self.folder / "url").read_text().strip()

    def client(self) -> Redis:
        return connect(self.url)

    def error(self) -> str:
        assert self.started[-1].stderr is not None
        return self.started[-1].stderr.read()

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(WAIT_S)

    def close(self) -> list[psutil.Process]:
        """End what runs; returns servers that are left, having killed them."""
        for process in self.started:
            if process.poll() is None:
                self.end(process)
            assert process.stderr is not None
            process.stderr.close()
        left = psutil.wait_procs(list(self._seen), timeout=WAIT_S)[1]
        for server in left:
            server.kill()
        return left


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder that leaves room for a socket's path; pytest's own may be too long for one."""
    with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
        yield Path(folder)


@pytest.fixture
def embedded(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedded]:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    embedded = Embedded(short_path / 'home with "a space')
    embedded.home.mkdir()
    yield embedded
    assert embedded.close() == [], "a server is left behind"


def test_it_asks_for_a_password_and_hides_it(embedded: Embedded) -> None:
    embedded.start()
    password = (embedded.folder / "password").read_text()
    assert len(password) >= 32
    secret = {"password", "redis.conf", "url"}
    for path in embedded.folder.iterdir():
        if path.is_file() and password in path.read_text(errors="replace"):
            secret.discard(path.name)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert secret == set()
    assert stat.S_IMODE(embedded.folder.stat().st_mode) == 0o700
    for process in (embedded.server, psutil.Process(embedded.started[0].pid)):
        assert password not in " ".join([*process.cmdline(), *process.environ().values()])
    socket_file = embedded.folder / "redis.sock"
    assert embedded.url.startswith("unix://:")
    assert stat.S_IMODE(socket_file.stat().st_mode) == 0o700
    with (
        Redis(unix_socket_path=str(socket_file), retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(AuthenticationError),
    ):
        stranger.ping()
    assert listening(embedded) == set()


def listening(embedded: Embedded) -> set[tuple[str, int]]:
    """Where its server listens beyond its socket."""
    connections = embedded.server.net_connections("inet")
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == "LISTEN"}


def test_on_loopback_too_if_it_is_told_so(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("EMBEDDED_REDIS_PORT", str(port))
    monkeypatch.setenv("PATH", "")  # the server of the Python package, which is an old one
    process = embedded.start()
    assert embedded.url.endswith(f"@127.0.0.1:{port}/0")
    assert listening(embedded) == {("127.0.0.1", port)}
    with embedded.client() as client:
        assert client.ping()
    assert (embedded.folder / "redis.sock").is_socket()
    embedded.end(process)
    assert "EMBEDDED_REDIS_PORT may take Redis 6.2.14 over by a script (CVE-" in embedded.error()


def test_a_long_path_has_its_socket_in_a_short_private_folder(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    folder = short_path / ("long" * 30)
    folder.mkdir()
    place = socket_place(folder, "redis.sock")
    assert place == socket_place(folder, "redis.sock"), "clients find a server that came back"
    assert place.parent.parent == short_path
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    leave_place(place, folder)
    assert not place.parent.exists()
    place.parent.symlink_to(folder)
    with pytest.raises(TrainyardError, match="not this user's own folder"):
        socket_place(folder, "redis.sock")


def test_it_passes_the_checks_that_any_redis_must_pass(embedded: Embedded) -> None:
    embedded.start()
    assert check(embedded.url) == []


def test_address_password_and_data_outlive_a_restart(embedded: Embedded) -> None:
    first = embedded.start()
    url = embedded.url
    with embedded.client() as client:
        client.set("key", "value")
    assert embedded.end(first) == 0
    assert not (embedded.folder / "url").exists()
    embedded.start()
    assert embedded.url == url
    with embedded.client() as client:
        assert client.get("key") == "value"


def test_an_older_server_never_starts_beside_the_data_of_a_newer_one(embedded: Embedded) -> None:
    embedded.end(embedded.start())
    version = embedded.folder / "version"
    assert version_of(version.read_text()) == binaries()[0].version
    version.write_text("99.1.0\n")
    assert embedded.launch().wait(WAIT_S) == 2
    said = embedded.error()
    assert "were written by Redis 99.1.0, and an older one would start empty" in said
    assert "redis-server of 99.1 or later" in said
    assert version.read_text() == "99.1.0\n"


@pytest.mark.parametrize("zeros", [1, 4096, 200_000])
def test_zeros_at_the_end_of_the_append_only_file_are_cut_off(
    embedded: Embedded, zeros: int
) -> None:
    first = embedded.start()
    with embedded.client() as client:
        client.set("key", "value\0\0")
    embedded.end(first)
    (file,) = [*embedded.folder.glob("appendonly.aof"), *embedded.folder.rglob("*.incr.aof")]
    before = file.read_bytes()
    file.write_bytes(before + bytes(zeros))
    embedded.start()
    with embedded.client() as client:
        assert client.get("key") == "value\0\0"
    (backup,) = embedded.folder.glob("*.as-it-was-*")
    assert backup.read_bytes() == before + bytes(zeros)
    embedded.end(embedded.started[-1])
    assert f"ended in {zeros} zeros" in (said := embedded.error())
    assert str(backup) in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_outlives_whoever_has_a_job_to_put_back(embedded: Embedded, number: int) -> None:
    process = embedded.start()
    with embedded.client() as worker:
        worker.zadd("trainyard:occupying", {"job-1": 1})
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        worker.zrem("trainyard:occupying", "job-1")
        assert process.wait(WAIT_S) == 0


def test_it_waits_for_nobody_who_is_gone(embedded: Embedded) -> None:
    process = embedded.start()
    with embedded.client() as worker:
        worker.zadd("trainyard:occupying", {"job-1": 1})
    assert embedded.end(process) == 0


def test_a_second_one_on_the_same_folder_is_refused_and_harms_nothing(embedded: Embedded) -> None:
    embedded.start()
    url = embedded.url
    second = embedded.launch()
    assert second.wait(WAIT_S) == 2
    assert "already runs" in embedded.error()
    assert embedded.url == url
    with embedded.client() as client:
        assert client.ping()


def test_a_server_that_is_killed_ends_it_and_loses_nothing(embedded: Embedded) -> None:
    first = embedded.start()
    with embedded.client() as client:
        client.set("key", "value")
    embedded.server.kill()
    assert first.wait(WAIT_S) == 1
    assert "exit code -9" in embedded.error()
    embedded.start()
    with embedded.client() as client:
        assert client.get("key") == "value"


def test_when_it_is_killed_itself_its_server_goes_too_and_the_next_one_starts(
    embedded: Embedded,
) -> None:
    first = embedded.start()
    server = embedded.server
    with embedded.client() as client:
        client.set("key", "value")
    embedded.end(first, signal.SIGKILL)
    assert psutil.wait_procs([server], timeout=WAIT_S)[1] == []
    assert (embedded.folder / "url").exists(), "nobody was left to take it away"
    embedded.start()
    with embedded.client() as client:
        assert client.get("key") == "value"


def test_services_do_not_believe_the_address_that_a_crash_left(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`trainyard up` after a power cut: the file is there, the server is not yet."""
    embedded.end(embedded.start(), signal.SIGKILL)
    (embedded.folder / "url").write_text("redis://:old@127.0.0.1:1/0\n")
    services = Services(Ports(1, 1, None), {"TRAINYARD_HOME": str(embedded.home)}, wait=False)
    launched: list[str] = []
    launch = services._launch

    def redis_alone(name: str, command: list[str], *rest: Any) -> Any:
        launched.append(name)
        real = name == "redis"
        return launch(name, command if real else [sys.executable, "-c", "pass"], *rest)

    monkeypatch.setattr(services, "_launch", redis_alone)
    with services:
        assert embedded.url != "redis://:old@127.0.0.1:1/0"
        with embedded.client() as client:
            assert client.ping()
    assert launched[0] == "redis"


def test_wrong_settings_are_exit_code_2(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "x")
    assert embedded.launch().wait(WAIT_S) == 2
    assert "BRIDGE_PORT" in embedded.error()
