"""Inherited connections: what a fork shares with its parent, and must let go of.

A socket that two processes hold lives on when one of them closes it: Redis goes on serving its
reader that is gone, and the parent's ``epoll`` goes on reporting it (epoll(7), "Questions and
answers", 6), under a number that is another connection's by then. kombu reads that one then,
without a time-out, and the worker's main process hangs for good.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

_TCP = (socket.AF_INET, socket.AF_INET6)
_STDERR = 2
"""Up to it: systemd's journal is a connection too."""


def let_go_of_connections() -> None:
    """In a fresh fork: hold none of the parent's connections. Their numbers stay taken.

    The parent's objects are here as well, and close their numbers when they are collected: those
    may not be another file's by then.
    """
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for entry in Path("/proc/self/fd").iterdir():
            if int(entry.name) > _STDERR and _is_connection(int(entry.name)):
                os.dup2(nowhere, int(entry.name), inheritable=False)
    finally:
        os.close(nowhere)


def _is_connection(descriptor: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
    except OSError:  # the folder's own
        return False
    with socket.socket(fileno=os.dup(descriptor)) as held:
        return held.family in _TCP or _has_named_peer(held)


def _has_named_peer(held: socket.socket) -> bool:
    """Of a Unix socket: whether it leads to a server, such as Redis. Pairs have no names."""
    try:
        return held.type == socket.SOCK_STREAM and bool(held.getpeername())
    except OSError:  # it leads nowhere
        return False
