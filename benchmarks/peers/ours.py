"""Trainyard, as the scenarios ask it: the whole stack, with one slot."""

from __future__ import annotations

import secrets
import shutil
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from benchmarks.lifecycle import Bench, bench
from benchmarks.peers.processes import RUN_VARIABLE, end_run
from benchmarks.peers.system import Backend, Call, Sources
from benchmarks.plain import ALL_ROWS, ONE_THREAD, QUIET, SETTINGS

LEASE_S = 5


class Trainyard:
    """``jobs``: those that it will get; their rows stand at the backend before a clock runs."""

    name = "Trainyard"
    lacks: frozenset[Call] = frozenset()

    def __init__(self, sources: Sources, jobs: tuple[str, ...]) -> None:
        self._sources = sources
        self._names = jobs
        self._run = secrets.token_hex(8)
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self._closing.callback(end_run, self._run)
        settings = {"LEASE_SECONDS": str(LEASE_S), RUN_VARIABLE: self._run}
        try:
            self._on: Bench = self._closing.enter_context(bench(**ONE_THREAD, **settings))
            stack = self._on.stack
            shutil.copytree(self._sources.model, stack.models / "small")
            shutil.copy(self._sources.rows, stack.datasets)
            for job in self._names:
                stack.backend.create_job(job, f"token-of-{job}")
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

    def submit(self, job: str, steps: int) -> None:
        stack = self._on.stack
        body = stack.body(
            job,
            job_token=f"token-of-{job}",
            steps=steps,
            model="small",
            dataset=self._sources.rows.name,
            training={**SETTINGS, **QUIET},
            data=ALL_ROWS,
        )
        stack.bridge.start(body)

    def cancel(self, job: str) -> None:
        self._on.stack.bridge.cancel(job, force=True)

    def says(self, job: str) -> str:
        return str(self._on.stack.bridge.status(job)["status"])

    def pause(self, job: str) -> None:
        self._on.stack.bridge.pause(job)
        self._on.wait_status(job, "paused")

    def resume(self, job: str) -> None:
        self._on.stack.bridge.resume(job)

    def use_backend(self, backend: Backend) -> None:
        if backend == "slow":
            self._on.stack.backend.add_fault(latency_s=5.0, times=None)
        else:
            self._on.stack.backend.stop(keep=True)

    def steps(self, job: str) -> list[tuple[float, int]]:
        return self._on.steps(job)

    def attempts(self, job: str) -> int:
        """Of those that have begun to train."""
        found = self._on.stack.store.get(job)
        assert found is not None
        return found.attempt if found.status == "running" else found.attempt - 1

    def wait_end(self, job: str) -> None:
        self._on.wait_status(job, "completed")

    def processes(self, job: str) -> list[int]:
        return [process.pid for process in self._on.stack.training_processes()]

    def training_pid(self, job: str) -> int:
        return self._on.stack.training_process().pid

    def main_pid(self) -> int:
        pid = self._on.stack.workers[0].pid
        assert pid is not None
        return pid

    def start_again(self) -> None:
        for worker in self._on.stack.workers:
            if worker.pid is None:
                worker.start()
