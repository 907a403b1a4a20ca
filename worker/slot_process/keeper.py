"""Keeper of an attempt: one small single-threaded process that answers for its process tree.

It forks the training, and what that asks for; it passes signals on, hands each supervisor the
training's output, and holds its connection as its lifeline. However an attempt ends, the keeper
leaves no process behind:

    the training exits or dies      its remaining descendants are killed
    the supervisor sends Kill       the training and every descendant are killed
    the lifeline closes             the same: the supervisor is gone
    the lease runs out              the same: the supervisor hangs, or is frozen
    parked for too long             the same, also if memory is short
    SIGTERM                         the same: the slot process is gone (parent-death signal)

Then it reports ``gone``, and exits. As a subreaper it adopts every orphan below it, so "no child
left" proves that nothing is left. A keeper that is itself killed with SIGKILL leaves strays, which
the slot process ends. ``protocol`` has what it hears and says.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Collection, Sequence
from typing import NoReturn

from trainyard.prctl import become_subreaper, die_with_parent, set_process_name
from worker.machine.process_tree import (
    Exit,
    close_fds_except,
    descendants_of,
    has_children,
    kill_descendants,
    reap,
)
from worker.machine.signal_fds import SignalWakeup
from worker.slot_process.fork_socket import ForkSocket
from worker.slot_process.lifeline import Lifeline
from worker.slot_process.message_socket import MessageSocket
from worker.slot_process.parked_time import ParkedTime
from worker.slot_process.protocol import (
    AnyMessage,
    FromKeeper,
    Gone,
    Kill,
    Park,
    Parked,
    ProtocolError,
    Resume,
    Resumed,
    SetLease,
    Started,
    StillAlive,
    Terminate,
)
from worker.slot_process.stderr_lines import say
from worker.slot_process.temp_folder import shared_temp_folder
from worker.slot_process.training_start import (
    FORK_FD_VARIABLE,
    PARKING_FD_VARIABLE,
    TrainingStart,
    fork_fresh,
    fork_training,
    make_output_pipe,
)

_STUCK_AFTER_S = 5.0
"""How long a killed process may take to die before the supervisor hears of it. Large ones need
about a second to give their memory back; one in an uninterruptible system call takes longer."""

_MAX_PAUSE_S = 0.1


def run_keeper(
    start: TrainingStart,
    lifeline: socket.socket,
    control: socket.socket,
    *,
    slot_pid: int,
    library_fds: Collection[int],
) -> NoReturn:
    """Turn this forked child of the slot process into a keeper, and serve until all is gone.

    Called with signals blocked, so that the slot process's handlers never run in here.
    ``control`` is this end of a socket pair with the slot process.
    ``library_fds``: descriptors that imported libraries hold, and that stay open for the training.
    Never returns: exit code 0 when no descendant is left.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        own_fds = {0, 1, 2, lifeline.fileno(), control.fileno()}
        close_fds_except(own_fds | {start.events_fd} | set(library_fds))
        set_process_name("ty-keeper")
        become_subreaper()
        keeper = _Keeper(Lifeline(lifeline), MessageSocket(control))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        slot_lives = die_with_parent(signal.SIGTERM, slot_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        with shared_temp_folder():
            if slot_lives:
                keeper.start_training(start)
                keeper.serve()
            keeper.end()
        code = 0
    except BaseException:
        say(traceback.format_exc())
        kill_descendants()
    finally:
        os._exit(code)


class _Keeper:
    """``_lifeline`` is None while the training is parked, ``_parked`` while it is not."""

    def __init__(self, lifeline: Lifeline, control: MessageSocket) -> None:
        self._lifeline: Lifeline | None = lifeline
        self._parked: ParkedTime | None = None
        self._control = control
        parking, parking_end = socket.socketpair()
        forks, forks_end = socket.socketpair()
        self._parking = MessageSocket(parking)
        self._forks = ForkSocket(forks)
        self._training_ends = {PARKING_FD_VARIABLE: parking_end, FORK_FD_VARIABLE: forks_end}
        self._wakeup = SignalWakeup([signal.SIGCHLD, signal.SIGTERM])
        self._output, self._output_end = make_output_pipe()
        self._training_pid: int | None = None
        self._exit: Exit | None = None
        self._error: str | None = None
        self._lease_expired = False
        self._slot_gone = False
        self._must_end = lifeline.lost
        self._killed: set[int] = set()

    def start_training(self, start: TrainingStart) -> None:
        """Fork the training process and report its pid. An impossible fork ends the attempt."""
        if self._must_end:
            return
        sockets = {name: end.fileno() for name, end in self._training_ends.items()}
        try:
            self._training_pid = fork_training(start, self._output_end, sockets, self._close)
        except OSError as error:
            self._error = f"the training process could not be started: {error}"
            self._must_end = True
            return
        os.close(self._output_end)
        os.close(start.events_fd)
        for end in self._training_ends.values():
            end.close()
        self._start = start
        started = Started(self._training_pid, time.monotonic(), start.preloaded)
        self._send(started, [self._output])

    def serve(self) -> None:
        """Wait until the training has ended or has to end."""
        while not self._must_end and self._exit is None:
            sources = [self._wakeup.fileno(), self._control.fileno(), *self._forks.fds()]
            if self._lifeline is not None:
                sources += self._lifeline.fds()
            ready = set(select.select(sources, [], [], self._timeout_s())[0])
            if self._wakeup.fileno() in ready:
                self._on_signals()
            if self._lifeline is not None:
                self._on_lifeline(self._lifeline, ready)
            if self._control.fileno() in ready:
                self._on_control()
            if ready.intersection(self._forks.fds()):
                for connection in self._forks.connections():
                    fork_fresh(self._start, connection, self._close)
            if self._parked is not None:
                self._on_parked_time(self._parked)

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
                self._send(StillAlive(sorted(descendants_of(os.getpid()))))
                reported = True
            select.select([self._wakeup], [], [], pause_s)
            self._wakeup.take()
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
        self._send(self._report())

    def _timeout_s(self) -> float | None:
        if self._parked is not None:
            return self._parked.left_s()
        if self._lifeline is not None and self._lifeline.lease_ends is not None:
            return max(0.0, self._lifeline.lease_ends - time.monotonic())
        return None

    def _on_signals(self) -> None:
        if signal.SIGTERM in self._wakeup.take():
            self._slot_gone = self._must_end = True
        self._reap()

    def _on_lifeline(self, lifeline: Lifeline, ready: set[int]) -> None:
        for message in lifeline.read(ready):
            self._obey(message, lifeline)
        if self._lifeline is None:  # parked now
            return
        if lifeline.lost:
            self._must_end = True
        elif self._exit is None and lifeline.expired():
            self._lease_expired = self._must_end = True

    def _obey(self, message: AnyMessage, lifeline: Lifeline) -> None:
        match message:
            case Kill():
                self._must_end = True
            case Terminate():
                # Not reaped yet, so the pid is still its own.
                if self._training_pid is not None and self._exit is None:
                    os.kill(self._training_pid, signal.SIGTERM)
            case SetLease(lease_s=lease_s):
                lifeline.renew(lease_s)
            case Park(seconds=seconds):
                self._park(lifeline, seconds)
            case _:
                raise ProtocolError(f"the supervisor sent {message.op}")

    # ------------------------------------------------------------ parked

    def _park(self, lifeline: Lifeline, seconds: float) -> None:
        # The slot process hears it first: what a supervisor knows to be parked, it finds there.
        self._control.send(Parked())
        lifeline.send(Parked())
        lifeline.close()
        self._lifeline = None
        self._parked = ParkedTime(seconds)

    def _on_parked_time(self, parked: ParkedTime) -> None:
        if (reason := parked.reason_to_end()) is not None:
            self._must_end = True
            say(f"keeper: a parked training is given up: {reason}")

    def _on_control(self) -> None:
        self._reap()  # its signal may be delivered only after the select that saw the message
        for message in self._control.read():
            if not isinstance(message, Resume):
                raise ProtocolError(f"the slot process sent {message.op}")
            # A keeper that is ending takes nothing over: the slot process starts it cold then.
            if not self._must_end and self._exit is None:
                self._resume(message, *self._control.take_fds())
        if self._control.lost:
            self._slot_gone = self._must_end = True

    def _resume(self, resume: Resume, lifeline_fd: int, events_fd: int) -> None:
        assert self._training_pid is not None, "it was parked"
        if not self._parking.send(resume, [events_fd]):
            self._must_end = True
            return
        os.close(events_fd)
        self._parked = None
        self._lifeline = Lifeline(socket.socket(fileno=lifeline_fd))
        self._control.send(Resumed())
        started = Started(self._training_pid, time.monotonic(), preloaded=True, warm=True)
        self._send(started, [self._output])

    # ------------------------------------------------------------ what is told, and to whom

    def _reap(self) -> None:
        for ended in reap():
            if ended.pid == self._training_pid:
                self._exit = ended

    def _report(self) -> Gone:
        return Gone(
            exit_code=self._exit.exit_code if self._exit else None,
            signal=self._exit.signal if self._exit else None,
            killed_descendants=len(self._killed - {self._training_pid}),
            error=self._error,
            lease_expired=self._lease_expired,
            slot_gone=self._slot_gone,
        )

    def _send(self, message: FromKeeper, fds: Sequence[int] = ()) -> None:
        if self._lifeline is not None:
            self._lifeline.send(message, fds)

    def _close(self) -> None:
        """Close, in the training process, what is the keeper's alone."""
        if self._lifeline is not None:
            self._lifeline.close()
        self._control.close()
        self._parking.close()
        self._forks.close()
        self._wakeup.close()
        os.close(self._output)
