"""Keepers as the slot process sees them: forked, heard, asked to resume or end, reaped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass

from worker.machine.process_tree import children_of, kill_descendants, reap
from worker.slot_process.keeper import run_keeper
from worker.slot_process.message_socket import MessageSocket
from worker.slot_process.protocol import (
    Parked,
    ProtocolError,
    Resume,
    Resumed,
    StartAttempt,
)
from worker.slot_process.requests import Request
from worker.slot_process.training_start import TrainingStart

_TAKE_OVER_S = 2.0
"""How long a keeper may take to answer a resume (it takes a millisecond) before it is killed."""


@dataclass(frozen=True)
class WarmStart:
    """A start that a keeper was asked to take over; its descriptors are still ours."""

    request: Request
    wanted: StartAttempt
    deadline: float


@dataclass
class _KeeperProcess:
    pid: int
    attempt_id: str
    control: MessageSocket
    parked: bool = False
    ending: bool = False
    unwanted: bool = False
    warm_start: WarmStart | None = None


class KeeperProcesses:
    """All keepers that live, and the attempts of dead ones whose strays are still being ended."""

    def __init__(self) -> None:
        self._keepers: dict[int, _KeeperProcess] = {}
        self._strays_of: set[str] = set()

    # ------------------------------------------------------------ what there is

    def attempts(self) -> set[str]:
        """Every attempt of which a process may live, or is about to."""
        keepers = self._keepers.values()
        starting = {k.warm_start.wanted.attempt_id for k in keepers if k.warm_start is not None}
        return self._strays_of | starting | {keeper.attempt_id for keeper in keepers}

    def controls(self) -> list[MessageSocket]:
        """What to select on; :meth:`hear` when one of them is readable."""
        return [keeper.control for keeper in self._keepers.values()]

    def next_look_s(self) -> float | None:
        """Seconds until :meth:`end_late_ones` has something to do; None: not before an answer."""
        deadlines = [k.warm_start.deadline for k in self._keepers.values() if k.warm_start]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    # ------------------------------------------------------------ starting and resuming

    def fork(
        self,
        start: TrainingStart,
        request: Request,
        attempt_id: str,
        library_fds: Collection[int],
    ) -> None:
        """Fork a keeper for a new attempt. Raises OSError."""
        slot_pid = os.getpid()
        control, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        # Blocked, so that none of our handlers runs in the child; the keeper unblocks.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                run_keeper(
                    start,
                    request.connection,
                    theirs,
                    slot_pid=slot_pid,
                    library_fds=library_fds,
                )
        except OSError:
            control.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._keepers[pid] = _KeeperProcess(pid, attempt_id, MessageSocket(control))

    def resume(self, request: Request, wanted: StartAttempt) -> bool:
        """Ask the keeper of the parked attempt to go on for the new one.

        False if none is parked. If True, the request is this object's to close, or comes
        back from :meth:`reap` when the keeper has ended without taking it over.
        """
        for keeper in self._keepers.values():
            if keeper.parked and keeper.attempt_id == wanted.parked:
                break
        else:
            return False
        keeper.parked = False
        fds = [request.fileno(), *request.fds]
        if not keeper.control.send(Resume(wanted.attempt_id), fds):
            return False  # it has ended by itself just now
        keeper.warm_start = WarmStart(request, wanted, time.monotonic() + _TAKE_OVER_S)
        return True

    # ------------------------------------------------------------ hearing

    def hear(self) -> None:
        """Take in what keepers have said."""
        for keeper in self._keepers.values():
            self._hear(keeper)

    def _hear(self, keeper: _KeeperProcess) -> None:
        for message in keeper.control.read():
            match message:
                case Parked():
                    self._on_parked(keeper)
                case Resumed():
                    self._on_resumed(keeper)
                case _:
                    raise ProtocolError(f"a keeper sent {message.op}")

    def _on_parked(self, keeper: _KeeperProcess) -> None:
        for other in self._keepers.values():
            if other.parked:
                self._end(other)
        keeper.parked = not keeper.ending
        if keeper.unwanted:
            self._end(keeper)

    def _on_resumed(self, keeper: _KeeperProcess) -> None:
        warm_start = keeper.warm_start
        assert warm_start is not None
        keeper.attempt_id = warm_start.wanted.attempt_id
        keeper.unwanted = False
        keeper.warm_start = None
        warm_start.request.close()

    # ------------------------------------------------------------ ending

    def release(self, attempt_id: str) -> None:
        """End an attempt if it is parked, or when it parks."""
        for keeper in self._keepers.values():
            if keeper.attempt_id == attempt_id:
                keeper.unwanted = True
                if keeper.parked:
                    self._end(keeper)

    def end_all(self) -> None:
        """Ask every keeper to end its tree."""
        for keeper in self._keepers.values():
            self._end(keeper)

    def _end(self, keeper: _KeeperProcess) -> None:
        keeper.parked = False
        keeper.ending = True
        os.kill(keeper.pid, signal.SIGTERM)  # not reaped yet, so the pid is still its own

    def end_late_ones(self) -> None:
        """Kill keepers that do not answer a resume: :meth:`reap` gives their requests back."""
        for keeper in self._keepers.values():
            if keeper.warm_start and time.monotonic() >= keeper.warm_start.deadline:
                os.kill(keeper.pid, signal.SIGKILL)

    def reap(self) -> list[WarmStart]:
        """Forget keepers that have ended; returns what they were asked to take over and did not."""
        left: list[WarmStart] = []
        for ended in reap():
            keeper = self._keepers.pop(ended.pid, None)
            if keeper is None:
                continue
            self._hear(keeper)  # its last words: perhaps it has taken over before it ended
            keeper.control.close()
            self._strays_of.add(keeper.attempt_id)
            if keeper.warm_start is not None:
                left.append(keeper.warm_start)
        return left

    def end_strays(self) -> bool:
        """Kill what belongs to no living keeper, once; True while some may be left."""
        if self._strays_of:
            if set(children_of(os.getpid())) <= self._keepers.keys():
                self._strays_of.clear()
            else:
                kill_descendants(spare=self._keepers.keys())
        return bool(self._strays_of)
