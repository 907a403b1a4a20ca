"""Names of this machine and of its slots: the same after each restart, and in a new container."""

from __future__ import annotations

import re
import socket
from functools import cache

from trainyard.settings import settings

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")
"""A container's host name, if it was given none: another one each time that it is made."""


def host_name() -> str:
    """TRAINYARD_HOST, or the machine's own name. Raises SettingsError."""
    return settings().trainyard_host or _machine_name()


def slot_name(number: int) -> str:
    """Name of a slot of this host: ``<host>-<n>``. Raises SettingsError."""
    return f"{host_name()}-{number}"


def host_of(slot: str) -> str:
    """The host in a slot's name; "" if it was given a name without."""
    return slot.rpartition("-")[0]


@cache
def _machine_name() -> str:
    """Its host name; in a container that has none, the container's name (``yard-worker-1``).

    Docker's name server knows that by the address.
    """
    host = socket.gethostname()
    if not _CONTAINER_ID.fullmatch(host):
        return host
    try:
        return socket.gethostbyaddr(socket.gethostbyname(host))[0].partition(".")[0]
    except OSError:
        return host
