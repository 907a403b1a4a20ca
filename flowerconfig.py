"""Flower's configuration, which every `celery -A worker.app flower` in this folder reads.

Flower by itself listens on all addresses and asks for no password.
"""

import sys
from typing import Any

from flower.events import EventsState
from flower.utils.broker import RedisBase, RedisSocket
from flower.views.monitor import Metrics
from redis.asyncio import Redis
from tornado.options import options
from tornado.web import authenticated

from backend_bridge.api.guards import is_loopback
from trainyard.home import keep_private
from trainyard.redaction import Redactor
from trainyard.redis_url import parse_redis_url
from trainyard.settings import SettingsError, settings

keep_private()
try:
    current = settings()
except SettingsError as error:
    sys.exit(f"flower: {error}")

port = current.flower_port
address = options.address or "127.0.0.1"
basic_auth = [login for login in options.basic_auth or () if login]
if current.flower_basic_auth is not None:
    basic_auth = [current.flower_basic_auth.get_secret_value()]

reached_at = current.flower_published_on or address
guarded = basic_auth or options.auth or options.unix_socket
if not guarded and not is_loopback(reached_at):
    sys.exit(
        f"flower: {reached_at} is reachable from other machines: "
        "set FLOWER_BASIC_AUTH=user:password, or serve 127.0.0.1"
    )

_redactor, _take_in = Redactor(), EventsState.event


def _take_in_without_secrets(self: EventsState, event: dict[str, Any]) -> None:
    """A Celery client with ``task_send_sent_event`` publishes its request, token and all."""
    shown = {k: _redactor.text(v) if isinstance(v, str) else v for k, v in event.items()}
    _take_in(self, shown)


EventsState.event = _take_in_without_secrets


def _open_socket(self: RedisSocket, *arguments: Any, **options: Any) -> None:
    """By our reading of REDIS_URL: Flower's own knows no user, no database and no quoted path."""
    RedisBase.__init__(self, *arguments, **options)
    found = parse_redis_url(current.redis_location)
    self.redis = Redis(
        unix_socket_path=found.path,
        db=found.database,
        username=found.username,
        password=found.password,
        socket_timeout=self.socket_timeout,
    )


Metrics.get = authenticated(Metrics.get)  # names of workers and tasks are in them
RedisSocket.__init__ = _open_socket
