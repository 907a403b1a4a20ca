"""Suitability of a Redis, looked at whenever a service starts: it may lose jobs, or let them wait.

Both clients are tried, the job store's and Celery's: each reads its own options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from trainyard.contract.error_tree import TrainyardError
from trainyard.redis_check.probes import troubles_of_commands
from trainyard.redis_check.troubles import Trouble, trouble_of
from trainyard.redis_url import RedisUrl, parse_redis_url
from trainyard.store.connection import SOCKET_TIMEOUT_S, connect

OLDEST = (6, 2)
"""The first version with XAUTOCLAIM, which takes over what a reader of the stream left."""


class UnsuitableRedis(TrainyardError):
    """This Redis does not answer, or would lose jobs; the text says what must be set."""


def check(url: str) -> list[str]:
    """Warnings about the Redis at ``url``. Raises UnsuitableRedis if no job should trust it."""
    found = troubles(url)
    for trouble in found:
        if trouble.kind in ("lasting", "away"):
            raise UnsuitableRedis(trouble.sentence, trouble.mend)
    return [f"{trouble.sentence}: {trouble.mend}" for trouble in found]


def troubles(url: str) -> list[Trouble]:
    """Everything that is wrong with the Redis at ``url``."""
    address = parse_redis_url(url)
    username = address.username or "default"
    try:
        with connect(url, retries=0) as redis:
            redis.ping()
            found = troubles_of_commands(redis, username)
            if not any(trouble.kind == "lasting" for trouble in found):
                found += _troubles_of_server(redis.info())
        if not any(trouble.kind == "lasting" for trouble in found):
            with _celerys_client(address) as celerys:
                found += troubles_of_commands(celerys, username)
    except (RedisError, OperationalError) as error:
        return [trouble_of(error)]
    return list(dict.fromkeys(found))


def _troubles_of_server(info: dict[str, Any]) -> Iterator[Trouble]:
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        yield Trouble(f"Redis {version} is too old", f"use {needed} or later")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Trouble(
            f"this Redis evicts keys (maxmemory-policy {policy}), so it would lose jobs",
            "set maxmemory-policy to noeviction",
        )
    if not info.get("aof_enabled"):
        yield Trouble(
            "Redis keeps no append-only file: a restart of it loses jobs",
            "set appendonly yes in redis.conf",
            kind="risk",
        )


@contextmanager
def _celerys_client(address: RedisUrl) -> Iterator[Any]:
    options = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        **address.broker_transport_options,
    }
    with Connection(
        address.broker_url, ssl=address.broker_use_ssl or False, transport_options=options
    ) as connection:
        connection.connect()
        yield connection.channel().client
