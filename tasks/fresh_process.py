"""Fresh process: forked before the training has done anything, and asked for one thing later.

It has the imports of its parent and nothing of what the parent made since, so that what it finds
in a folder is what anybody would find there. A fork at the moment of the question would have the
parent's threads' locks, its CUDA context and its weights.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from trainyard.contract.error_tree import Interruption

_NAME = "ty-fresh"
_LOOK_S = 0.1
_DIES_FIRST = "1000"
"""Its badness: if memory runs out the kernel takes it, and not the training."""


class TookTooLong(Interruption):
    """There was no answer in time."""


class FreshProcessDied(Interruption):
    """The process ended without an answer: it crashed, or the kernel needed its memory."""


@dataclass(frozen=True)
class Failed:
    """What was asked for raised an error; ``text`` is its traceback."""

    error: str
    text: str

    @classmethod
    def of(cls, error: Exception) -> Failed:
        return cls(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


class FreshProcess:
    """This side of the process. It answers one question and lives no longer than its parent."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self._pid = pid
        self._owner = os.getpid()
        self._connection = connection

    @classmethod
    def fork(cls, forget: Callable[[], None]) -> FreshProcess:
        """Fork it. ``forget`` is called there: it closes what only the parent speaks over.

        To be called while the process has one thread and has touched no device.
        """
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                forget()
                _be_quiet()
                _serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        return cls(pid, ours)

    def ask(
        self, function: str, question: Any, timeout_s: float, meanwhile: Callable[[], None]
    ) -> Any:
        """What ``function`` (``module:name``) returns there for ``question``, or a Failed.

        ``meanwhile`` is called a few times a second, and may raise. Raises TookTooLong and
        FreshProcessDied.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self._connection.send((function, question))
            while not self._connection.poll(_LOOK_S):
                meanwhile()
                if time.monotonic() > deadline:
                    raise TookTooLong
            return self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise FreshProcessDied from error

    def end(self) -> None:
        """End it, whatever it does."""
        self._connection.close()
        if self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _be_quiet() -> None:
    """Its output would hold the pipe of an attempt that has ended while the training is parked."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    Path("/proc/self/comm").write_text(_NAME)
    Path("/proc/self/oom_score_adj").write_text(_DIES_FIRST)


def _serve(connection: Connection) -> None:
    try:
        function, question = connection.recv()
    except EOFError:
        os._exit(0)
    module, _, name = function.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(question)
    except Exception as error:
        answer = Failed.of(error)
    connection.send(answer)
    os._exit(0)
