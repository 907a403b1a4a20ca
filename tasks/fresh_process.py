"""Fresh process: has the imports of a training, nothing of what one makes, and answers a question.

What it finds in a folder is what anybody would find there. A fork of the training would have its
threads' locks, its CUDA context and its weights; so the keeper forks it, which has done nothing but
wait. Without a keeper it is a new interpreter.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from trainyard.contract.error_tree import Interruption

FD_VARIABLE = "TRAINYARD_FORK_FD"
"""Names the descriptor of the socket over which the keeper hears that it is to fork."""
_FORK = b'{"op":"fork"}\n'
_LOOK_S = 0.1
_ENDS_AFTER_S = 1.0
"""It ends so long after nobody waits any more: before that its end would look like a crash."""
_BEGINS_WITHIN_S = 60.0
"""A fresh interpreter imports torch first, to read the question: some seconds."""
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


def ask(function: str, question: Any, timeout_s: float, meanwhile: Callable[[], None]) -> Any:
    """What ``function`` (``module:name``) returns in a fresh process for ``question``, or a Failed.

    ``timeout_s`` counts from when it has read the question. ``meanwhile`` is called a few times a
    second, and may raise. Raises TookTooLong and FreshProcessDied.
    """
    ours, theirs = Pipe()
    with ours:
        try:
            with theirs:
                _start(theirs.fileno())
            ours.send((function, question, timeout_s + _ENDS_AFTER_S))
            _heard(ours, _BEGINS_WITHIN_S, meanwhile)
            return _heard(ours, timeout_s, meanwhile)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise FreshProcessDied from error


def _heard(connection: Connection, timeout_s: float, meanwhile: Callable[[], None]) -> Any:
    deadline = time.monotonic() + timeout_s
    while not connection.poll(_LOOK_S):
        meanwhile()
        if time.monotonic() > deadline:
            raise TookTooLong
    try:
        return connection.recv()
    except EOFError:
        if time.monotonic() > deadline:  # it has ended itself
            raise TookTooLong from None
        raise


def _start(descriptor: int) -> None:
    fork_fd = os.environ.get(FD_VARIABLE)
    if fork_fd is not None:
        with socket.socket(fileno=os.dup(int(fork_fd))) as keeper:
            socket.send_fds(keeper, [_FORK], [descriptor])
        return
    null = subprocess.DEVNULL
    command = [sys.executable, "-m", "tasks.fresh_process", str(descriptor)]
    subprocess.Popen(command, pass_fds=[descriptor], stdin=null, stdout=null, stderr=null)


def main(descriptor: int) -> int:
    """Answer what is asked over the connection; returns the exit code.

    An answer that takes longer than it may ends the process (SIGALRM).
    """
    Path("/proc/self/oom_score_adj").write_text(_DIES_FIRST)
    connection = Connection(descriptor)
    try:
        function, question, timeout_s = connection.recv()
    except EOFError:
        return 0
    connection.send("begins")
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    module, _, name = function.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(question)
    except Exception as error:
        answer = Failed.of(error)
    connection.send(answer)
    return 0


if __name__ == "__main__":
    # By its name: a Failed of __main__ could not be read by who asked.
    sys.exit(importlib.import_module("tasks.fresh_process").main(int(sys.argv[1])))
