"""Special addresses: those of no use to the public internet, from IANA's registries.

The interpreter's own table depends on its version, and had gaps (CVE-2024-4032). Of IPv6 only
what IANA gives out for global unicast is public, so that what it reserves tomorrow is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24"),
            *("192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    map(
        IPv6Network,
        (
            *("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20"),
            "3ffe::/16",  # of the 6bone, given back
        ),
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, an IPv4 one inside of it included."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _SPECIAL_IPV4)
    if not all(is_public(str(inner)) for inner in _ipv4_in(ip)):
        return False
    if ip in _MAPPED or ip in _NAT64:
        return True
    return ip in _GLOBAL_UNICAST and not any(ip in network for network in _SPECIAL_IPV6)


def _ipv4_in(ip: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that packets to ``ip`` may be sent on to."""
    number = int(ip)
    if ip in _MAPPED or ip in _NAT64 or (number >> 32 & 0xFFFF_FFFF) in _ISATAP:
        yield IPv4Address(number & 0xFFFF_FFFF)
    if ip in _SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
