"""Memory of the host and of this process's control group: shortage, and out-of-memory kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
OWN_CGROUP = Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")

SHORT_BELOW = 0.10
"""Fraction of the memory, of the host or of a limit, below which the free part is too small."""


def shortage() -> str | None:
    """What is short of memory, in words for a log; None if nothing is. Raises OSError.

    Sources: proc(5) MemAvailable; the kernel's cgroup-v2.rst. A group's free part is its limit
    less its working set (``memory.current`` without ``inactive_file``), since page cache that
    nobody uses gives way.
    """
    total, available = _host_bytes()
    if available < SHORT_BELOW * total:
        return f"the host has {available >> 20} of {total >> 20} MiB left"
    for folder in _own_groups():
        limit = _limit_bytes(folder)
        if limit is None:
            continue
        left = limit - _working_set_bytes(folder)
        if left < SHORT_BELOW * limit:
            return f"the control group has {left >> 20} of {limit >> 20} MiB left"
    return None


def _host_bytes() -> tuple[int, int]:
    """MemTotal and MemAvailable."""
    lines = (line.split(":") for line in MEMINFO.read_text().splitlines())
    kib = {name: int(rest.split()[0]) for name, rest in lines}
    return kib["MemTotal"] << 10, kib["MemAvailable"] << 10


def _own_groups() -> Iterator[Path]:
    """The folders of this process's version 2 group and of those above it, which limit it too."""
    for line in OWN_CGROUP.read_text().splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0":
            group = CGROUP_ROOT / path.lstrip("/")
            yield group
            while group != CGROUP_ROOT:
                group = group.parent
                yield group


def _limit_bytes(folder: Path) -> int | None:
    try:
        text = (folder / "memory.max").read_text().strip()
    except FileNotFoundError:  # the root, or no memory controller
        return None
    return None if text == "max" else int(text)


def _working_set_bytes(folder: Path) -> int:
    current = int((folder / "memory.current").read_text())
    counters = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return current - int(counters["inactive_file"])


VMSTAT = Path("/proc/vmstat")


def oom_kills() -> int:
    """Processes that the kernel's out-of-memory killer has ended so far, as a counter that rises.

    Those of the machine and of this process's control groups: a container may show only one of
    them. Sources: the kernel's cgroup-v2.rst (memory.events), cgroup-v1/memory.rst
    (memory.oom_control), proc(5) (vmstat).
    """
    return _count(VMSTAT) + sum(map(_count, _counters()))


def _counters() -> Iterator[Path]:
    for group in _own_groups():
        yield group / "memory.events"
    for line in OWN_CGROUP.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            root = CGROUP_ROOT / "memory"
            # In a container the path is the host's, and the root is what the container sees.
            yield root / path.lstrip("/") / "memory.oom_control"
            if path != "/":
                yield root / "memory.oom_control"


def _count(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:  # no such counter in this container
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
