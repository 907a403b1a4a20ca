"""What every training process of a soak leaves behind as evidence, without its help.

Python imports this file at its start where the folder is on PYTHONPATH. In the slot process it
waits for forks; in a training, which is forked twice from there, each sign of work is one line
``<monotonic ns> <process> <what>`` in ``$CHAOS_WITNESS/<job>.signs``:

    open, rename    a file of the job's folder is opened for writing, or renamed
    step:<n>        the n-th optimizer step has ended
    contended       another living process tree works, or waits parked, for the same job

A process is named by its session and start time, so that a pid that comes again is another one.
The last sign comes from the kernel: at its first sign a training takes an exclusive lock that
it shares with whatever it forks, so the lock is free only when the whole tree is dead.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any


class Witness:
    """Writes the signs of one process tree."""

    def __init__(self, folder: str, job_id: str) -> None:
        self._signs = Path(folder) / f"{job_id}.signs"
        started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        self._process = f"{os.getsid(0)}-{started}"
        self._lock = os.open(Path(folder) / f"{job_id}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.sign("contended")

    def sign(self, what: str) -> None:
        """Append one line; a signal or an audit event in the middle of it adds none."""
        line = f"{time.monotonic_ns()} {self._process} {what}\n".encode()
        out = os.open(self._signs, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            os.write(out, line)
        finally:
            os.close(out)


class Watch:
    """Makes the witness of this process when it gives its first sign as a training."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._witness: Witness | None = None
        self._busy = False

    def sign(self, what: str) -> None:
        """Note a sign of work, unless it comes from the noting itself."""
        if self._busy:
            return
        self._busy = True
        try:
            if self._witness is None:
                self._witness = Witness(self._folder, os.environ["TRAINYARD_JOB_ID"])
            self._witness.sign(what)
        finally:
            self._busy = False

    def on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's audit hook: files of the job's folder that are written or renamed."""
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else False
            if (writes or (isinstance(mode, str) and mode[:1] in "wax")) and _of_a_job(path):
                self.sign("open")
        elif event == "os.rename" and _of_a_job(arguments[0]):
            self.sign("rename")

    def watch_steps(self) -> None:
        """Note the end of each optimizer step that transformers' Trainer makes."""
        handler = sys.modules["transformers.trainer_callback"].CallbackHandler
        on_step_end = handler.on_step_end

        def noted(this: Any, args: Any, state: Any, control: Any) -> Any:
            self.sign(f"step:{state.global_step}")
            return on_step_end(this, args, state, control)

        handler.on_step_end = noted


def _of_a_job(path: Any) -> bool:
    return (
        "TRAINYARD_JOB_ID" in os.environ
        and isinstance(path, str | bytes | os.PathLike)
        and f"/jobs/{os.environ['TRAINYARD_JOB_ID']}/" in os.fsdecode(path)
    )


def _after_fork() -> None:
    """In a keeper, then in its training: one watch for both."""
    global _watch  # noqa: PLW0603 - one for each process
    if _watch is None and "transformers.trainer_callback" in sys.modules:
        _watch = Watch(os.environ["CHAOS_WITNESS"])
        _watch.watch_steps()
        sys.addaudithook(_watch.on_audit_event)


_watch: Watch | None = None
if "CRASH_FOLDER" in os.environ:
    import crash_points

    crash_points.watch(Path(os.environ["CRASH_FOLDER"]))
if "CHAOS_WITNESS" in os.environ and "worker.slot_process" in sys.orig_argv:
    os.register_at_fork(after_in_child=_after_fork)
