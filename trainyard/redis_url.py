"""Redis URL: one parsed address, from which the job store's client and Celery's broker are made.

    redis://[[user]:password@]host[:port][/database]
    rediss://...                          the same over TLS; the server's certificate is verified
    unix://[[user]:password@]/path[?db=N]
    sentinel://[[user]:password@]host[:port][,host[:port]]/service[/database]

Behind a ``?`` each takes ``password_file``, the path of a file that has the password in its place:
no environment shows it then. ``rediss://`` takes ``ssl_ca_certs``, ``ssl_certfile``,
``ssl_keyfile`` (paths), ``ssl_check_hostname`` and ``ssl_cert_reqs``, and ``sentinel://`` takes
``sentinel_password``. Two libraries use what is made here, redis-py and kombu, whose own readings
of one URL differ: kombu takes a ``rediss://`` without words for one that verifies nothing.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

PORT, SENTINEL_PORT = 6379, 26379
DATABASE_MAX = 1_000_000
_FORMS = (
    "redis://[user:password@]host[:port][/database], rediss://..., unix:///path[?db=N] or "
    "sentinel://[user:password@]host[:port],.../service[/database]"
)
_QUOTING = "percent-encode '/', '#', '?', '@', '[' and ':' within its password"
_CERT_REQS = {
    name: value
    for value in (ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED)
    for name in (value.name.lower(), value.name.lower().removeprefix("cert_"))
}
"""In redis-py's spelling (``required``) and in Celery's (``CERT_REQUIRED``), in small letters."""
_TLS_FIELDS = {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
_FIELDS = {
    "redis": {"db", "password_file"},
    "rediss": {"db", "password_file", *_TLS_FIELDS},
    "unix": {"db", "password_file"},
    "sentinel": {"sentinel_password", "password_file"},
}


@dataclass(frozen=True)
class RedisUrl:
    """Where a Redis is, and how one logs in. ``hosts``: (host, port) of the server, or of each
    sentinel if there is a ``service``; empty if ``path`` names a socket. ``tls``: what redis-py
    and kombu both call ``ssl_...``; None without TLS."""

    hosts: tuple[tuple[str, int], ...]
    database: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    path: str = ""
    service: str = ""
    sentinel_password: str | None = field(default=None, repr=False)
    tls: dict[str, Any] | None = None

    @property
    def url(self) -> str:
        """The address of one server as ``parse_redis_url`` reads it, without TLS."""
        if self.path:
            return f"unix://{self._login()}{quote(self.path)}?db={self.database}"
        ((host, port),) = self.hosts
        return f"redis://{self._login()}{host}:{port}/{self.database}"

    @property
    def broker_url(self) -> str:
        """The URL as kombu reads it; TLS and the sentinels' service stand in other settings."""
        login = self._login()
        if self.path:
            return f"redis+socket://{login}{quote(self.path)}?virtual_host={self.database}"
        hosts = [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        ]
        if self.service:
            return ";".join(f"sentinel://{login}{host}/{self.database}" for host in hosts)
        return f"{'rediss' if self.tls else 'redis'}://{login}{hosts[0]}/{self.database}"

    @property
    def broker_use_ssl(self) -> dict[str, Any] | None:
        """Celery's setting of that name."""
        return dict(self.tls) if self.tls else None

    @property
    def broker_transport_options(self) -> dict[str, Any]:
        """What kombu must know besides the URL."""
        if not self.service:
            return {}
        return {
            "master_name": self.service,
            "sentinel_kwargs": {"password": self.sentinel_password},
        }

    def _login(self) -> str:
        if self.password is None:
            return ""
        return f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"


def parse_redis_url(url: str) -> RedisUrl:
    """Read ``REDIS_URL``. Raises ValueError with what is wrong; no piece of a password is in it."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _FIELDS:
        raise ValueError(f"should be {_FORMS}")
    try:
        # Of several hosts urlsplit finds no port; they are taken apart here.
        parts = urlsplit(f"//{rest}")
        login, _, hosts = parts.netloc.rpartition("@")
        query = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise ValueError(f"is no URL: {_QUOTING} ({_FORMS})") from None
    if parts.fragment or "@" in login or hosts.startswith(":"):
        raise ValueError(f"is no URL: {_QUOTING} ({_FORMS})")
    unknown = sorted(query.keys() - _FIELDS[scheme])
    if unknown:
        known = ", ".join(sorted(_FIELDS[scheme]))
        raise ValueError(f"has {unknown[0]!r} behind the '?': {scheme}:// takes {known} there")
    return _address(scheme, login, hosts, parts, query)


def _address(
    scheme: str, login: str, hosts: str, parts: SplitResult, query: dict[str, str]
) -> RedisUrl:
    username, colon, password = login.partition(":")
    path = unquote(parts.path)
    named = query.get("password_file")
    if named is not None and (password or (username and not colon)):
        raise ValueError("has a password and a password_file: one of them")
    given = unquote(password if colon else username) or None
    common: dict[str, Any] = {
        "username": unquote(username) or None if colon else None,
        "password": given if named is None else _in_file(named),
    }
    if scheme == "unix":
        if hosts or len(path) < 2:
            raise ValueError("should name a socket by its whole path: unix:///run/redis.sock?db=0")
        return RedisUrl((), _database(query.get("db", "")), path=path, **common)
    if scheme == "sentinel":
        service, _, database = path.strip("/").partition("/")
        if not service:
            raise ValueError(
                "should name the service that the sentinels watch: sentinel://h1,h2/NAME"
            )
        return RedisUrl(
            tuple(_host(one, SENTINEL_PORT) for one in hosts.split(",")),
            _database(database),
            service=service,
            sentinel_password=query.get("sentinel_password"),
            **common,
        )
    return RedisUrl(
        (_host(hosts, PORT),),
        _database(query.get("db") or path.strip("/")),
        tls=_tls(query) if scheme == "rediss" else None,
        **common,
    )


def _in_file(path: str) -> str:
    try:
        password = Path(path).read_text().strip()
    except OSError as error:
        raise ValueError(f"names a password_file that cannot be read ({error.strerror})") from None
    if not password:
        raise ValueError("names a password_file that is empty")
    return password


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        return parts.hostname or "localhost", parts.port or port
    except ValueError:
        raise ValueError(f"is no URL: {_QUOTING} ({_FORMS})") from None


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text[:8]) <= DATABASE_MAX):
        raise ValueError("should end in the number of a database, such as /0")
    return int(text or 0)


def _tls(query: dict[str, str]) -> dict[str, Any]:
    asked = query.get("ssl_cert_reqs", "required").lower()
    if asked not in _CERT_REQS:
        raise ValueError("has an ssl_cert_reqs that is none of required, optional, none")
    found: dict[str, Any] = {
        name: query[name]
        for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
        if query.get(name)
    }
    hostname = query.get("ssl_check_hostname", "true").lower()
    if hostname not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("has an ssl_check_hostname that is neither true nor false")
    verified = _CERT_REQS[asked] is not ssl.CERT_NONE
    return found | {
        "ssl_cert_reqs": _CERT_REQS[asked],
        "ssl_check_hostname": verified and hostname in ("true", "1", "yes"),
    }
