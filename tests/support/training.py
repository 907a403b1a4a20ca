"""Run the training process as its supervisor does, for tests."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tests.support.failing_disk import FailingDisk
from tests.support.faults import FAULTS
from tests.support.paths import REPOSITORY
from trainyard.contract.events import AnyEvent, Command, Outcome, TrainingSpec
from trainyard.contract.parser import parse_request
from trainyard.prctl import die_with_parent
from worker.slot_process.training_start import FORK_FD_VARIABLE

EVENT: TypeAdapter[Any] = TypeAdapter(AnyEvent)
TIMEOUT_S = 300


@dataclass
class Run:
    """What one run of the training process did."""

    events: list[Any] = field(default_factory=list)
    exit_code: int | None = None
    log: str = ""
    job_dir: Path = Path()

    @property
    def outcome(self) -> Outcome:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, Outcome), (last, self.log)
        return last

    @property
    def is_parked(self) -> bool:
        """Whether the process still waits to be woken."""
        last = self.events[-1] if self.events else None
        return isinstance(last, Outcome) and bool(last.result.get("parked"))

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def write_jsonl(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    """Write ``rows`` as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Parking:
    """The keeper's side of the parking socket of one training."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.process: Any = None
        self.log_path = Path()

    def __enter__(self) -> Parking:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.theirs.close()
        if self.process is not None:
            self.process.end()

    def wake(self, attempt_id: str, events_fd: int) -> Any:
        """Wake the parked training for another attempt; returns its process."""
        line = json.dumps({"op": "resume", "attempt_id": attempt_id}).encode() + b"\n"
        socket.send_fds(self.ours, [line], [events_fd])
        return self.process


def run_training(
    home: Path,
    request: Mapping[str, Any],
    *,
    models: Path,
    attempt: int = 1,
    preloaded: Preloaded | None = None,
    parking: Parking | None = None,
    pause_at: Sequence[int] = (),
    on_event: Callable[[Any, Callable[[str], None]], None] | None = None,
    **spec_fields: Any,
) -> Run:
    """Run the training process for ``request`` to its end, or until it is parked.

    A fresh ``python -m tasks.runner``, a fork of ``preloaded``, or the process that waits in
    ``parking``. Data sets are looked up in ``home/datasets``. ``on_event(event, command)`` is
    called with each event and may send a command. ``spec_fields`` go into the TrainingSpec.
    ``pause_at`` names steps at whose end a pause stands asked for, in a fork of ``preloaded``; a
    command over the socket would come at one step or another.
    """
    parsed = parse_request({"job_token": "tok-secret", **request})
    job_dir = home / "jobs" / parsed.execution_id
    job_dir.mkdir(parents=True, exist_ok=True)
    (job_dir / "request.json").write_text(json.dumps(parsed.without_secrets()))
    (home / "datasets").mkdir(exist_ok=True)
    spec = TrainingSpec(
        job_id=parsed.execution_id,
        attempt=attempt,
        slot="test-0",
        job_dir=str(job_dir),
        cache_dir=str(home / "cache"),
        dataset_roots=[str(home / "datasets")],
        model_roots=[str(models)],
        **spec_fields,
    )
    ours, theirs = socket.socketpair()
    run = Run(job_dir=job_dir)
    woken = parking is not None and parking.process is not None
    log_path = parking.log_path if parking and woken else job_dir / f"output-{attempt}.txt"
    with ours, log_path.open("ab" if woken else "wb") as log:
        log_begins = log.tell()
        if parking is not None:
            parking.log_path = log_path
        ours.settimeout(TIMEOUT_S)
        with theirs:
            if preloaded is not None:
                preloaded.pause_at = tuple(pause_at)
            process = _start(log.fileno(), theirs.fileno(), preloaded, parking, spec)
        try:
            ours.sendall(spec.model_dump_json().encode() + b"\n")
            for event in _events(ours):
                run.events.append(event)
                if on_event is not None:
                    on_event(event, lambda name: _command(ours, name))
            if not run.is_parked:
                run.exit_code = process.wait()
        finally:
            if not run.is_parked:
                process.end()
    # A lost disk ends in a character's middle.
    run.log = log_path.read_bytes()[log_begins:].decode(errors="replace")
    return run


def _start(
    log_fd: int,
    events_fd: int,
    preloaded: Preloaded | None,
    parking: Parking | None,
    spec: TrainingSpec,
) -> Any:
    if parking is None:
        return (preloaded or Fresh()).start(log_fd, events_fd)
    if parking.process is not None:
        return parking.wake(f"{spec.job_id}:{spec.attempt}", events_fd)
    parking.process = (preloaded or Fresh()).start(log_fd, events_fd, parking.theirs.fileno())
    parking.theirs.close()
    return parking.process


class Fresh:
    """Starts the training in an interpreter of its own."""

    def start(self, log_fd: int, events_fd: int, parking_fd: int | None = None) -> _FreshProcess:
        """Start ``python -m tasks.runner`` with its output to ``log_fd``."""
        parking = [] if parking_fd is None else [parking_fd]
        return _FreshProcess(
            subprocess.Popen(
                [sys.executable, "-m", "tasks.runner", str(events_fd)],
                pass_fds=[events_fd, *parking],
                env={**os.environ, **_parking_variable(parking)},
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd=REPOSITORY,
            )
        )


def _parking_variable(parking: list[int]) -> dict[str, str]:
    return {"TRAINYARD_PARKING_FD": str(parking[0])} if parking else {}


class _FreshProcess:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait(self) -> int:
        return self._process.wait(TIMEOUT_S)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Preloaded:
    """A process that has imported ``tasks.preload`` and forks trainings, as a slot process does.

    A context manager; saves the tests the imports of each run. torch has one thread there.
    """

    pause_at: tuple[int, ...] = ()
    fail_at: tuple[int, int] | None = None
    """The rank and the step at whose end it raises."""
    spoil_at: int | None = None
    """The step whose update leaves a weight that is no number."""
    faults: tuple[str, ...] = ()
    """Names of faults (``tests.support.faults``) that are put back."""
    rows_that_fit: tuple[int, int] | None = None
    """After which step memory lasts for a micro-batch of how many rows; -1: from the fit check on,
    which is then made on the CPU too."""
    disk: tuple[str, int, str] | None = None
    """Below which folder, at which operation, and how the disk fails (``FailingDisk``)."""
    pid = 0

    def __enter__(self) -> Preloaded:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(TIMEOUT_S)
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.support.training"),
                    *(str(theirs.fileno()), str(os.getpid())),
                ],
                pass_fds=[theirs.fileno()],
                umask=0o022,  # entry points that ran in this process have changed its own
                cwd=REPOSITORY,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait(TIMEOUT_S)

    def reset(self) -> None:
        """The next trainings run undisturbed."""
        self.pause_at, self.fail_at, self.rows_that_fit, self.faults = (), None, None, ()
        self.disk = None

    def start(self, log_fd: int, events_fd: int, parking_fd: int | None = None) -> Preloaded:
        """Fork a training with its output to ``log_fd``."""
        parking = [] if parking_fd is None else [parking_fd]
        changes = [self.pause_at, self.fail_at, self.spoil_at]
        message = json.dumps([*changes, self.disk, self.rows_that_fit, self.faults]).encode()
        socket.send_fds(self._socket, [message], [log_fd, events_fd, *parking])
        self.pid = int(self._socket.recv(32))
        return self

    def wait(self) -> int:
        """The training's exit code."""
        self.pid, code = 0, int(self._socket.recv(32))
        return code

    def end(self) -> None:
        """End a training that is still there."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()


def _serve(connection: socket.socket, parent_pid: int) -> None:
    # Whatever ends the tests, nothing of theirs goes on training.
    die_with_parent(signal.SIGKILL, parent_pid)
    from tasks import preload, runner

    assert preload is not None
    gc.collect()
    gc.freeze()  # as the slot process does: else each training copies what it looks through
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, 1024, 3)
        if not data:
            return
        log_fd, events_fd, *parking = descriptors
        forks, forks_end = socket.socketpair()
        environment = {**_parking_variable(parking), FORK_FD_VARIABLE: str(forks_end.fileno())}

        def train(fd: int = events_fd, environment: Mapping[str, str] = environment) -> int:
            os.environ.update(environment)
            return runner.main(fd)

        pid = _fork(connection, log_fd, data, train)
        for descriptor in (forks_end.detach(), *descriptors):
            os.close(descriptor)
        connection.sendall(str(pid).encode())
        with forks:
            _serve_forks(connection, forks, pid, data)
        _, status = os.waitpid(pid, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _fork(connection: socket.socket, output_fd: int, data: bytes, main: Callable[[], int]) -> int:
    """The pid of a fork that runs ``main`` with all changes made."""
    own_pid, pid = os.getpid(), os.fork()
    if pid:
        return pid
    die_with_parent(signal.SIGKILL, own_pid)
    connection.close()
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    *changes, disk, rows_that_fit, faults = json.loads(data)
    _change_step_ends(*changes)
    if disk is not None:
        FailingDisk(Path(disk[0]), *disk[1:])
    if rows_that_fit:
        _run_out_of_memory(*rows_that_fit)
    for name in faults:
        FAULTS[name]()
    code = 1
    try:
        code = main()
    finally:
        os._exit(code)


def _serve_forks(
    connection: socket.socket, forks: socket.socket, training: int, data: bytes
) -> None:
    """Be the keeper of ``training`` until it has ended: fork what it asks for."""
    from tasks import fresh_process

    ended = os.pidfd_open(training)
    null = os.open(os.devnull, os.O_WRONLY)
    while ended not in select.select([ended, forks], [], [])[0]:
        line, descriptors, _, _ = socket.recv_fds(forks, 64, 1)
        if not line:  # it has closed its end, and is about to end
            os.waitid(os.P_PID, training, os.WEXITED | os.WNOWAIT)
            break
        fresh = _fork(connection, null, data, lambda fd=descriptors[0]: fresh_process.main(fd))
        os.close(descriptors[0])
        os.waitpid(fresh, 0)  # it ends by itself: it has answered, or nobody waits for it any more
    os.close(null)
    os.close(ended)


def _change_step_ends(
    pause_at: Sequence[int], fail_at: list[int] | None, spoil_at: int | None
) -> None:
    from tasks.callbacks.commands import Control

    on_step_end = Control.on_step_end

    def with_pause(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step in pause_at:
            self._channel.pause_requested.set()
        if fail_at == [int(os.environ.get("RANK", "0")), state.global_step]:
            raise RuntimeError(f"no luck in rank {fail_at[0]}")
        if state.global_step == spoil_at:
            next(more["model"].parameters()).data[-1, -1] = float("nan")
        on_step_end(self, args, state, control, **more)

    Control.on_step_end = with_pause  # type: ignore[method-assign]  # in this fork alone


def _run_out_of_memory(after_step: int, rows: int) -> None:
    import torch

    from tasks.methods.exact_trainer import ExactTrainer

    if after_step < 0:
        _run_out_of_memory_in_the_fit_check(rows)
        return
    fetch = ExactTrainer.get_batch_samples

    def fetch_what_fits(self: Any, *arguments: Any, **more: Any) -> Any:
        if self.state.global_step >= after_step and self.args.train_batch_size > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
        return fetch(self, *arguments, **more)

    ExactTrainer.get_batch_samples = fetch_what_fits  # type: ignore[method-assign]  # as above


def _run_out_of_memory_in_the_fit_check(rows: int) -> None:
    import torch

    from tasks import trainer as training
    from tasks.callbacks.fit_check import FitCheck

    add_callbacks = training.add_callbacks

    def add_callbacks_and_check(run: Any, trainer: Any, prepared: Any) -> Any:
        step = trainer.training_step

        def step_that_fits(model: Any, batch: Any, *rest: Any) -> Any:
            if len(batch["input_ids"]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")
            return step(model, batch, *rest)

        trainer.training_step = step_that_fits
        trainer.add_callback(FitCheck(trainer, run.channel))
        return add_callbacks(run, trainer, prepared)

    training.add_callbacks = add_callbacks_and_check


def _events(connection: socket.socket) -> Iterator[Any]:
    with connection.makefile("rb") as lines:
        for line in lines:
            yield EVENT.validate_json(line)


def _command(connection: socket.socket, name: str) -> None:
    command = Command.model_validate({"command": name})
    connection.sendall(command.model_dump_json().encode() + b"\n")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
