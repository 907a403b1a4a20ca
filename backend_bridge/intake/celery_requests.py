"""Celery requests: task ``tasks.submit`` on the queue ``requests``.

Their messages are moved, as they are, into the request stream, whose consumer group then looks
after them: what a crashed consumer had taken, and what cannot be understood. Kombu's own consumer
would drop a message that is no JSON, and one that was taken in the moment of a crash.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kombu.exceptions import KombuError
from kombu.serialization import loads
from redis import Redis

from backend_bridge.intake.refusals import named_in
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.names import QUEUE_REQUESTS, TASK_SUBMIT
from trainyard.scheduling.queue import keys_of
from trainyard.store.scripts import script

FIELD = "celery"
"""The stream entry's field that holds a raw message."""
BASE64_RATIO = 4 / 3
"""A message's body is so many times as long as the request in it."""
_TAKEN_AT_ONCE = 100
_TASK_ID = re.compile(r'"correlation_id": ?"([^"\\]{1,200})"')
_ENVELOPE_CHARACTERS_MAX = 10_000
"""Behind the body of a message."""


class NotUnderstood(TrainyardError):
    """What came is no request; the text says why.

    ``named``: what of it names a job, and perhaps its token; {} if nothing does.
    """

    def __init__(self, sentence: str, named: Mapping[str, Any] | None = None) -> None:
        self.named = named or {}
        super().__init__(sentence)


class CeleryRequests:
    """The queue ``requests``; ``stream`` is where its messages go."""

    def __init__(self, redis: Redis, stream: str) -> None:
        # Clients of any language know the plain name; one with our own settings has our prefix.
        self._keys = [stream, *keys_of(QUEUE_REQUESTS, prefix=""), *keys_of(QUEUE_REQUESTS)]
        self._take = script(redis, "take_celery_requests")

    def take(self) -> int:
        """Move what waits to the stream, first by priority; returns how many."""
        return int(self._take(keys=self._keys, args=[_TAKEN_AT_ONCE]))


def task_id_of(raw: str) -> str:
    """The id that the sender of a message knows, without decoding it; "" if it is not found."""
    found = _TASK_ID.search(raw[-_ENVELOPE_CHARACTERS_MAX:])
    return found.group(1) if found else ""


class CeleryMessage:
    """A message of protocol 2 or 1, as it lay in the queue.

    ``task_id`` is by what its sender knows it, whatever else is wrong with it; "" if it has none.
    """

    def __init__(self, raw: str) -> None:
        self._parts = _object_in(raw)
        self._headers = _object(self._parts.get("headers"))
        self._properties = _object(self._parts.get("properties"))
        known = self._headers.get("id") or self._properties.get("correlation_id")
        self.task_id = known if isinstance(known, str) else task_id_of(raw)

    def request(self) -> Any:
        """The one argument of the task, which is not looked at yet. Raises NotUnderstood."""
        if self._headers.get("compression"):
            raise NotUnderstood("it is compressed: send it without compression")
        payload = self.payload()
        try:
            if "task" in self._headers:
                call, (args, kwargs, *_) = self._headers, payload
            else:
                call, args, kwargs = payload, payload["args"], payload["kwargs"]
            task, positional, by_name = call["task"], [*args], {**kwargs}
        except (ValueError, LookupError, TypeError) as error:
            raise _no_message(error) from None
        named = named_in(by_name.get("request"), *positional, by_name)
        if task != TASK_SUBMIT:
            raise NotUnderstood(f"the queue {QUEUE_REQUESTS} takes only {TASK_SUBMIT}", named)
        if reason := _not_now(call.get("eta"), call.get("expires")):
            raise NotUnderstood(reason, named)
        if "request" in by_name and not positional:
            return by_name["request"]
        if len(positional) == 1 and not by_name:
            return positional[0]
        needs = f"{TASK_SUBMIT} needs one argument, the request: kwargs={{'request': {{...}}}}"
        raise NotUnderstood(needs, named)

    def payload(self) -> Any:
        """What is in it, decoded. Raises NotUnderstood."""
        try:
            body = self._parts["body"]
            if self._properties.get("body_encoding") == "base64":
                body = base64.b64decode(body, validate=True)
            content = self._parts["content-type"], self._parts["content-encoding"]
            return loads(body, *content, accept={"application/json"})
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise _no_message(error) from None
        except KombuError as error:
            kind = type(error).__name__
            raise NotUnderstood(
                f"its content is not JSON: send it with serializer='json' ({kind})"
            ) from None


def _no_message(error: Exception) -> NotUnderstood:
    return NotUnderstood(f"it is no message of Celery: {type(error).__name__}")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _object_in(raw: str) -> dict[str, Any]:
    try:
        return _object(json.loads(raw))
    except (ValueError, RecursionError):
        return {}


def _not_now(eta: Any, expires: Any) -> str | None:
    """Why a message is not for this moment; None if it is. A job starts by queue and priority."""
    now = datetime.now(UTC)
    try:
        if eta and _time(eta) > now:
            return "it is for later (countdown or eta), which is not kept here: send it then"
        if expires and _time(expires) < now:
            return "it was read after the time at which it expires"
    except (ValueError, TypeError):
        return "its eta or expires is no time in ISO 8601"
    return None


def _time(text: str) -> datetime:
    """Times without a zone are in UTC, as Celery's are."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
