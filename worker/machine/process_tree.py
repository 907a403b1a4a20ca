"""Process tree: helpers for a process that answers for all its descendants.

A *subreaper* adopts every orphan below it, so that "no child is left" (``has_children()`` is
False: the kernel's ECHILD) proves that no descendant is left: no listing of ``/proc`` could, since
a process may fork while it is being listed.

Pids are reused. A direct child keeps its pid until it is reaped, which only we do; any other
process is signalled through a pidfd, opened first and then checked to be still the child it was.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """The part of ``/proc/<pid>/stat`` that tells where a process stands in the tree."""

    state: str
    parent_pid: int
    group_id: int
    session_id: int
    start_ticks: int

    @property
    def is_zombie(self) -> bool:
        """Whether the main thread has ended; if it was the last one, the process has."""
        return self.state in "ZXx"


def process_stat(pid: int) -> ProcessStat | None:
    """Where ``pid`` stands in the process tree, or None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return ProcessStat(fields[0], *map(int, (*fields[1:4], fields[19])))


@functools.cache
def _here() -> str:
    """This machine since it was started, and the pids that we see."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"


def birth_of(pid: int) -> str:
    """Identity of a process among all that ever had its pid, on any machine; "" if it has ended."""
    stat = process_stat(pid)
    return "" if stat is None or stat.is_zombie else f"{_here()} {stat.start_ticks}"


def has_ended(pid: int, birth: str) -> bool:
    """Whether that process is known to have ended; of one on another machine nothing is known."""
    return birth.startswith(f"{_here()} ") and birth_of(pid) != birth


@functools.cache
def _kernel_lists_children() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _children_from_kernel(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            # A thread or a process may end between two reads.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.extend(map(int, (task / "children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _children_by_scan() -> dict[int, list[int]]:
    by_parent: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := process_stat(int(entry.name))) is not None:
            by_parent.setdefault(stat.parent_pid, []).append(int(entry.name))
    return by_parent


def children_of(pid: int) -> list[int]:
    """Pids of the children of ``pid``, zombies included.

    Complete for the calling process itself, whose children only it can reap; a snapshot that may
    miss some for any other. Kernels without ``CONFIG_PROC_CHILDREN`` are scanned.
    """
    if _kernel_lists_children():
        return _children_from_kernel(pid)
    return _children_by_scan().get(pid, [])


def descendants_of(pid: int, spare: Collection[int] = ()) -> dict[int, int]:
    """Every descendant of ``pid`` (zombies included) with its parent, ancestors first.

    ``spare`` names processes that are left out, with all that is below them.
    """
    look_up = (
        _children_from_kernel
        if _kernel_lists_children()
        else functools.partial(_look_up, _children_by_scan())
    )
    parents: dict[int, int] = {}
    unread = [pid]
    while unread:
        parent = unread.pop()
        for child in look_up(parent):
            if child not in parents and child not in spare:
                parents[child] = parent
                unread.append(child)
    return parents


def _look_up(by_parent: dict[int, list[int]], pid: int) -> list[int]:
    return by_parent.get(pid, [])


def kill_descendants(spare: Collection[int] = ()) -> set[int]:
    """Send SIGKILL to every descendant of this process that can be seen now.

    Returns the pids of those that were alive. Processes that are born meanwhile are missed: call
    it again until none is left. ``spare`` as in :func:`descendants_of`.
    """
    own_pid, own_session = os.getpid(), os.getsid(0)
    alive: set[int] = set()
    groups: set[int] = set()
    for pid, parent in descendants_of(own_pid, spare).items():
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            stat = process_stat(pid)
            # Neither where it was nor adopted by us since: perhaps another process altogether.
            if stat is None or stat.parent_pid not in (parent, own_pid):
                continue
            if not stat.is_zombie:
                alive.add(pid)
            # Zombies too: if the main thread has exited, other threads may run on.
            if stat.session_id != own_session:
                groups.add(stat.group_id)
            # A set-user-id program may be out of our reach; it shows up as still alive.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)
    _kill_groups(groups)
    return alive


def _kill_groups(groups: Iterable[int]) -> None:
    """Kill process groups of sessions that our descendants opened: all members are descendants.

    The kernel delivers a group's signal in one step with regard to fork(2), so that not even
    a process that forks without pause gets away.
    """
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


class Exit(NamedTuple):
    """How a child ended: exactly one of ``exit_code`` and ``signal`` is set."""

    pid: int
    exit_code: int | None
    signal: int | None


def reap() -> Iterator[Exit]:
    """Reap every child that has ended, own or adopted; does not wait."""
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if result is None:
            return
        if result.si_code == os.CLD_EXITED:
            yield Exit(result.si_pid, result.si_status, None)
        else:
            yield Exit(result.si_pid, None, result.si_status)


def has_children() -> bool:
    """Whether any child is left, alive or not yet reaped; False is proof that none is."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def close_fds_except(keep: Collection[int]) -> None:
    """Close every file descriptor of this process but those in ``keep``."""
    for fd in open_fds() - set(keep):
        os.close(fd)


def open_fds() -> set[int]:
    """The open file descriptors of this process."""
    listed = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 - names wanted
    return {fd for fd in listed if _is_open(fd)}


def _is_open(fd: int) -> bool:
    """False for the descriptor that listing the folder itself took."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


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
