"""Which names and addresses mean this machine, or this network of containers, alone."""

from __future__ import annotations

import re
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Of a host name or an address that something listens on or is asked by."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_short_name(host: str) -> bool:
    """Of a name without a dot, as containers call each other: no public name server knows it."""
    return re.fullmatch("[a-z0-9_-]+", host) is not None
