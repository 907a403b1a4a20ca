"""Slot process: torch preloaded, CUDA never touched; forks a keeper for each attempt.

    python -m worker.slot_process --listener FD [--no-preload]

It listens first and imports then, so that a request that comes during the import waits in the
backlog. It runs no operation, opens no device and has no thread of its own, so that it stays safe
to fork. It ends at SIGTERM, which the kernel sends when its parent, the worker's main process, has
ended (see ``ChildProcess``), and its keepers end with it. Strays of a keeper that was killed are
adopted by it, as a subreaper, and ended.

``protocol`` has what is asked of it, and over which sockets.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
import warnings
from dataclasses import dataclass

from trainyard.prctl import become_subreaper, set_process_name
from worker.machine.process_tree import has_children, kill_descendants
from worker.machine.signal_fds import SignalWakeup
from worker.machine.unix_socket import check_peer, listen, listener_of
from worker.slot_process.fork_safety import Preload, preload
from worker.slot_process.keepers import KeeperProcesses
from worker.slot_process.protocol import (
    AnyRequest,
    ProtocolError,
    ReleaseParked,
    StartAttempt,
    StartRefused,
    WaitGone,
    WhetherGone,
)
from worker.slot_process.requests import Request
from worker.slot_process.stderr_lines import say
from worker.slot_process.training_start import TrainingStart

_KEEPERS_MAY_TAKE_S = 0.3
"""At the slot process's own end: how long keepers have to end their trees and say so."""

_STRAY_ROUND_S = 0.01


@dataclass
class _Waiter:
    """Someone who waits for an attempt to be gone."""

    request: Request
    attempt_id: str
    deadline: float


class SlotServer:
    """The slot process's loop. ``serve`` returns after SIGTERM, when no descendant is left."""

    def __init__(self, listener: socket.socket, preloaded: Preload, entry: str) -> None:
        self._listener = listener
        self._preload = preloaded
        self._entry = entry
        self._wakeup = SignalWakeup([signal.SIGCHLD, signal.SIGTERM, signal.SIGINT])
        self._requests: dict[int, Request] = {}
        self._keepers = KeeperProcesses()
        self._waiters: list[_Waiter] = []

    def serve(self) -> None:
        """Serve requests until SIGTERM or SIGINT, then end every descendant."""
        strays = False
        while True:
            for fd in self._select(_STRAY_ROUND_S if strays else self._timeout_s()):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._requests:
                    self._read(fd)
            if self._wakeup.take() & {signal.SIGTERM, signal.SIGINT}:
                break
            self._keepers.hear()
            self._keepers.end_late_ones()
            self._reap()
            strays = self._keepers.end_strays()
            self._answer_waiters()
        self._end_all()

    def _select(self, timeout_s: float | None) -> list[int]:
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        for control in self._keepers.controls():
            poll.register(control, select.POLLIN)
        for fd in self._requests:
            poll.register(fd, select.POLLIN)
        timeout_ms = None if timeout_s is None else int(1000 * timeout_s) + 1
        return [fd for fd, _ in poll.poll(timeout_ms)]

    def _timeout_s(self) -> float | None:
        now = time.monotonic()
        waits = [max(0.0, waiter.deadline - now) for waiter in self._waiters]
        if (next_look_s := self._keepers.next_look_s()) is not None:
            waits.append(next_look_s)
        return min(waits, default=None)

    # ------------------------------------------------------------ requests

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        try:
            check_peer(connection)
        except PermissionError as refusal:
            say(f"slot process: connection refused: {refusal}")
            connection.close()
            return
        self._requests[connection.fileno()] = Request(connection)

    def _read(self, fd: int) -> None:
        request = self._requests[fd]
        try:
            asked = request.read()
        except ProtocolError as error:
            del self._requests[fd]
            request.answer(StartRefused(str(error)))
            return
        if request.lost:
            del self._requests[fd]
            request.close()
        elif asked is not None:
            del self._requests[fd]
            self._obey(request, asked)

    def _obey(self, request: Request, asked: AnyRequest) -> None:
        # What a keeper said before this request was sent shall count.
        self._keepers.hear()
        match asked:
            case StartAttempt():
                self._start(request, asked)
            case WaitGone() | ReleaseParked():
                if isinstance(asked, ReleaseParked):
                    self._keepers.release(asked.attempt_id)
                deadline = time.monotonic() + asked.timeout_s
                self._waiters.append(_Waiter(request, asked.attempt_id, deadline))

    # ------------------------------------------------------------ attempts

    def _start(self, request: Request, wanted: StartAttempt) -> None:
        if wanted.attempt_id in self._keepers.attempts():
            request.answer(StartRefused(f"{wanted.attempt_id} is still running"))
        elif wanted.parked is None or not self._keepers.resume(request, wanted):
            self._start_cold(request, wanted)

    def _start_cold(self, request: Request, wanted: StartAttempt) -> None:
        objection = self._preload.objection_to_fork() if wanted.preload else "PRELOAD=0"
        if objection is not None:
            say(f"slot process: fresh interpreter: {objection}")
        with request:
            start = TrainingStart(
                entry=wanted.entry or self._entry,
                env=wanted.env,
                events_fd=request.fds[0],
                preloaded=objection is None,
            )
            try:
                self._keepers.fork(start, request, wanted.attempt_id, self._preload.library_fds)
            except OSError as error:
                request.answer(StartRefused(f"no process could be started: {error}"))

    def _reap(self) -> None:
        for left in self._keepers.reap():
            self._start_cold(left.request, left.wanted)

    def _answer_waiters(self) -> None:
        now = time.monotonic()
        alive = self._keepers.attempts()
        for waiter in list(self._waiters):
            gone = waiter.attempt_id not in alive
            if gone or now >= waiter.deadline:
                self._waiters.remove(waiter)
                waiter.request.answer(WhetherGone(gone))

    # ------------------------------------------------------------ the end

    def _end_all(self) -> None:
        """Let the keepers end their trees and report it, then kill whatever is left."""
        self._keepers.end_all()
        keepers_until = time.monotonic() + _KEEPERS_MAY_TAKE_S
        while has_children():
            if time.monotonic() > keepers_until:
                kill_descendants()
            select.select([self._wakeup], [], [], _STRAY_ROUND_S)
            self._wakeup.take()
            self._keepers.reap()


def main(argv: list[str] | None = None) -> int:
    """Run the slot process until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.slot_process")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--listener", type=int, help="descriptor of the socket to listen on")
    where.add_argument("--socket", help="or its name in the abstract namespace")
    parser.add_argument("--no-preload", action="store_true", help="fresh interpreters only")
    parser.add_argument("--entry", default="tasks.runner:main", help=argparse.SUPPRESS)
    parser.add_argument("--preload-module", default="tasks.preload", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)

    # Python 3.12 warns at a fork beside any thread; which ones are harmless is checked here.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    set_process_name("ty-slot")
    become_subreaper()
    with (
        listener_of(options.listener) if options.socket is None else listen(options.socket) as (
            listener
        )
    ):
        preloaded = preload(None if options.no_preload else options.preload_module)
        SlotServer(listener, preloaded, options.entry).serve()
    return 0


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's shutdown, which takes half a second with torch loaded.
    os._exit(exit_code)
