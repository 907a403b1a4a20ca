"""TCP ports of this machine: which are free, and who holds one."""

from __future__ import annotations

import logging
import socket

import psutil

from trainyard.contract.error_tree import TrainyardError

LOOPBACK = "127.0.0.1"
logger = logging.getLogger(__name__)


class PortTaken(TrainyardError):
    """A port that a service needs is held; the text says by whom."""


def free_ports(count: int) -> list[int]:
    """Different TCP ports that nobody holds now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def check_free(port: int, service: str, setting: str) -> None:
    """Raises PortTaken, naming who holds the port; ``setting`` is what to set instead."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as error:
            raise PortTaken(
                f"port {port}, which {service} needs, is below those that this user may take",
                f"set {setting}",
            ) from error
        except OSError as error:
            raise PortTaken(
                f"port {port}, which {service} needs, is taken by {holder(port)}",
                f"end that, or set {setting}",
            ) from error


def holder(port: int) -> str:
    """The process that listens on a port of this machine, in words."""
    try:
        if process := listener(port):
            return f"process {process.pid} ({' '.join(process.cmdline())[:80]})"
    except psutil.Error as error:
        logger.debug("who holds port %d: %s", port, error)
    return "a process that this user may not see"


def listener(port: int) -> psutil.Process | None:
    """The process that listens on a port, if this user may see it. Raises psutil.Error."""
    for connection in psutil.net_connections("inet"):
        held = getattr(connection.laddr, "port", None)  # an unbound socket has no address
        listens = connection.status == psutil.CONN_LISTEN and held == port
        if listens and connection.pid is not None:
            return psutil.Process(connection.pid)
    return None
