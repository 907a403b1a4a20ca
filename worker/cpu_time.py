"""How much processor time a process and everything below it have used."""

from __future__ import annotations

import os
from pathlib import Path

from worker.process_tree import descendants_of

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_time_s(pid: int) -> float:
    """Seconds of user and system time of ``pid``, its descendants, and children it has reaped.

    A snapshot: what a descendant has used is missing between its end and its reaping.
    Source: proc_pid_stat(5), utime to cstime.
    """
    return sum(map(_ticks, (pid, *descendants_of(pid)))) / _TICKS_PER_S


def _ticks(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, text.rpartition(")")[2].split()[11:15]))
