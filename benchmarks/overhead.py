"""Overhead: what reporting costs a training, and the worker beside a bare script.

overhead                 steps per second of a job through the worker; against the same Trainer in
                         a bare script
overhead_chatty          the same, printing 1,000 lines a second; against the same job with
                         reporting off, printing the same
overhead_slow_backend    that, and the backend takes 5 s for each answer
overhead_dead_backend    that, and no backend is there

Torch has one thread on each side, and the tokens of a step are the same. With reporting off the job
is forked from a slot process of the same kind and runs through the same code (keeper, preparation
of the data, trainer, checks of a step), but no supervisor, courier or Redis serves it: its reporter
does nothing, its events go nowhere, and what it prints goes into a file.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil

from benchmarks.lifecycle import Bench, bench
from benchmarks.measure import Measure, Target
from benchmarks.plain import (
    ALL_ROWS,
    QUIET,
    SETTINGS,
    imported,
    specification,
    steps_in,
    train_in_fork,
)
from tests.support.models import make_tiny_model
from tests.support.stack import write_rows
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess, python_module
from trainyard.contract.events import TrainingSpec
from trainyard.contract.names import attempt_id
from worker.slot_process.client import start_attempt, wait_gone

_WARM_UP = 10
_SETTLE_S, _SLICE_S, _SLICES = 0.3, 0.7, 4
_ROUNDS, _ROUNDS_FULL = 16, 60
_LINES_PER_S = 1000
_END_S = 30.0
_ROWS = "bench.jsonl"

MakeArm = Callable[[str], AbstractContextManager["Arm"]]
"""From a job's name to a training that has warmed up and stands still."""


def make_model(folder: Path) -> Path:
    """A Llama of 5M parameters, whose steps take long enough to be training, not overhead."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tiny_model(folder)
    config = LlamaConfig.from_pretrained(folder)
    config.update({"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6})
    config.head_dim = config.hidden_size // config.num_attention_heads
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


# ---------------------------------------------------------------- the rows


def overhead(full: bool = False) -> list[Measure]:
    return _overhead("overhead", full, _bare_script, "the same Trainer in a bare script", 0)


def overhead_chatty(full: bool = False) -> list[Measure]:
    return _reporting("overhead_chatty", full)


def overhead_slow_backend(full: bool = False) -> list[Measure]:
    def slow(on: Bench) -> None:
        on.stack.backend.add_fault(latency_s=5.0, times=None)

    return _reporting("overhead_slow_backend", full, slow)


def overhead_dead_backend(full: bool = False) -> list[Measure]:
    def dead(on: Bench) -> None:
        on.stack.backend.stop(keep=True)

    return _reporting("overhead_dead_backend", full, dead)


def _reporting(
    name: str, full: bool, disturb: Callable[[Bench], None] | None = None
) -> list[Measure]:
    baseline = "the same job with reporting off, printing the same"
    return _overhead(name, full, _reporting_off, baseline, _LINES_PER_S, disturb)


def _overhead(
    name: str,
    full: bool,
    baseline: Callable[[Bench, int], AbstractContextManager[MakeArm]],
    baseline_name: str,
    lines_per_s: int,
    disturb: Callable[[Bench], None] | None = None,
) -> list[Measure]:
    """Rounds of a training through the worker and one of the baseline, in slices, in turns.

    On a shared machine the speed of the same script drifts by a tenth from one ten seconds to the
    next. So both live at once, and one of them is stopped (SIGSTOP) while the other goes on: with
    the training through the worker all that serves it, Redis too. Which comes first alternates. A
    round, with new processes, is one pair of values.
    """
    ours, theirs = list[float](), list[float]()
    rounds = _ROUNDS_FULL if full else _ROUNDS
    settings = {"OMP_NUM_THREADS": "1", "BENCH_LINES_PER_S": str(lines_per_s)}
    with bench(LEASE_SECONDS="60", **settings) as on, baseline(on, lines_per_s) as other:
        make_model(on.stack.models / "small")
        write_rows(on.stack.datasets / _ROWS, 400)
        for number in range(rounds):
            on.stack.backend.create_job(f"long-{number}", f"token-of-long-{number}")
        if disturb:
            disturb(on)
        for number in range(rounds):
            job_id = f"long-{number}"
            with _through_the_worker(on, job_id) as our_arm, other(job_id) as other_arm:
                for turn in range(_SLICES):
                    for arm in (our_arm, other_arm) if turn % 2 else (other_arm, our_arm):
                        arm.run_for(_SLICE_S)
            ours.append(our_arm.steps_per_s)
            theirs.append(other_arm.steps_per_s)
    return [Measure(name, "steps/s", ours, theirs, baseline_name, Target("ratio", ">=", 0.98))]


# ---------------------------------------------------------------- the arms


class Arm:
    """A training that stands still but for its slices."""

    def __init__(
        self, processes: list[psutil.Process], steps: Callable[[], list[tuple[float, int]]]
    ) -> None:
        self._processes = processes
        self._steps = steps
        self._made, self._seconds = 0, 0.0
        wait_for("it has warmed up", lambda: len(steps()) >= _WARM_UP)
        self._stop()

    def run_for(self, seconds: float) -> None:
        """One slice: the steps that lie in it whole count, without those of the first moments, in
        which whatever waited for the processes is done."""
        self.go_on()
        time.sleep(_SETTLE_S)
        begin = time.monotonic()
        time.sleep(seconds)
        self._stop()
        ends = [at for at, _ in self._steps() if at > begin]
        self._made += len(ends) - 1
        self._seconds += ends[-1] - ends[0]

    @property
    def steps_per_s(self) -> float:
        """Of all slices so far."""
        return self._made / self._seconds

    def go_on(self) -> None:
        for process in self._processes:
            process.resume()

    def _stop(self) -> None:
        for process in self._processes:
            process.suspend()


@contextmanager
def _through_the_worker(on: Bench, job_id: str) -> Iterator[Arm]:
    body = on.stack.body(
        job_id,
        job_token=f"token-of-{job_id}",
        steps=1_000_000,
        model="small",
        dataset=_ROWS,
        training={**SETTINGS, **QUIET},
        data=ALL_ROWS,
    )
    on.stack.bridge.start(body)
    wait_for("it trains", lambda: on.steps(job_id))
    redis = psutil.Process(on.stack.redis_server.pid)
    arm = Arm([*on.stack.processes(), redis], lambda: on.steps(job_id))
    try:
        yield arm
    finally:
        arm.go_on()
    on.end(job_id)


@contextmanager
def _bare_script(on: Bench, lines_per_s: int) -> Iterator[MakeArm]:
    with imported() as fork:

        @contextmanager
        def arm(_: str) -> Iterator[Arm]:
            model, rows = on.stack.models / "small", on.stack.datasets / _ROWS
            with specification(model, rows, 1_000_000, lines_per_s) as (spec, steps):
                train_in_fork(fork, spec)
                wait_for("it trains", lambda: steps_in(steps))
                training = psutil.Process(fork.pid).children()
                try:
                    yield Arm(training, lambda: steps_in(steps))
                finally:
                    for process in training:
                        process.kill()

        yield arm


@contextmanager
def _reporting_off(on: Bench, _: int) -> Iterator[MakeArm]:
    """A slot process as the worker's, whose trainings tell nobody anything."""
    environment = {**os.environ, **on.stack.environment, "BENCH_REPORTING": "off"}
    del environment["TRAINYARD_HOME"]  # by which the processes of the other arm are found
    socket_name = f"trainyard-bench-{os.getpid()}"
    command = python_module("worker.slot_process", "--socket", socket_name)
    slot = ChildProcess("slot process", command, environ=environment)
    slot.start()

    @contextmanager
    def arm(job_id: str) -> Iterator[Arm]:
        folder = on.stack.home / "off" / job_id
        folder.mkdir(parents=True)
        shutil.copy(on.stack.home / "jobs" / job_id / "request.json", folder)
        spec = TrainingSpec(
            job_id=f"off-{job_id}",
            attempt=1,
            slot="bench",
            job_dir=str(folder),
            cache_dir=str(on.stack.home / "cache"),
            dataset_roots=[str(on.stack.datasets)],
            model_roots=[str(on.stack.models)],
        )
        attempt = attempt_id(spec.job_id, spec.attempt)
        with ExitStack() as stack:
            output = stack.enter_context((folder / "output.txt").open("w"))
            events, their_events = socket.socketpair()
            stack.enter_context(events)
            keeper = stack.enter_context(
                start_attempt(
                    socket_name,
                    attempt,
                    {"TRAINYARD_JOB_ID": spec.job_id},
                    their_events.fileno(),
                    timeout_s=_END_S,
                )
            )
            their_events.close()
            events.sendall(spec.model_dump_json().encode() + b"\n")
            wait_for("it has started", keeper.read_messages)
            reader = subprocess.Popen(["cat"], stdin=keeper.output, stdout=output)
            stack.enter_context(reader)
            wait_for("it trains", lambda: on.steps(spec.job_id))
            processes = psutil.Process(slot.pid).children(recursive=True)
            training = Arm(processes, lambda: on.steps(spec.job_id))
            try:
                yield training
            finally:
                training.go_on()
                keeper.kill()
        assert wait_gone(socket_name, attempt, _END_S)

    try:
        yield arm
    finally:
        slot.stop(_END_S)
