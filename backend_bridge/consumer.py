"""Requests that come through the Redis stream ``training:requests``, from any language.

An entry has one field, ``request``: the JSON of ``execute`` with ``"action": "start"``, or
``{"action": "pause" | "resume" | "cancel" | "force-start", "job_id": ...}``. Every entry is
answered on ``training:replies`` under its own id. What cannot be understood goes to
``training:rejected`` with the reason, never lost and never in the way of the rest. An entry is
acknowledged after it was acted upon; one whose consumer crashed is taken over by another, and
acting twice does no harm: admission knows the job already, and a control call says what is so.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from backend_bridge.admit import Admission, AdmissionRefused
from backend_bridge.contract import RequestInvalid
from backend_bridge.job_control import Answer, JobControl

REQUESTS, REPLIES, REJECTED = "training:requests", "training:replies", "training:rejected"
GROUP = "bridge"
ENTRIES_KEPT = 10_000
"""Replies and rejected entries that are kept."""
BLOCK_MS = 1000
TAKE_OVER_AFTER_MS = 15_000
RETRY_S = 1.0
log = logging.getLogger(__name__)

Entry = tuple[str, Mapping[str, str]]


class NotUnderstood(Exception):
    """An entry that is no request; the text says why."""


class StreamConsumer:
    """One consumer of the group ``bridge``; any number share the work."""

    def __init__(self, redis: Redis, admission: Admission, control: JobControl) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.admission = admission
        self.control = control
        self.name = f"{socket.gethostname()}-{os.getpid()}"

    def run(self, stop: threading.Event) -> None:
        """Consume until ``stop`` is set; a Redis that is away is waited for."""
        while not stop.is_set():
            try:
                self._ensure_group()
                while not stop.is_set():
                    self.consume()
            except RedisError as error:
                log.warning("request stream: Redis is away: %s", error)
                stop.wait(RETRY_S)

    def consume(self, block_ms: int = BLOCK_MS) -> None:
        """Act on what a crashed consumer left, then on what is new."""
        _, left, *_ = self.redis.xautoclaim(REQUESTS, GROUP, self.name, TAKE_OVER_AFTER_MS)
        self._act_on(left)
        new = self.redis.xreadgroup(GROUP, self.name, {REQUESTS: ">"}, count=10, block=block_ms)
        for _, entries in new or ():
            self._act_on(entries)

    def _ensure_group(self) -> None:
        try:
            self.redis.xgroup_create(REQUESTS, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _act_on(self, entries: list[Entry]) -> None:
        for entry_id, fields in entries:
            reply = self._reply_to(entry_id, fields or {})
            reply["request_id"] = entry_id
            self.redis.xadd(REPLIES, reply, maxlen=ENTRIES_KEPT, approximate=True)
            self.redis.xack(REQUESTS, GROUP, entry_id)

    def _reply_to(self, entry_id: str, fields: Mapping[str, str]) -> dict[str, str]:
        job_id = ""
        try:
            request = _decoded(fields)
            job_id = str(request.get("execution_id") or request.get("job_id") or "")
            answer = self._act(request)
        except NotUnderstood as error:
            reason = str(error)
            rejected = {"request_id": entry_id, "reason": reason, **_without_body(fields)}
            self.redis.xadd(REJECTED, rejected, maxlen=ENTRIES_KEPT, approximate=True)
            return {"success": "false", "job_id": job_id, "message": reason}
        except (RequestInvalid, AdmissionRefused) as error:
            return {"success": "false", "job_id": job_id, "message": str(error)}
        success = "true" if answer.success else "false"
        return {"success": success, "job_id": job_id, "message": answer.message}

    def _act(self, request: dict[str, Any]) -> Answer:
        action = request.pop("action", "start")
        if action == "start":
            admitted = self.admission.admit(request)
            return Answer(True, f"job {admitted.job_id} is {admitted.status}", None)
        job_id = request.get("job_id")
        if not isinstance(job_id, str) or not job_id:
            raise NotUnderstood(f"the action {action!r} needs a job_id")
        match action:
            case "pause":
                return self.control.pause(job_id)
            case "resume":
                checkpoint = request.get("checkpoint_path")
                return self.control.resume(job_id, str(checkpoint) if checkpoint else None)
            case "cancel":
                return self.control.cancel(job_id, force=request.get("force") is True)
            case "force-start":
                return self.control.force_start(
                    job_id, from_start=request.get("from_start") is True
                )
        raise NotUnderstood(f"no such action: {str(action)[:100]!r}")


def _decoded(fields: Mapping[str, str]) -> dict[str, Any]:
    text = fields.get("request")
    if text is None:
        raise NotUnderstood("the entry has no field 'request'")
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"the field 'request' is no JSON: {error}") from None
    if not isinstance(request, dict):
        raise NotUnderstood("the field 'request' is no JSON object")
    return request


def _without_body(fields: Mapping[str, str]) -> dict[str, str]:
    """Names and sizes alone: what is no JSON may hold a token anywhere."""
    return {
        "fields": ", ".join(f"{name} ({len(value)} characters)" for name, value in fields.items())
    }
