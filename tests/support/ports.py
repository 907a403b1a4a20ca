"""Ports that nobody holds."""

from __future__ import annotations

from trainyard.local.ports import free_ports


def free_port() -> int:
    """A TCP port of loopback that nobody holds now."""
    (port,) = free_ports(1)
    return port
