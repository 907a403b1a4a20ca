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
from dataclasses import dataclass
from typing import Any

from kombu.exceptions import KombuError
from kombu.serialization import loads
from redis import Redis

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
    """What came is no request; the text says why."""


@dataclass(frozen=True)
class CeleryRequest:
    """``task_id`` is by what the client knows it; ``request`` is not looked at yet."""

    task_id: str
    request: Any


class CeleryRequests:
    """The queue ``requests``; ``stream`` is where its messages go."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self._keys = [stream, *keys_of(QUEUE_REQUESTS)]
        self._take = script(redis, "take_celery_requests")

    def take(self) -> int:
        """Move what waits to the stream, first by priority; returns how many."""
        return int(self._take(keys=self._keys, args=[_TAKEN_AT_ONCE]))


def task_id_of(fields: Mapping[str, str]) -> str:
    """The id that the sender of a message knows, without decoding it; "" if it is not found."""
    found = _TASK_ID.search(fields.get(FIELD, "")[-_ENVELOPE_CHARACTERS_MAX:])
    return found.group(1) if found else ""


def decode(raw: str) -> CeleryRequest:
    """Read a message of protocol 2 or 1. Raises NotUnderstood."""
    try:
        message = json.loads(raw)
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body, validate=True)
        content = message["content-type"], message["content-encoding"]
        payload = loads(body, *content, accept={"application/json"})
        headers = message.get("headers") or {}
        if "task" in headers:
            task, task_id, kwargs = headers["task"], headers.get("id"), payload[1]
        else:
            task, task_id, kwargs = payload["task"], payload.get("id"), payload["kwargs"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NotUnderstood(f"it is no message of Celery: {type(error).__name__}") from None
    except KombuError as error:
        raise NotUnderstood(f"its content is not JSON: {type(error).__name__}") from None
    if task != TASK_SUBMIT:
        raise NotUnderstood(f"the queue {QUEUE_REQUESTS} takes only {TASK_SUBMIT}")
    if not isinstance(kwargs, dict) or "request" not in kwargs:
        raise NotUnderstood(f"{TASK_SUBMIT} needs its keyword argument 'request'")
    return CeleryRequest(str(task_id or ""), kwargs["request"])
