"""A slot process, its attempts and their outputs, for tests that play the supervisor themselves.

The proof that nothing of an attempt is left comes from the kernel, not from our own book-keeping:
every process of a training holds the write end of its output pipe, so that end-of-file at the
read end means that the last one has died.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.paths import REPOSITORY
from trainyard.child_process import ChildProcess, python_module
from worker.machine.process_tree import descendants_of, process_stat
from worker.slot_process.client import KeeperHandle, KeeperMessage, start_attempt, wait_gone
from worker.slot_process.protocol import Gone, Started

DEADLINE_S = 20.0
TRAININGS = REPOSITORY / "tests/integration/worker"
"""The folder of the small trainings."""


def open_fds(pid: int) -> set[str]:
    return {fd.name for fd in Path(f"/proc/{pid}/fd").iterdir()}


class Output:
    """The read end of a training's output pipe; this object's to close."""

    def __init__(self, read_fd: int) -> None:
        self.read_fd = read_fd
        self.text = ""
        self.at_eof = False

    def pump(self, timeout_s: float) -> None:
        if not self.at_eof and select.select([self.read_fd], [], [], timeout_s)[0]:
            data = os.read(self.read_fd, 65536)
            self.at_eof = not data
            self.text += data.decode()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.text:
            assert not self.at_eof, f"ended without {text!r}: {self.text!r}"
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            self.pump(0.1)

    def wait_until_all_are_dead(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not self.at_eof:
            assert time.monotonic() < deadline, f"a process is left: {self.text!r}"
            self.pump(0.1)

    def close(self) -> None:
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1


class Attempt:
    """An attempt whose supervisor is the test itself."""

    def __init__(
        self,
        socket_name: str,
        behaviour: str,
        preload: bool,
        env: dict[str, str],
        parked: str | None = None,
    ):
        self.id = f"job-{uuid.uuid4().hex[:8]}:1"
        self.events, theirs = socket.socketpair()
        self.events.settimeout(DEADLINE_S)
        self.messages: list[KeeperMessage] = []
        self._output: Output | None = None
        with theirs:
            self.handle: KeeperHandle = start_attempt(
                socket_name,
                self.id,
                {"BEHAVIOUR": behaviour, **env},
                theirs.fileno(),
                timeout_s=DEADLINE_S,
                preload=preload,
                parked=parked,
            )

    @property
    def output(self) -> Output:
        self.wait_message(Started)
        assert self._output is not None
        return self._output

    def wait_message(self, kind: type[KeeperMessage]) -> KeeperMessage:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            for message in self.messages:
                if isinstance(message, kind):
                    return message
            assert not self.handle.ended, f"no {kind.__name__}: {self.messages}"
            assert time.monotonic() < deadline, f"no {kind.__name__}: {self.messages}"
            select.select([self.handle], [], [], 0.1)
            self.messages += self.handle.read_messages()
            if self._output is None and self.handle.output is not None:
                self._output = Output(os.dup(self.handle.output))

    @property
    def training_pid(self) -> int:
        started = self.wait_message(Started)
        assert isinstance(started, Started)
        return started.pid

    @property
    def keeper_pid(self) -> int:
        stat = process_stat(self.training_pid)
        assert stat is not None
        return stat.parent_pid

    def wait_end(self) -> Gone:
        gone = self.wait_message(Gone)
        assert isinstance(gone, Gone)
        self.output.wait_until_all_are_dead()
        return gone

    def close(self) -> None:
        self.handle.close()
        self.events.close()
        if self._output is not None:
            self._output.close()


def slot_command(name: str, entry: str, preload_module: str, preload: bool = True) -> list[str]:
    """Command of a slot process that runs the function ``entry`` in place of a training."""
    command = python_module("worker.slot_process", "--socket", name, "--entry", entry)
    return [*command, "--preload-module", preload_module, *([] if preload else ["--no-preload"])]


class Slot:
    """A running slot process and what was started through it."""

    def __init__(self, entry: str, preload_module: str, modules: Path, preload: bool) -> None:
        self.name = f"trainyard-test-{uuid.uuid4().hex}"
        self.attempts: list[Attempt] = []
        self.log = modules / "preload.log"
        self.process = ChildProcess(
            "slot process",
            slot_command(self.name, entry, preload_module, preload),
            environ={
                **{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
                "PYTHONPATH": f"{TRAININGS}:{modules}",
                "INHERITED": "yes",
                "SLOT_LOG": str(self.log),
            },
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def start(
        self, behaviour: str, *, preload: bool = True, parked: str | None = None, **env: str
    ) -> Attempt:
        attempt = Attempt(self.name, behaviour, preload, env, parked)
        self.attempts.append(attempt)
        return attempt

    def wait_gone(self, attempt: Attempt) -> bool:
        return wait_gone(self.name, attempt.id, DEADLINE_S)

    def close(self) -> None:
        leftovers = descendants_of(self.process.pid) if self.process.pid else {}
        pidfds = []
        for pid in leftovers:
            with contextlib.suppress(ProcessLookupError):
                pidfds.append(os.pidfd_open(pid))
        for attempt in self.attempts:
            attempt.close()
        self.process.stop(5.0)
        for pidfd in pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)


OpenSlot = Callable[..., Slot]


@contextlib.contextmanager
def slots(folder: Path, entry: str) -> Iterator[OpenSlot]:
    """Starts slot processes that import a module made from ``source`` as their preload."""
    with contextlib.ExitStack() as stack:

        def open_one(source: str = "", *, preload: bool = True) -> Slot:
            (folder / "small_preload.py").write_text(textwrap.dedent(source))
            slot = Slot(entry, "small_preload", folder, preload)
            stack.callback(slot.close)
            return slot

        yield open_one


HAND_ON_OUTPUT = """
import select, socket
def hand_on_output(handle, to):
    select.select([handle], [], [])
    handle.read_messages()
    with socket.socket(fileno=to) as there:
        socket.send_fds(there, [b"output"], [handle.output])
"""
"""For a supervisor in another process, whose training's output the test reads."""


@contextlib.contextmanager
def output_from_there() -> Iterator[tuple[int, Callable[[], Output]]]:
    """The descriptor ``to`` of HAND_ON_OUTPUT, and a function that waits for what comes."""
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE_S)
    with ours, theirs, contextlib.ExitStack() as stack:

        def output() -> Output:
            _, [read_fd], _, _ = socket.recv_fds(ours, 64, 1)
            return stack.enter_context(contextlib.closing(Output(read_fd)))

        yield theirs.fileno(), output


@contextlib.contextmanager
def running(
    source: str, *arguments: object, pass_fds: tuple[int, ...] = (), modules: Path = TRAININGS
) -> Iterator:
    """A Python process that runs ``source`` and can import from the folder ``modules``."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        pass_fds=pass_fds,
        env={**os.environ, "PYTHONPATH": str(modules)},
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
