"""Process settings of Linux, prctl(2): the parent-death signal, the subreaper, the process's name.

Run as a program it dies with its parent, and becomes another program, which goes on doing so:

    python -IS prctl.py PARENT_PID PROGRAM ARGUMENT...

A setting in the forked child itself would be no choice: a fork without exec in a threaded parent
is unsafe. The keeper loads this file, so it imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, argument: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    zero = ctypes.c_ulong(0)
    if libc.prctl(ctypes.c_int(option), value, zero, zero, zero) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def die_with_parent(signum: signal.Signals, parent_pid: int) -> bool:
    """Have the kernel send ``signum`` to this process when the parent's forking *thread* ends.

    Returns False if ``parent_pid`` is no longer the parent: it died before the setting could
    take effect, and the caller should end itself. Outlives exec; children do not inherit it.
    Raises OSError. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signum))
    return os.getppid() == parent_pid


def become_subreaper() -> None:
    """Adopt every orphaned descendant from now on. Not inherited by children. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_process_name(name: str) -> None:
    """Set the name that ``ps -o comm`` and ``top`` show (the first 15 bytes of it)."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def _become(parent_pid: str, *command: str) -> None:
    # What the parent ignores or blocks would come along with exec, and this signal shall arrive.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if not die_with_parent(signal.SIGTERM, int(parent_pid)):
        sys.exit("the parent has ended")
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    _become(*sys.argv[1:])
