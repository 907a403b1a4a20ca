"""Connections of a parent, in its fork: let go of, and nothing else is."""

from __future__ import annotations

import os
import select
import socket
import stat
from pathlib import Path

from tests.support.ports import free_port
from worker.machine.inherited import let_go_of_connections


def in_a_fork(pipe: int, connection: socket.socket, *ours: socket.socket) -> None:
    """Exits with 0 if all is as it should be."""
    let_go_of_connections()
    number = connection.fileno()
    fresh = socket.create_server(("127.0.0.1", free_port()))
    kept = os.fstat(pipe) and all(stat.S_ISSOCK(os.fstat(one.fileno()).st_mode) for one in ours)
    taken = fresh.fileno() != number and os.path.samestat(os.fstat(number), Path(os.devnull).stat())
    connection.close()  # as the collector would: another's number it may not be
    os._exit(0 if kept and taken and os.fstat(fresh.fileno()) else 1)


def test_a_fork_holds_no_connection_of_its_parent() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(server.getsockname())
    far, _ = server.accept()
    read, write = os.pipe()
    unix = socket.socket(socket.AF_UNIX)
    poller = select.epoll()
    poller.register(near, select.EPOLLIN)
    with server, near, far, unix, poller:
        if (pid := os.fork()) == 0:
            os.set_blocking(read, False)
            in_a_fork(read, near, unix)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        far.sendall(b"it is still ours")
        assert poller.poll(5)
    os.close(read)
    os.close(write)


def test_nor_one_to_a_server_on_this_host(tmp_path: Path) -> None:
    """The embedded Redis is reached through a Unix socket."""
    server, near = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "redis.sock"))
    server.listen()
    near.connect(str(tmp_path / "redis.sock"))
    pair, other = socket.socketpair()
    read, write = os.pipe()
    with server, near, pair, other:
        if (pid := os.fork()) == 0:
            in_a_fork(read, near, server, pair, other)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(read)
    os.close(write)
