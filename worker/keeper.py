"""The keeper: one small single-threaded process per attempt that answers for its process tree.

It forks the training, passes signals on, and holds the supervisor's connection as its lifeline.
However an attempt ends, the keeper leaves no process behind:

    the training exits or dies      its remaining descendants are killed
    ``{"signal": "KILL"}``          the training and every descendant are killed
    the lifeline closes             the same: the supervisor is gone
    SIGTERM                         the same: the slot process is gone (parent-death signal)

Then it reports ``gone``, and exits. As a subreaper it adopts every orphan below it, so "no child
left" proves that nothing is left. A keeper that is itself killed with SIGKILL leaves strays, which
the slot process ends.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Collection
from typing import Any, NoReturn

from worker.process_tree import (
    Exit,
    SignalWakeup,
    become_subreaper,
    close_fds_except,
    descendants_of,
    die_with_parent,
    has_children,
    kill_descendants,
    reap,
    set_process_name,
)
from worker.training_process import TrainingStart, run_training
from worker.unix_socket import LineReader, encode_line

_STUCK_AFTER_S = 5.0
"""How long a killed process may take to die before the supervisor hears of it. Large ones need
about a second to give their memory back; one in an uninterruptible system call takes longer."""

_MAX_PAUSE_S = 0.1


def run_keeper(
    start: TrainingStart,
    lifeline: socket.socket,
    *,
    slot_pid: int,
    supervisor_pid: int,
    library_fds: Collection[int],
) -> NoReturn:
    """Turn this forked child of the slot process into a keeper, and serve until all is gone.

    Called with signals blocked, so that the slot process's handlers never run in here.
    ``library_fds``: descriptors that imported libraries hold, and that stay open for the training.
    Never returns: exit code 0 when no descendant is left.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        own_fds = {0, 1, 2, lifeline.fileno(), start.output_fd, start.events_fd}
        close_fds_except(own_fds | set(library_fds))
        set_process_name("ty-keeper")
        become_subreaper()
        keeper = _Keeper(lifeline, supervisor_pid)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        slot_lives = die_with_parent(signal.SIGTERM, slot_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if slot_lives:
            keeper.start_training(start)
            keeper.serve()
        keeper.end()
        code = 0
    except BaseException:
        traceback.print_exc()
        kill_descendants()
    finally:
        sys.stderr.flush()
        os._exit(code)


class _Keeper:
    def __init__(self, lifeline: socket.socket, supervisor_pid: int) -> None:
        self._lifeline = lifeline
        self._lifeline.setblocking(False)
        self._reader = LineReader()
        self._wakeup = SignalWakeup([signal.SIGCHLD, signal.SIGTERM])
        # The supervisor may have forked children of its own, which hold the lifeline open after
        # its death: its pid tells, too.
        self._supervisor_fd = _pidfd_or_none(supervisor_pid)
        self._training_pid: int | None = None
        self._exit: Exit | None = None
        self._error: str | None = None
        self._must_end = self._supervisor_fd is None
        self._killed: set[int] = set()

    def start_training(self, start: TrainingStart) -> None:
        """Fork the training process and report its pid. An impossible fork ends the attempt."""
        if self._must_end:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        keeper_pid = os.getpid()
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
        try:
            pid = os.fork()
        except OSError as error:
            self._error = f"the training process could not be started: {error}"
            self._must_end = True
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self._close()
            run_training(start, keeper_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.close(start.output_fd)
        os.close(start.events_fd)
        self._training_pid = pid
        self._send({"started": pid, "at": time.monotonic(), "preloaded": start.preloaded})

    def serve(self) -> None:
        """Wait until the training has ended or has to end."""
        poll = select.poll()
        poll.register(self._lifeline, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        if self._supervisor_fd is not None:
            poll.register(self._supervisor_fd, select.POLLIN)
        while not self._must_end and self._exit is None:
            ready = {fd for fd, _ in poll.poll()}
            if self._wakeup.fileno() in ready:
                self._on_signals()
            if self._supervisor_fd in ready:
                self._must_end = True
            if self._lifeline.fileno() in ready:
                self._on_lifeline()

    def end(self) -> None:
        """Kill until no descendant is left, then report it."""
        stuck_at = time.monotonic() + _STUCK_AFTER_S
        pause_s = 0.001
        reported = False
        while has_children():
            self._killed |= kill_descendants()
            self._reap()
            if not has_children():
                break
            if not reported and time.monotonic() > stuck_at:
                self._send({"gone": False, "left": sorted(descendants_of(os.getpid()))})
                reported = True
            select.select([self._wakeup], [], [], pause_s)
            self._wakeup.take()
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        self._send(self._report())

    def _on_signals(self) -> None:
        if signal.SIGTERM in self._wakeup.take():
            self._must_end = True
        self._reap()

    def _on_lifeline(self) -> None:
        try:
            data = self._lifeline.recv(4096)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._must_end = True
        for message in self._reader.feed(data):
            self._obey(message)

    def _obey(self, message: dict[str, Any]) -> None:
        match message:
            case {"signal": "KILL"}:
                self._must_end = True
            case {"signal": "TERM"}:
                # Not reaped yet, so the pid is still its own.
                if self._training_pid is not None and self._exit is None:
                    os.kill(self._training_pid, signal.SIGTERM)
            case _:
                raise ValueError(f"the supervisor sent {str(message)[:200]!r}")

    def _reap(self) -> None:
        for ended in reap():
            if ended.pid == self._training_pid:
                self._exit = ended

    def _report(self) -> dict[str, Any]:
        return {
            "gone": True,
            "exit_code": self._exit.exit_code if self._exit else None,
            "signal": self._exit.signal if self._exit else None,
            "killed_descendants": len(self._killed - {self._training_pid}),
            **({"error": self._error} if self._error else {}),
        }

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._lifeline.sendall(encode_line(message))
        except (BrokenPipeError, ConnectionResetError):
            # The supervisor is gone: nobody has to be told.
            self._must_end = True

    def _close(self) -> None:
        """Close, in the training process, what is the keeper's alone."""
        self._lifeline.close()
        self._wakeup.close()
        if self._supervisor_fd is not None:
            os.close(self._supervisor_fd)


def _pidfd_or_none(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
