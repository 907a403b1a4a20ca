"""Peers: queues whose worker calls ``training_job.run``, and the bare script."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.peers.desk_client import DeskClient, DeskFailed, last_line
from benchmarks.peers.processes import RUN_VARIABLE, end_run, marked
from benchmarks.peers.system import ROOT, Backend, Call, PlainJobs, Sources
from benchmarks.plain import ONE_THREAD
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.scripted_backend import Reply, ScriptedBackend
from tests.support.stack import kill
from tests.support.waiting import wait_for

PYTHON = ROOT / ".venv-peers" / "bin" / "python"
_REPORTS = "/api/training/local/peer/metrics"


@dataclass(frozen=True)
class Kind:
    """How a peer is started. ``worker``: arguments of its interpreter; none where the desk is all.
    ``main``: the name of its main process where that is no child of ours."""

    name: str
    desk: str
    worker: Sequence[str] = ()
    main: str = ""
    lacks: frozenset[Call] = frozenset({"pause"})
    own_environment: bool = True


_DRAMATIQ = "benchmarks.peers.dramatiq_desk"
_CELERY = "benchmarks.peers.celery_desk"
KINDS = (
    Kind(
        "Celery",
        _CELERY,
        ["-m", "celery", "-A", _CELERY, "worker", "-P", "prefork", "-c", "1", "-l", "WARNING"],
        own_environment=False,
    ),
    Kind("RQ", "benchmarks.peers.rq_desk", ["-m", "benchmarks.peers.rq_desk", "worker"]),
    Kind(
        "dramatiq",
        _DRAMATIQ,
        f"-m dramatiq {_DRAMATIQ} benchmarks.peers.training_job -p 1 -t 1".split(),
        lacks=frozenset({"pause", "cancel", "says"}),
    ),
    Kind("Ray", "benchmarks.peers.ray_desk", main="raylet"),
)


class Plain:
    """What the peers and the bare script have in common: jobs, backends, an environment."""

    name: str
    lacks: frozenset[Call]

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._run = secrets.token_hex(8)
        self._closing = ExitStack()
        self._reports_to = ""

    def __enter__(self) -> Self:
        self._closing.callback(end_run, self._run)
        try:
            self._jobs = PlainJobs(self._sources)
            self._closing.callback(self._jobs.remove)
            self._closing.callback(end_run, self._run)  # before its folder goes
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.close()

    def _start(self) -> None:
        pass

    def _environment(self, **more: str) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            **ONE_THREAD,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "PEERS_FOLDER": str(self._jobs.folder),
            RUN_VARIABLE: self._run,
            **more,
        }

    def use_backend(self, backend: Backend) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        if backend == "slow":
            answer = Reply(delay_s=5.0)
            url = self._closing.enter_context(ScriptedBackend(lambda _: answer)).url
        self._reports_to = url + _REPORTS

    def steps(self, job: str) -> list[tuple[float, int]]:
        return self._jobs.steps(job)

    def attempts(self, job: str) -> int:
        return len(self._jobs.attempts(job))

    def wait_end(self, job: str) -> None:
        self._jobs.wait_end(job)

    def processes(self, job: str) -> list[int]:
        return self._jobs.processes(job)

    def training_pid(self, job: str) -> int:
        return self._jobs.attempts(job)[-1]

    def pause(self, job: str) -> None:
        raise NotImplementedError

    resume = pause


class BareScript(Plain):
    """The training as a program of its own; who started it ends it with SIGKILL."""

    name = "bare script"
    lacks: frozenset[Call] = frozenset({"pause", "worker"})

    def _start(self) -> None:
        self._scripts: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, job: str, steps: int) -> None:
        path = self._jobs.folder / f"{job}.json"
        path.write_text(json.dumps(self._jobs.specification(job, steps, self._reports_to)))
        with (self._jobs.folder / "scripts.log").open("ab") as log:
            self._scripts[job] = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.training_job", str(path)],
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def cancel(self, job: str) -> None:
        kill(self._scripts[job].pid)

    def says(self, job: str) -> str:
        code = self._scripts[job].poll()
        return "running" if code is None else f"failed (exit code {code})" if code else "completed"

    def main_pid(self) -> int:
        raise NotImplementedError

    def start_again(self) -> None:
        pass


class Peer(Plain):
    """A queue with one worker, and its desk."""

    def __init__(self, kind: Kind, sources: Sources) -> None:
        super().__init__(sources)
        self.name, self.lacks = kind.name, kind.lacks
        self._kind = kind
        self._worker: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        self._python = PYTHON if self._kind.own_environment else Path(sys.executable)
        if not self._python.exists():
            missing = self._python.relative_to(ROOT)
            raise DeskFailed(f"there is no {missing}: make bench-peers makes it")
        redis = self._closing.enter_context(RedisServer())
        self._closing.callback(end_run, self._run)  # before its Redis goes
        self._with_redis = self._environment(PEERS_REDIS=redis.url)
        self._desk = self._new_desk()
        self._closing.callback(self._close_desk)
        self._desk.call("ready")  # a library that is not there says so at once
        self._start_worker()
        wait_for("its worker is ready", self._ready)

    def _close_desk(self) -> None:
        self._desk.close()  # whichever it is by then

    def _new_desk(self) -> DeskClient:
        log = self._jobs.folder / "desk.log"
        return DeskClient([str(self._python), "-m", self._kind.desk], self._with_redis, log)

    def _start_worker(self) -> None:
        if not self._kind.worker:
            return
        with (self._jobs.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [str(self._python), *self._kind.worker],
                cwd=ROOT,
                env=self._with_redis,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _ready(self) -> bool:
        if self._worker is not None and self._worker.poll() is not None:
            raise DeskFailed(last_line(self._jobs.folder / "worker.log"))
        return bool(self._desk.call("ready"))

    def submit(self, job: str, steps: int) -> None:
        self._desk.call("submit", self._jobs.specification(job, steps, self._reports_to))

    def cancel(self, job: str) -> None:
        self._desk.call("cancel", job)

    def says(self, job: str) -> str:
        return str(self._desk.call("says", job))

    def main_pid(self) -> int:
        if self._worker is not None:
            return self._worker.pid
        names = {pid: Path(f"/proc/{pid}/comm") for pid in marked(RUN_VARIABLE, self._run)}
        return next(p for p, comm in names.items() if comm.read_text().strip() == self._kind.main)

    def start_again(self) -> None:
        if self._worker is not None and self._worker.poll() is not None:
            self._start_worker()
        if not self._desk.alive:
            self._desk.close()
            self._desk = self._new_desk()
