"""Whether the kernel killed for memory: its own counters, read before and after."""

from __future__ import annotations

from pathlib import Path

_VMSTAT = Path("/proc/vmstat")
_CGROUP = Path("/sys/fs/cgroup/memory.events")


def oom_kills() -> int:
    """Processes that the kernel's out-of-memory killer has ended so far (machine or container)."""
    return max(_counter(_VMSTAT), _counter(_CGROUP))


def _counter(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:  # no such counter in this container
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
