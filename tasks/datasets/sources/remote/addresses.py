"""Address guard: which addresses may be connected to, held at the connection itself.

A name is resolved once, what it resolves to is checked, and that address is connected to: nothing
can answer the check with one address and the connection with another.
"""

from __future__ import annotations

import os
import socket
import urllib.request
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError

from tasks.datasets.sources.remote.lengths import ExactResponse
from tasks.datasets.sources.remote.special_addresses import is_public
from trainyard.contract.error_tree import Interruption


class PrivateAddress(Interruption):
    """A host is, or resolves to, an address that is not of the public internet."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


def public_addresses(host: str, port: int) -> list[str]:
    """What ``host`` resolves to. Raises PrivateAddress where any of it is not public, OSError."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not all(map(is_public, addresses)):
        raise PrivateAddress(host)
    return addresses


class _Exact(HTTPConnection):
    response_class = ExactResponse


class _ExactTLS(_Exact, HTTPSConnection):
    pass


class _PublicOnly(_Exact):
    """Connects to an address that was checked; certificates are still checked by name."""

    def _new_conn(self) -> socket.socket:
        named = self._dns_host
        try:
            addresses = public_addresses(named, self.port or self.default_port)
        except (OSError, UnicodeError) as error:
            # Not looked up again: the answer to that would be one that nobody has checked.
            raise NameResolutionError(named, self, socket.gaierror(str(error))) from error
        try:
            for address in addresses[:-1]:
                self._dns_host = address
                try:
                    return super()._new_conn()
                except NewConnectionError:
                    continue
            self._dns_host = addresses[-1]
            return super()._new_conn()
        finally:
            self._dns_host = named


class _PublicOnlyTLS(_PublicOnly, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Exact


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _ExactTLS


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicOnly


class _PublicTLSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicOnlyTLS


class _Adapter(HTTPAdapter):
    pools: ClassVar[dict[str, Any]] = {"http": _Pool, "https": _TLSPool}

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self.pools


class _PublicAdapter(_Adapter):
    pools: ClassVar[dict[str, Any]] = {"http": _PublicPool, "https": _PublicTLSPool}


def open_session(*, allow_private: bool) -> requests.Session:
    """A session that reaches public addresses alone, unless ``allow_private``.

    No password of this machine's ``.netrc`` is sent. Proxies of the environment are used only with
    ``allow_private``: what lies behind one cannot be checked.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    # One answer for each connection: see tasks.datasets.sources.remote.lengths.
    session.headers["Connection"] = "close"
    if allow_private:
        session.proxies = urllib.request.getproxies()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter() if allow_private else _PublicAdapter())
    return session
