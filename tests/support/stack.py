"""Every service as a real process, for acceptance tests: Redis, backend, bridge, workers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from redis import Redis

from tests.support.dev_backend import FaultyBackend
from tests.support.models import make_tiny_model
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.store_calls import job_store
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import WAIT_S, wait_for
from trainyard.child_process import ChildProcess, python_module
from trainyard.client import BridgeClient
from trainyard.scheduling.slots import SlotRegistry

TERMINAL = ("completed", "failed", "cancelled")


class Stack:
    """Redis, development backend, bridge and one worker a slot, on free ports in a temp folder.

    ``separate_homes``: each worker has a TRAINYARD_HOME of its own, as on hosts that share nothing
    but Redis. ``separate_networks``: each worker reaches Redis through one of ``networks``, and the
    bridge through the last of them, which a test can cut. ``within``: the folder for all its files.
    ``redis_environment`` is for Redis, ``settings`` are environment variables of all others.
    A context manager; leaving it checks that no process is left.
    """

    def __init__(
        self,
        *,
        slots: int = 1,
        separate_homes: bool = False,
        separate_networks: bool = False,
        within: Path | None = None,
        redis_environment: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="trainyard-stack-", dir=within)
        self.home = Path(self._folder.name)
        self.datasets = self.home / "datasets"
        self.models = self.home / "models"
        self.datasets.mkdir()
        self.models.mkdir()
        self.redis_server = RedisServer(
            append_only=True, requirepass="stack-password", environment=redis_environment
        ).__enter__()
        cables = slots + 1 if separate_networks else 0
        self.networks = [TcpProxy(self.redis_server.port).__enter__() for _ in range(cables)]
        self.port = free_port()
        self.backend = FaultyBackend(bridge_url=f"http://127.0.0.1:{self.port}")
        self.environment = {
            "REDIS_URL": self.redis_server.url,
            "BACKEND_URL": self.backend.url,
            "BRIDGE_PORT": str(self.port),
            "TRAINYARD_HOME": str(self.home),
            "TRAINYARD_HOST": "test",
            "DATASET_ROOTS": str(self.datasets),
            "MODEL_ROOTS": str(self.models),
            "LEASE_SECONDS": "4",
            "CANCEL_GRACE_SECONDS": "20",
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        self.slots = slots
        self.separate_homes = separate_homes
        self.bridge_process = self._child(
            "bridge", python_module("backend_bridge.server"), REDIS_URL=self._redis_url(-1)
        )
        self.workers = [self._worker(number) for number in range(slots)]
        self.bridge = BridgeClient(f"http://127.0.0.1:{self.port}")
        self.redis = Redis.from_url(self.redis_server.url, decode_responses=True)
        self.store = job_store(self.redis)

    def _child(self, name: str, command: list[str], **environment: str) -> ChildProcess:
        return ChildProcess(
            name,
            command,
            env={**self.environment, **environment},
            log_file=self.home / f"{name}.log",
        )

    def _worker(self, number: int) -> ChildProcess:
        slot = f"test-{number}"
        # As documented; where packages lie in a folder beside the interpreter there is no script.
        celery = Path(sys.executable).with_name("celery")
        program = [str(celery)] if celery.exists() else ["-m", "celery"]
        command = [sys.executable, *program, "-A", "worker.app", "worker"]
        command += ["-Q", f"gpu,gpu.{slot}", "-c", "1", "-n", f"{slot}@%h", "-l", "INFO"]
        command += ["--without-mingle", "--without-gossip"]
        return self._child(
            f"worker-{number}",
            command,
            TRAINYARD_SLOT=slot,
            TRAINYARD_HOME=str(self.home_of(number)),
            REDIS_URL=self._redis_url(number),
        )

    def _redis_url(self, number: int) -> str:
        port = self.networks[number].own_port if self.networks else self.redis_server.port
        return self.redis_server.url.replace(f":{self.redis_server.port}/", f":{port}/")

    def home_of(self, number: int) -> Path:
        """The TRAINYARD_HOME of one worker."""
        return self.home / f"host-{number}" if self.separate_homes else self.home

    def __enter__(self) -> Self:
        try:
            make_tiny_model(self.models / "tiny")
            write_rows(self.datasets / "sums.jsonl", 64)
            self.bridge_process.start()
            for worker in self.workers:
                worker.start()
            wait_for("the slots are alive", self._all_alive)
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

    def _all_alive(self) -> bool:
        alive = self.slots_alive() == self.slots
        return alive and self.bridge_process.pid is not None and self.bridge_answers()

    def slots_alive(self) -> int:
        """How many slots take jobs."""
        return len(SlotRegistry(self.redis).alive())

    def bridge_answers(self) -> bool:
        """Whether it takes requests."""
        try:
            return bool(self.bridge._call("GET", "/health/ready")["status"] == "ok")
        except Exception:
            return False

    def stop(self) -> None:
        """End every process and remove the folder."""
        for child in (*self.workers, self.bridge_process):
            child.stop(30)
        self.bridge.close()
        self.redis.close()
        self.backend.stop()
        for network in self.networks:
            network.__exit__(None, None, None)
        self.redis_server.__exit__(None, None, None)
        left = self.processes()
        for process in left:
            process.kill()
        self._folder.cleanup()
        assert not left, f"processes were left: {left}"

    def come_to_rest(self) -> None:
        """Cancel every job that has not ended, and forget the backend's faults."""
        self.backend.clear_faults()
        for job in self.bridge.jobs():
            if job["status"] not in TERMINAL:
                self.bridge.cancel(job["job_id"], force=True)
                self.wait(job["job_id"])
        wait_for("nothing of a job is left", lambda: not self.training_processes())

    def processes(self) -> list[psutil.Process]:
        """Every living process that has this stack's folder in its environment, but us."""
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            ours = environment.get("TRAINYARD_HOME", "").startswith(str(self.home))
            if ours and process.pid != os.getpid():
                found.append(process)
        return found

    def kill_worker(self, number: int) -> None:
        """SIGKILL the main process of one worker."""
        pid = self.workers[number].pid
        assert pid is not None
        kill(pid)
        wait_for("the worker is dead", lambda: self.workers[number].pid is None)

    # ------------------------------------------------------------ jobs

    def submit(self, job_id: str, **options: Any) -> str:
        """Create the job at the backend, start it at the bridge; returns its token.

        ``options`` are those of :meth:`body`.
        """
        token = f"tok-{secrets.token_hex(8)}"
        body = self.body(job_id, **{"job_token": token, **options})
        self.backend.create_job(job_id, token, body["config"])
        self.bridge.start(body)
        return token

    def body(
        self,
        job_id: str,
        *,
        dataset: str = "sums.jsonl",
        model: str = "tiny",
        steps: int = 6,
        training: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        sections: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """The start request of a small job; ``fields`` are more of its top-level fields and
        ``sections`` more of its config's."""
        settings = {
            "method": "sft",
            "max_steps": steps,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "max_length": 64,
            "logging_steps": 2,
            "eval_strategy": "steps",
            "eval_steps": 4,
            "save_strategy": "steps",
            "save_steps": 4,
            **(training or {}),
        }
        split = {"train_split": 0.9, "eval_split": 0.1, **(data or {})}
        return {
            "config": {
                "model": {"name": model},
                "training": settings,
                "data": split,
                **(sections or {}),
            },
            "dataset_path": dataset,
            "execution_id": job_id,
            "name": job_id,
            "user_id": "u1",
            **fields,
        }

    def wait(self, job_id: str, *statuses: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Wait until the bridge says one of ``statuses`` (by default a terminal one)."""
        wanted = statuses or TERMINAL

        def reached() -> dict[str, Any] | None:
            job = self.bridge.status(job_id)
            wrong = job["status"] in TERMINAL and job["status"] not in wanted
            assert not wrong, f"{job_id} is {job['status']}: {job['error']}\n{self.log(job_id)}"
            return job if job["status"] in wanted else None

        found: dict[str, Any] = wait_for(f"{job_id} is {wanted}", reached, timeout_s)
        return found

    def wait_for_step(self, job_id: str, step: int) -> None:
        """Wait until a running job has done ``step`` optimizer steps."""
        wait_for(
            f"{job_id} reaches step {step}",
            lambda: (self.wait(job_id, "running", "queued")["current_step"] or 0) >= step,
        )

    def wait_delivered(self, job_id: str) -> None:
        """Wait until the backend has everything of the job."""
        wait_for(
            f"everything of {job_id} is delivered",
            lambda: self.redis.zscore("trainyard:undelivered", job_id) is None,
        )

    def log(self, job_id: str) -> str:
        """The job's complete log file."""
        path = self.home / "jobs" / job_id / "train.log"
        return path.read_text() if path.exists() else ""

    def training_processes(self) -> list[psutil.Process]:
        """Living keepers, trainings and whatever those started, on all slots.

        The services are our children (bridge, workers) and grandchildren (couriers, pool
        children, slot processes); everything else of this stack belongs to an attempt.
        """
        services = psutil.Process().children()
        services += [grandchild for child in services for grandchild in _children(child)]
        return [process for process in self.processes() if process not in services]

    def training_process(self, number: int = 0) -> psutil.Process:
        """The training (or generating) process of one slot: the child of the keeper, no probe."""

        def found() -> psutil.Process | None:
            for keeper in _children(psutil.Process(self.slot_process(number))):
                for process in _children(keeper):
                    if not _is_probe(process):
                        return process
            return None

        process: psutil.Process = wait_for("a training runs", found)
        return process

    def attempt_processes(self, kind: str) -> list[psutil.Process]:
        """Living processes of one kind, on all slots, parked ones too.

        ``kind``: ``pool child``, ``slot process``, ``courier`` (the bridge's as well), ``keeper``
        or ``training``.
        """
        if kind == "training":
            return [t for keeper in self.attempt_processes("keeper") for t in _children(keeper)]
        if kind == "keeper":
            return [k for slot in self.attempt_processes("slot process") for k in _children(slot)]
        services = psutil.Process().children()
        children = [child for service in services for child in _children(service)]
        return [child for child in children if _kind_of(_command_line(child)) == kind]

    def slot_sockets(self) -> list[str]:
        """Names of the sockets on which the slot processes listen."""
        names = {
            connection.laddr.removeprefix("@")
            for process in self.attempt_processes("slot process")
            for connection in process.net_connections("unix")
        }
        return sorted(name for name in names if name.startswith("trainyard-"))

    def worker_child(self, number: int) -> int:
        """Pid of the pool child of one worker."""
        return self._child_of_worker(number, "pool child")

    def slot_process(self, number: int) -> int:
        """Pid of the slot process of one worker."""
        return self._child_of_worker(number, "slot process")

    def _child_of_worker(self, number: int, kind: str) -> int:
        def found() -> int | None:
            for child in psutil.Process(self.workers[number].pid).children():
                if _kind_of(_command_line(child)) == kind:
                    return child.pid
            return None

        pid: int = wait_for(f"the {kind} of worker {number} runs", found)
        return pid


_MODULES = {"worker.slot_process": "slot process", "backend_bridge.courier": "courier"}


def _kind_of(command_line: str) -> str:
    """What a child of a service is; a pool child is a fork and looks like its parent."""
    found = (kind for module, kind in _MODULES.items() if module in command_line)
    return next(found, "pool child")


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _is_probe(process: psutil.Process) -> bool:
    """Whether it is a probe, or too young to tell: it has its keeper's name at first."""
    try:
        unsure = process.name() in ("ty-keeper", "ty-probe")
        return unsure or "tasks.probe" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return True


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def write_rows(path: Path, count: int) -> Path:
    """A data set of sums, as prompt and completion."""
    rows = (
        {"prompt": f"What is {n} plus {n + 1}?", "completion": str(2 * n + 1)} for n in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def kill(pid: int) -> None:
    """SIGKILL one process of ours."""
    os.kill(pid, signal.SIGKILL)
