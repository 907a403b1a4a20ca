"""System that runs trainings: what the scenarios ask of each, and what is the same for all."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from benchmarks.peers.processes import JOB_VARIABLE, marked
from benchmarks.plain import specification, steps_in
from tests.support.stack import write_rows
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60
ENDLESS = 1_000_000
Call = Literal["cancel", "says", "pause", "worker"]
Backend = Literal["slow", "away"]


class Sources:
    """Model and rows, made once for all systems."""

    def __init__(self, folder: Path) -> None:
        from benchmarks.overhead import make_model

        self.model = make_model(folder / "small")
        self.rows = write_rows(folder / "bench.jsonl", 400)


class System(Protocol):
    """A fresh start of one system, as a context manager: its worker waits for jobs inside.

    ``lacks``: what it has no call for (``worker``: it has no process of its own).
    """

    name: str
    lacks: frozenset[Call]

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def submit(self, job: str, steps: int) -> None:
        """Hand a job over; its name's beginning says what kind it is (``training_job.py``)."""

    def cancel(self, job: str) -> None:
        """Ask for its end, as forcefully as the system can."""

    def says(self, job: str) -> str:
        """The system's own word for its state."""

    def pause(self, job: str) -> None:
        """Ask for a pause, and wait until it is paused."""

    def resume(self, job: str) -> None:
        """Ask that it goes on."""

    def use_backend(self, backend: Backend) -> None:
        """From now on the backend takes 5 s to answer, or is away."""

    def steps(self, job: str) -> list[tuple[float, int]]:
        """(time, number) of each step made."""

    def attempts(self, job: str) -> int:
        """How often it was begun."""

    def wait_end(self, job: str) -> None:
        """Wait until it has trained to its end."""

    def processes(self, job: str) -> list[int]:
        """The training's process and all that it has started."""

    def training_pid(self, job: str) -> int:
        """The process that makes the steps."""

    def main_pid(self) -> int:
        """The worker's main process."""

    def start_again(self) -> None:
        """Start what has died of the system itself, as a service manager would."""


class PlainJobs:
    """Jobs of those that call ``training_job.run``: a folder, and what they leave there."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.folder = Path(tempfile.mkdtemp(prefix="peers-", dir="/tmp"))  # Ray's sockets: short

    def specification(self, job: str, steps: int, reports_to: str = "") -> dict[str, Any]:
        """What ``run`` takes."""
        model, rows = self._sources.model, self._sources.rows
        with specification(model, rows, steps) as (path, _):
            spec: dict[str, Any] = json.loads(path.read_text())
        files = {"output": f"{job}.output", "steps_file": f"{job}.steps"}
        files["attempts_file"] = f"{job}.attempts"
        paths = {key: str(self.folder / name) for key, name in files.items()}
        return {**spec, **paths, "name": job, "reports_to": reports_to}

    def steps(self, job: str) -> list[tuple[float, int]]:
        """(time, number) of each step made."""
        return steps_in(self.folder / f"{job}.steps")

    def attempts(self, job: str) -> list[int]:
        """Pid of each."""
        return [int(line) for line in self._attempts(job) if line != "ended"]

    def wait_end(self, job: str) -> None:
        """Wait until an attempt has ended by itself."""
        wait_for(f"{job} ends", lambda: "ended" in self._attempts(job))

    def processes(self, job: str) -> list[int]:
        """The last attempt's process and all that the job has started."""
        return sorted({*self.attempts(job)[-1:], *marked(JOB_VARIABLE, job)})

    def remove(self) -> None:
        """The folder, with what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _attempts(self, job: str) -> list[str]:
        path = self.folder / f"{job}.attempts"
        return path.read_text().splitlines() if path.exists() else []
