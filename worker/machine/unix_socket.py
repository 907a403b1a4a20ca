"""Sockets between processes of one user on one host: abstract names, checked peers, descriptors.

The names lie in Linux's abstract namespace: no file, nothing to clean up, free again as soon as
the last holder has died. Anyone on the host can connect to such a name, or take it first: both
sides therefore check whose process the other one is.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("=iII")
_BACKLOG = 64


class Peer(NamedTuple):
    """Who is at the other end. For a client this is the process that called ``listen``."""

    pid: int
    uid: int


def address_of(name: str) -> bytes:
    """The abstract address of a socket name. Raises ValueError past 107 bytes."""
    address = b"\0" + name.encode()
    if len(address) > 108:
        raise ValueError(f"socket name has more than 107 bytes: {name[:40]!r}...")
    return address


def listen(name: str) -> socket.socket:
    """A listening, non-blocking socket under ``name``. Raises OSError (EADDRINUSE)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address_of(name))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def listener_of(descriptor: int) -> socket.socket:
    """A listening socket that this process has inherited; its children do not."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def connect(name: str, timeout_s: float) -> socket.socket:
    """A connection to ``name``; its peer is checked. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(address_of(name))
        check_peer(connection)
    except OSError:
        connection.close()
        raise
    return connection


def check_peer(connection: socket.socket) -> Peer:
    """Who is at the other end; raises PermissionError if it is not a process of this user."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    if uid != os.geteuid():
        raise PermissionError(f"the process at the other end belongs to uid {uid}, not to us")
    return Peer(pid, uid)


def receive_fds(connection: socket.socket, max_fds: int) -> tuple[bytes, list[int]]:
    """Bytes, and the descriptors that came along with them: close-on-exec, the caller's to close.

    Empty bytes mean that the other side has closed. Raises OSError.
    """
    fds = array.array("i")
    data, ancillary, _, _ = connection.recvmsg(
        65536, socket.CMSG_SPACE(max_fds * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, fds.tolist()
