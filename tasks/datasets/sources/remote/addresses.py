"""Address guard: which addresses may be connected to, held at the connection itself.

A name is resolved once, what it resolves to is checked, and that address is connected to: nothing
can answer the check with one address and the connection with another.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import urllib.request
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError

from tasks.datasets.sources.remote.special_addresses import is_public
from trainyard.contract.error_tree import Interruption

HEAD_S = 60.0
"""What a server may take for the head of an answer, from its first byte to its last."""


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


class _HeadInTime(http.client.HTTPResponse):
    """Ends a head that drips: a time-out of the socket begins anew with each byte."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._connected = sock
        self._hung_up = False

    def begin(self) -> None:
        timer = threading.Timer(HEAD_S, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            super().begin()
        finally:
            timer.cancel()
        if self._hung_up:  # what came until then looks like a whole head
            raise TimeoutError("the head of the answer did not come in time")

    def _hang_up(self) -> None:
        self._hung_up = True
        with contextlib.suppress(OSError):  # it has gone by itself
            self._connected.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """Connects to an address that was checked; certificates are still checked by name."""

    response_class = _HeadInTime

    def __init__(self, *args: Any, allow_private: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._allow_private = allow_private

    def _new_conn(self) -> socket.socket:
        if self._allow_private:
            return super()._new_conn()
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
                except ConnectTimeoutError:  # or refused, its subclass
                    continue
            self._dns_host = addresses[-1]
            return super()._new_conn()
        finally:
            self._dns_host = named


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def open_session(*, allow_private: bool) -> requests.Session:
    """A session that reaches public addresses alone, unless ``allow_private``.

    No password of this machine's ``.netrc`` is sent. Proxies of the environment are used only with
    ``allow_private``: what lies behind one cannot be checked.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    if allow_private:
        session.proxies = urllib.request.getproxies()
    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {
        scheme: partial(pool, allow_private=allow_private)
        for scheme, pool in (("http", _Pool), ("https", _TLSPool))
    }
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session
