"""Start of a training process: from the keeper's fork to the training's own code.

Runs in the child that the keeper forked. What happens here must leave the same process behind
whether the training goes on in this memory (preloaded) or in a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TextIO

from trainyard.prctl import die_with_parent, set_process_name
from worker.slot_process.stderr_lines import say

_OOM_SCORE_ADJ = 500
"""Added to the training's badness (0 to 1000): when the host's memory runs out the kernel shall
take the training, which can be started again, and not a worker, a keeper or Redis."""


FRESH_ENTRY = "tasks.fresh_process:main"
_NAMES = {
    "tasks.probe:main": "ty-probe",
    "tasks.generation.process:main": "ty-generation",
    FRESH_ENTRY: "ty-fresh",
}
"""What ``top`` and ``ps`` call a process that is no training, by its entry."""

PIPE_BYTES = 1 << 20
"""What the training may print while the supervisor waits for Redis, or while it is parked, without
waiting itself."""

PARKING_FD_VARIABLE = "TRAINYARD_PARKING_FD"
FORK_FD_VARIABLE = "TRAINYARD_FORK_FD"
"""Name, in a training's environment, the descriptors of its sockets with the keeper."""


@dataclass(frozen=True)
class TrainingStart:
    """All that a training process needs to begin.

    ``entry`` is ``module:function``; the function takes the descriptor of the event channel and
    returns the exit code. A fresh interpreter runs ``python -m module <events_fd>`` instead.
    ``env`` is set on top of the inherited variables.
    """

    entry: str
    env: Mapping[str, str]
    events_fd: int
    preloaded: bool


def make_output_pipe() -> tuple[int, int]:
    """A pipe for a training's output: where to read, where to write."""
    read, write = os.pipe()
    with contextlib.suppress(PermissionError):  # this user's pipes hold too much already
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def fork_training(
    start: TrainingStart, output: int, sockets: Mapping[str, int], close_own: Callable[[], None]
) -> int:
    """Fork the training process; returns its pid. Called by its keeper. Raises OSError.

    ``output`` becomes its stdout and stderr. ``sockets`` are the training's ends of those with its
    keeper, by the variables that name them. ``close_own`` closes there what is the keeper's alone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    keeper_pid = os.getpid()
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])
    try:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            close_own()
            _run_training(start, output, keeper_pid, sockets)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    return pid


def fork_fresh(training: TrainingStart, connection: int, close_own: Callable[[], None]) -> None:
    """Fork a process as ``training`` was, that answers over ``connection``, which is closed here.

    If that fails, the other end sees nothing but that.
    """
    try:
        with Path(os.devnull).open("wb") as null:
            start = replace(training, entry=FRESH_ENTRY, events_fd=connection)
            fork_training(start, null.fileno(), {}, close_own)
    except OSError as error:
        say(f"keeper: no fresh process: {error}")
    os.close(connection)


def _run_training(
    start: TrainingStart, output: int, keeper_pid: int, sockets: Mapping[str, int]
) -> NoReturn:
    """Turn this forked child into the training process and run it to its end.

    Never returns. Exit code 1, with a traceback on stderr, if an exception escapes.
    """
    code = 1
    try:
        os.setsid()
        if not die_with_parent(signal.SIGKILL, keeper_pid):
            os._exit(1)
        set_process_name(_NAMES.get(start.entry, "ty-training"))
        _default_signals()
        _raise_oom_score()
        _connect_standard_streams(output)
        os.environ.update(start.env)
        os.environ.update({name: str(fd) for name, fd in sockets.items()})
        code = _run_here(start) if start.preloaded else _run_fresh(start, sockets.values())
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        # No interpreter shutdown: it takes seconds with torch loaded, may wait for threads, and
        # would run the exit handlers that the slot process's imports registered.
        os._exit(code)


def _default_signals() -> None:
    for signum in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _raise_oom_score() -> None:
    path = Path("/proc/self/oom_score_adj")
    path.write_text(str(max(_OOM_SCORE_ADJ, int(path.read_text()))))


def _connect_standard_streams(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)


def _open_standard_streams() -> None:
    """New stream objects: the old ones may believe that they write to a file, and seek.

    The old ones stay open, since log handlers made during the preload may hold them; they write
    to the same descriptors.
    """
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = _line_buffered(1)
    sys.stderr = _line_buffered(2)


def _line_buffered(fd: int) -> TextIO:
    return os.fdopen(
        fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _run_here(start: TrainingStart) -> int:
    _open_standard_streams()
    faulthandler.enable()
    module, _, function = start.entry.partition(":")
    sys.argv = [module, str(start.events_fd)]
    return int(getattr(importlib.import_module(module), function)(start.events_fd))


def _run_fresh(start: TrainingStart, sockets: Iterable[int]) -> NoReturn:
    module = start.entry.partition(":")[0]
    for descriptor in (start.events_fd, *sockets):
        os.set_inheritable(descriptor, True)
    env = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONFAULTHANDLER": "1",
    }
    command = [sys.executable, "-m", module, str(start.events_fd)]
    os.execve(sys.executable, command, env)  # noqa: S606 - no shell is wanted


def _exit_code(end: SystemExit) -> int:
    """What the interpreter would make of ``sys.exit(...)``."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _flush() -> None:
    try:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Nobody reads the output any more: the supervisor is gone, and so are we in a moment.
        return
