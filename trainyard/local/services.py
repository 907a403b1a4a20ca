"""Services of one machine, as processes: Redis, workers, bridge, backend, Flower.

``trainyard up`` keeps them running, ``trainyard demo`` runs a job on them. Whatever happens to
this process, they end with it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socket import gethostname
from types import TracebackType
from typing import Self

import psutil
import requests
from redis import Redis
from redis.exceptions import RedisError

from trainyard.child_process import ChildProcess, python_module
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.statuses import JobStatus
from trainyard.direct_http import call
from trainyard.home import keep_private, make_folder
from trainyard.local.ports import LOOPBACK, listener
from trainyard.redis_check.suitability import check
from trainyard.scheduling.slot_leases import SlotLeases
from trainyard.scheduling.slots import SlotRegistry
from trainyard.secret_environment import without_others_secrets
from trainyard.service.process_limits import check_limits
from trainyard.settings import read_settings
from trainyard.store.connection import connect
from trainyard.store.job_store import open_job_store

START_TIMEOUT_S = 90.0
_FETCHING = ("workers",)
"""Services that get the tokens and keys which data sets and models are fetched with."""
logger = logging.getLogger(__name__)


class ServiceDied(TrainyardError):
    """A service did not start; the text has the end of its log."""


@dataclass(frozen=True)
class Ports:
    """TCP ports of the services. ``backend`` is None if BACKEND_URL names another backend."""

    bridge: int
    flower: int
    backend: int | None


class Services:
    """All services over one TRAINYARD_HOME. A context manager: entering starts them and waits
    until each answers, leaving stops them in order.

    ``environment`` is added to this process's own for every service. With ``wait`` False entering
    returns as soon as they are launched; :meth:`wait` waits. Raises ServiceDied, UnsuitableRedis
    and SettingsError.
    """

    def __init__(self, ports: Ports, environment: Mapping[str, str], *, wait: bool = True) -> None:
        self.ports = ports
        self.environment = {**environment, "BRIDGE_PORT": str(ports.bridge)}
        if ports.backend is not None:
            self.environment["BACKEND_URL"] = f"http://{LOOPBACK}:{ports.backend}"
        changed = {name.lower(): value for name, value in self.environment.items()}
        self.settings = read_settings(**changed)
        self._children: list[ChildProcess] = []
        self._wait_at_entry = wait

    @property
    def bridge_url(self) -> str:
        return self.settings.bridge_url

    @property
    def backend_url(self) -> str:
        return self.settings.backend_url

    @property
    def flower_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.flower}"

    def __enter__(self) -> Self:
        try:
            self._start()
            if self._wait_at_entry:
                self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def ensure_running(self) -> list[str]:
        """Start again what has died; returns their names."""
        return [child.name for child in self._children if child.ensure_running()]

    def kill(self, name: str) -> None:
        """SIGKILL one service; :meth:`ensure_running` starts it again."""
        for child in self._children:
            if child.name == name:
                child.kill()

    def running(self) -> list[str]:
        """Ids of the jobs that run in slots of ours; none if that cannot be asked."""
        (launcher,) = (child for child in self._children if child.name == "workers")
        try:
            with connect(self.settings.redis_location, retries=0) as redis:
                store, ours = open_job_store(redis, self.settings), _slots_of(launcher, redis)
                mine = (job for job in store.jobs(store.occupying()) if job.slot in ours)
                return [job.job_id for job in mine if job.status == JobStatus.RUNNING]
        except (RedisError, psutil.Error):
            return []

    def stop(self) -> None:
        """Stop everything: what works first and side by side, then what it reports to."""
        timeout_s = self.settings.stop_timeout_seconds + 20
        for child in self._children:
            if child.name not in ("redis", "backend"):
                child.terminate()
        for child in reversed(self._children):
            child.stop(timeout_s)
        self._children = []

    def _start(self) -> None:
        keep_private()
        check_limits()
        make_folder(self.log_dir)
        if self.settings.redis_url is None:
            url_file = self.settings.embedded_redis_url_file
            before = _written_at(url_file)  # a crash may have left one behind
            redis = self._launch("redis", python_module("trainyard.local.embedded_redis"))
            self._wait(redis, lambda: _written_at(url_file) not in (None, before))
            for line in redis.recent_output().splitlines():
                if "embedded redis WARNING" in line:
                    logger.warning(line)
        for warning in check(self.settings.redis_location):
            logger.warning(warning)
        if self.ports.backend is not None:
            self._launch("backend", self._backend_command())
        self._launch("bridge", python_module("backend_bridge.server"))
        self._launch("workers", python_module("worker.launcher"))
        self._launch("flower", self._flower_command())

    def wait(self) -> None:
        """Wait until every service answers. Raises ServiceDied."""
        launched = {child.name: child for child in self._children}
        ready = {
            "backend": lambda: _answers(f"{self.backend_url}/health"),
            "bridge": lambda: _answers(f"{self.bridge_url}/health/ready"),
            "workers": lambda: self._have_slots(launched["workers"]),
            "flower": lambda: _answers(f"{self.flower_url}/healthcheck"),
        }
        for name, child in launched.items():
            if name in ready:
                self._wait(child, ready[name])

    def _have_slots(self, launcher: ChildProcess) -> bool:
        """Whether a worker of ours takes jobs. One of another yard over the same Redis may have the
        slot's name."""
        try:
            with connect(self.settings.redis_location, retries=0) as redis:
                alive = SlotRegistry(redis).names_alive()
                return not _slots_of(launcher, redis).isdisjoint(alive)
        except RedisError:
            return False

    def _launch(self, name: str, command: list[str]) -> ChildProcess:
        log_file = self.log_dir / f"{name}.log"
        mine = os.environ if name in _FETCHING else without_others_secrets(os.environ)
        environ = {**mine, **self.environment}
        child = ChildProcess(name, command, environ=environ, log_file=log_file)
        child.start()
        self._children.append(child)
        return child

    @property
    def log_dir(self) -> Path:
        """Where the services' own logs lie."""
        return self.settings.trainyard_home / "logs"

    def _wait(self, child: ChildProcess, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if child.pid is None or time.monotonic() > deadline:
                raise ServiceDied(f"{child.name} did not start:\n{child.recent_output()}")
            time.sleep(0.05)

    def _backend_command(self) -> list[str]:
        database = self.settings.trainyard_home / "dev_backend" / "backend.sqlite3"
        database.parent.mkdir(parents=True, exist_ok=True)
        return python_module(
            "backend_bridge.dev_backend",
            *("--host", LOOPBACK, "--port", str(self.ports.backend)),
            *("--database", str(database), "--bridge-url", self.bridge_url),
        )

    def _flower_command(self) -> list[str]:
        celery = Path(sys.executable).with_name("celery")
        command = [sys.executable, str(celery), "-A", "worker.app", "flower"]
        # It reads our settings itself: `ps` shows command lines, and it needs a password.
        found = find_spec("flowerconfig")
        assert found is not None, "it is installed beside this package"
        command.append(f"--conf={found.origin}")
        return [*command, f"--address={LOOPBACK}", f"--port={self.ports.flower}"]


def process_of(home: Path, port: int) -> int | None:
    """The `trainyard up` of ``home`` that has ``port``: a service of its writes its log there."""
    try:
        service = listener(port)
        logs = home.resolve() / "logs"
        if service and any(Path(file.path).parent == logs for file in service.open_files()):
            return service.ppid()
    except psutil.Error as error:
        logger.debug("whose service has port %d: %s", port, error)
    return None


def _slots_of(launcher: ChildProcess, redis: Redis) -> set[str]:
    """Names of the slots that its workers hold."""
    if launcher.pid is None:
        return set()
    ours, host = {one.pid for one in psutil.Process(launcher.pid).children()}, gethostname()
    holders = SlotLeases(redis).holders()
    return {name for name, one in holders.items() if one.host == host and one.pid in ours}


def _written_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _answers(url: str) -> bool:
    try:
        return call("GET", url, timeout_s=2).ok
    except requests.RequestException:
        return False
