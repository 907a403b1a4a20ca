"""Self-test, ``trainyard selftest``: the promises, tried on this device with a tiny model.

Everything is real: services, processes, signals, the training. Each promise has a job of its own
on the same data with the same seed, so that whatever happens to it on the way, its model must be
the same to the bit as that of the job that nobody disturbed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from trainyard.client import BridgeClient
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.job_folder import MODEL
from trainyard.contract.statuses import TERMINAL
from trainyard.local.backend_row import BackendError, create_row, stored
from trainyard.local.services import Services
from trainyard.local.throwaway import api_key, free_service_ports, private_environment, run_script
from trainyard.settings import settings

STEPS, SAVE_EVERY = 60, 10
ROWS = 240
WAIT_S = 180.0
POLL_S = 0.1


class PromiseBroken(TrainyardError):
    """What was promised is not so; the text says what was found."""


@dataclass(frozen=True)
class TriedPromise:
    """``reason`` is "" if the promise holds."""

    promise: str
    reason: str
    seconds: float

    @property
    def holds(self) -> bool:
        return not self.reason

    def as_dict(self) -> dict[str, Any]:
        seconds = round(self.seconds, 1)
        return {
            "promise": self.promise,
            "holds": self.holds,
            "reason": self.reason,
            "seconds": seconds,
        }


def run() -> Iterator[TriedPromise]:
    """Start a yard, try each promise, stop the yard. Yields each verdict as it falls.

    Raises TrainyardError if the services do not start or the model cannot be made.
    """
    home = settings().trainyard_home / "selftest"
    shutil.rmtree(home, ignore_errors=True)  # a self-test that was killed may have left it
    try:
        dataset, model = _materials(home)
        environment = private_environment(home, dataset, str(model))
        with Services(free_service_ports(), environment) as services:
            client = BridgeClient(services.bridge_url, api_key())
            try:
                yield from Trial(services, client, dataset, model).verdicts()
            finally:
                client.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _materials(home: Path) -> tuple[Path, Path]:
    home.mkdir(parents=True)
    dataset, model = home / "sums.jsonl", home / "model"
    rows = (
        {"prompt": f"What is {n} plus {n + 1}?", "completion": str(2 * n + 1)} for n in range(ROWS)
    )
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_script("tiny_model", "--dataset", str(dataset), "--out", str(model))
    return dataset, model


class Trial:
    """Every promise is a method whose docstring is the promise; it raises PromiseBroken."""

    def __init__(
        self, services: Services, client: BridgeClient, dataset: Path, model: Path
    ) -> None:
        self.services, self.client = services, client
        self.dataset, self.model = dataset, model
        self.undisturbed = ""

    def verdicts(self) -> Iterator[TriedPromise]:
        for check in (
            self.completes,
            self.pauses,
            self.survives_a_kill,
            self.cut_off,
            self.cancels,
        ):
            yield self._tried(check)

    def _tried(self, check: Callable[[], None]) -> TriedPromise:
        started, reason = time.monotonic(), ""
        try:
            check()
        except TrainyardError as error:
            reason = str(error)
        return TriedPromise((check.__doc__ or "").strip(), reason, time.monotonic() - started)

    # ------------------------------------------------------------ the promises

    def completes(self) -> None:
        """A job completes, and the backend has heard everything, once and in order"""
        job_id = self._submit("plain")
        self._wait(job_id, "completed")
        self._backend_has_all(job_id)
        self.undisturbed = self._weights(job_id)

    def pauses(self) -> None:
        """A paused job has a checkpoint, and goes on to the same model to the bit"""
        job_id = self._submit("pause")
        self._wait_for_step(job_id, 3)
        self.client.pause(job_id)
        job = self._wait(job_id, "paused")
        _expect(job["current_step"] < STEPS, "it was not paused before its end")
        written = self.client.checkpoints(job_id)["checkpoints"]
        _expect(any(item["is_latest"] for item in written), "it was paused without a checkpoint")
        self.client.resume(job_id)
        self._completes_unharmed(job_id)

    def survives_a_kill(self) -> None:
        """A job whose training is killed goes on by itself, from its checkpoint"""
        job_id = self._submit("kill")
        self._wait_for_step(job_id, SAVE_EVERY + 1)
        os.kill(self._training().pid, signal.SIGKILL)
        job = self._completes_unharmed(job_id)
        _expect(job["restarts"] == 1, f"it was started again {job['restarts']} times, not once")

    def cut_off(self) -> None:
        """While the backend is away the training goes on, and then the backend hears everything"""
        job_id = self._submit("cut-off")
        self._wait_for_step(job_id, 3)
        self.services.kill("backend")
        self._wait(job_id, "completed")
        _until("the backend is back", lambda: "backend" in self.services.ensure_running())
        self._completes_unharmed(job_id)

    def cancels(self) -> None:
        """A job that is cancelled by force leaves no process"""
        job_id = self._submit("cancel")
        self._wait_for_step(job_id, 3)
        training = self._training()
        self.client.cancel(job_id, force=True)
        self._wait(job_id, "cancelled")
        _expect(not training.is_running(), f"its process {training.pid} is still there")
        _until("the backend has heard it", lambda: self._stored(job_id)["status"] == "cancelled")

    # ------------------------------------------------------------ how they are seen

    def _submit(self, name: str) -> str:
        job_id = f"selftest-{name}"
        training = {
            "max_steps": STEPS,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "max_length": 64,
            "logging_steps": 5,
            "save_strategy": "steps",
            "save_steps": SAVE_EVERY,
        }
        body = {
            "config": {"model": {"name": str(self.model)}, "training": training, "seed": 7},
            "dataset_path": str(self.dataset),
            "execution_id": job_id,
            "name": name,
            "job_token": secrets.token_urlsafe(32),
        }
        create_row(self.services.backend_url, body)
        self.client.start(body)
        return job_id

    def _completes_unharmed(self, job_id: str) -> dict[str, Any]:
        job = self._wait(job_id, "completed")
        self._backend_has_all(job_id)
        same = self._weights(job_id) == self.undisturbed
        _expect(same, "its model is not that of the job that nobody disturbed")
        return job

    def _wait(self, job_id: str, status: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            job = self.client.status(job_id)
            if job["status"] in TERMINAL and job["status"] != status:
                raise PromiseBroken(f"it is {job['status']}, not {status}: {job['error']}")
            return job if job["status"] == status else None

        found: dict[str, Any] = _until(f"it is {status}", reached)
        return found

    def _wait_for_step(self, job_id: str, step: int) -> None:
        def reached() -> bool:
            job = self.client.status(job_id)
            if job["status"] in TERMINAL:
                raise PromiseBroken(f"it is {job['status']} already: {job['error']}")
            return (job["current_step"] or 0) >= step

        _until(f"it makes step {step}", reached)

    def _backend_has_all(self, job_id: str) -> None:
        """Its end, and the very log lines and metric points that the bridge has.

        Statuses, metrics and log lines arrive in lanes of their own, none before another.
        """
        _until("the backend has its end", lambda: self._stored(job_id)["status"] in TERMINAL)
        lines = self.client.logs(job_id, limit=100_000, offset=0)["logs"]
        points = [point["step"] for point in self.client.metrics(job_id)]
        _until(
            f"the backend has {len(lines)} log lines",
            lambda: self._stored(job_id, "logs?limit=100000")["logs"] == lines,
        )
        _until(
            f"the backend has {len(points)} metric points",
            lambda: [p["step"] for p in self._stored(job_id, "metrics")["metrics"]] == points,
        )

    def _stored(self, job_id: str, what: str = "status") -> dict[str, Any]:
        try:
            return stored(self.services.backend_url, job_id, what)
        except BackendError:
            return {"status": "", "logs": [], "metrics": []}  # it starts again just now

    def _weights(self, job_id: str) -> str:
        folder = self.services.settings.job_dir(job_id) / MODEL
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _training(self) -> psutil.Process:
        """The process that trains: a child of the keeper, which is one of the slot process."""
        for process in psutil.Process().children(recursive=True):
            if _is_slot_process(process):
                for keeper in process.children():
                    for training in keeper.children():
                        return training
        raise PromiseBroken("no training process was found")


def _is_slot_process(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        ours = "worker.slot_process" in process.cmdline()
        return ours and parent is not None and "worker.slot_process" not in parent.cmdline()
    except psutil.NoSuchProcess:
        return False


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise PromiseBroken(otherwise)


def _until(what: str, condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        _expect(time.monotonic() < deadline, f"waited {WAIT_S:.0f} s in vain: {what}")
        time.sleep(POLL_S)
    return found
