"""Connections to Redis, with time-outs, and patience for writes that must not be lost."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import tenacity
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from trainyard.redis_url import parse_redis_url

SOCKET_TIMEOUT_S = 5.0
_REFUSES_WRITES = re.compile(r"\b(OOM|MISCONF|READONLY|NOREPLICAS)\b")
"""Inside the text of an error of a script too, which redis-py gives no class of its own."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


def connect(url: str, *, retries: int = 3, timeout_s: float = SOCKET_TIMEOUT_S) -> Redis:
    """A client that decodes to str, with time-outs, trying again after a broken connection."""
    address = parse_redis_url(url)
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password,
        "decode_responses": True,
        "encoding_errors": "replace",  # rubbish that others push into a queue must not stop us
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "health_check_interval": 30,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), retries),
        "retry_on_error": [BusyLoadingError, ConnectionError, TimeoutError],
    }
    if address.path:
        return Redis(unix_socket_path=address.path, **options)
    options["socket_keepalive"] = True
    if address.service:
        asked = {"password": address.sentinel_password, "socket_timeout": timeout_s}
        sentinels: Any = Sentinel  # redis-py leaves its types out
        found = sentinels(address.hosts, sentinel_kwargs=asked).master_for(
            address.service, **options
        )
        return cast(Redis, found)
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, ssl=address.tls is not None, **options, **address.tls or {})


def ping(url: str, timeout_s: float) -> None:
    """Raises RedisError within ``timeout_s`` if Redis does not answer; tries once."""
    with connect(url, retries=0, timeout_s=timeout_s) as probe:
        probe.time()  # PING is refused by one that cannot write to its disk


def is_passing(error: RedisError) -> bool:
    """Whether Redis may take the same write later: it is away, or refuses writes for now (memory or
    disk full, a replica)."""
    return isinstance(error, ConnectionError | TimeoutError | OutOfMemoryError | ReadOnlyError) or (
        isinstance(error, ResponseError) and bool(_REFUSES_WRITES.search(str(error)))
    )


def patiently(call: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
    """Call until Redis answers, for writes that must not be lost; ``call`` must bear repeating.

    Raises the last RedisError if ``give_up()`` is true after a try.
    """
    retrying = tenacity.Retrying(
        stop=lambda _: give_up(),
        reraise=True,
        retry=tenacity.retry_if_exception_type(RedisError),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2.0),
        before_sleep=tenacity.before_sleep_log(logger, logging.WARNING),
    )
    return retrying(call)
