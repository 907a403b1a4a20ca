"""Flower's configuration, which every `celery -A worker.app flower` in this folder reads.

Flower by itself listens on all addresses and asks for no password.
"""

import sys
from logging import LogRecord, getLogger  # a module of that name would be taken for the option
from typing import Any

from flower.events import EventsState
from flower.utils.broker import RedisBase, RedisSocket
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from redis.asyncio import Redis
from tornado.options import options
from tornado.web import RequestHandler, authenticated

from backend_bridge.api.guards import is_loopback
from trainyard.home import keep_private
from trainyard.redaction import Redactor
from trainyard.redis_url import parse_redis_url
from trainyard.service_logs import Repeated, service_formatter
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

persistent, state_save_interval = True, 60_000
db = str(current.trainyard_home / "flower" / "history")
(current.trainyard_home / "flower").mkdir(parents=True, exist_ok=True)

reached_at = current.flower_published_on or address
guarded = basic_auth or options.auth or options.unix_socket
if not guarded and not is_loopback(reached_at):
    sys.exit(
        f"flower: {reached_at} is reachable from other machines: "
        "set FLOWER_BASIC_AUTH=user:password, or serve 127.0.0.1"
    )

_redactor, _take_in = Redactor(), EventsState.event


def _in_our_words(record: LogRecord) -> bool:
    """Four lines, one a method, say at each start that workers take longer than Flower."""
    if record.msg == "Inspect method %s failed":
        record.msg, record.args = "no worker has answered Flower yet", ()
    return True


for _handler in getLogger().handlers:  # Tornado's, made before it reads this file
    _handler.setFormatter(service_formatter("flower"))
    _handler.addFilter(_in_our_words)
    _handler.addFilter(Repeated())


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


# Buttons that cannot act: what each worker refuses, and without a password what Flower refuses.
_REFUSED = "[id^=worker-pool-], [id^=task-rate-limit-], [id^=task-timeout-]"
_GUARDED = (
    "#worker-shutdown, [id^=worker-cancel-consumer-], #worker-add-consumer, #task-terminate, "
    "#task-revoke"
)
_hidden = _REFUSED if guarded else f"{_REFUSED}, {_GUARDED}"


def _without_dead_buttons(self: BaseHandler, template_name: str, **values: Any) -> bytes:
    page = RequestHandler.render_string(self, template_name, **values)
    style = f"<style>{_hidden} {{ display: none; }}</style></head>"
    return page.replace(b"</head>", style.encode(), 1)


BaseHandler.render_string = _without_dead_buttons
Metrics.get = authenticated(Metrics.get)  # names of workers and tasks are in them
RedisSocket.__init__ = _open_socket
