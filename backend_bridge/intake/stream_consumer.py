"""Stream consumer: requests that come through Redis, by its stream or the queue ``requests``.

An entry of ``training:requests`` has one field, ``request``: the JSON of ``execute`` with
``"action": "start"``, or ``{"action": "pause" | "resume" | "cancel" | "force-start", "job_id":
...}``. A Celery message holds the same (``celery_requests``). Each is answered on
``training:replies`` under the id that its sender knows: the entry's, or the Celery task's. What
cannot be understood, or is larger than HTTP would take it, goes to ``training:rejected`` with the
reason and its size, never in the way of the rest, and is counted. If a refused request names a job
and its token, the backend is told ``failed`` with the reason (``refusals``). An entry is
acknowledged, and deleted for the token that it holds, after it was acted upon; one whose consumer
crashed is taken over by another, and acting twice does no harm: admission knows the job already,
and a control call says what is so. One of all consumers looks for Celery's messages and for what a
crashed one left; all listen to the stream.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from backend_bridge.intake import celery_requests
from backend_bridge.intake.admission import Admission, AdmissionRefused, too_large
from backend_bridge.intake.celery_requests import CeleryMessage, CeleryRequests, NotUnderstood
from backend_bridge.intake.job_control import ControlResult, JobControl
from backend_bridge.intake.refusals import (
    Refusal,
    Refusals,
    named_in,
    refusals_of,
    without_token,
)
from trainyard.contract.fields.bounded_json import loads
from trainyard.contract.names import JOB_ID_PATTERN, JOB_ID_RULE, REJECTED, REPLIES, REQUESTS
from trainyard.contract.request import RequestInvalid
from trainyard.contract.units import MB
from trainyard.scheduling.couriers import Duty
from trainyard.store.counters import count_rejected

GROUP = "bridge"
ENTRIES_KEPT = 10_000
"""Replies and rejected entries that are kept."""
BLOCK_MS = 250
"""A Celery message waits at most so long before it is looked for."""
LISTEN_MS = 1000
"""Who does not look for any listens so long for an entry, which is heard of at once."""
TAKE_OVER_AFTER_MS = 15_000
RETRY_S = 1.0
logger = logging.getLogger(__name__)

Entry = tuple[str, Mapping[str, str]]


@dataclass(frozen=True)
class EntryOutcome:
    """``reply``: fields for the sender; ``refusals``: for the backend; ``rejected``: whether the
    entry goes to ``training:rejected``."""

    reply: dict[str, str]
    refusals: Sequence[Refusal] = ()
    rejected: bool = False


class StreamConsumer:
    """One consumer of the group ``bridge``; any number share the work."""

    def __init__(
        self, redis: Redis, admission: Admission, control: JobControl, max_request_mb: float
    ) -> None:
        self.redis: Any = redis  # redis-py types every answer as bytes or str, sync or async
        self.admission = admission
        self.control = control
        self.max_request_mb = max_request_mb
        self.celery = CeleryRequests(redis, REQUESTS)
        self.refusals = Refusals(redis)
        self.duty = Duty(redis, "requests", every_s=LISTEN_MS / 1000)
        self.name = f"{socket.gethostname()}-{os.getpid()}"

    def run(self, stop: threading.Event) -> None:
        """Consume until ``stop`` is set; a Redis that is away is waited for."""
        while not stop.is_set():
            try:
                self._ensure_group()
                while not stop.is_set():
                    if self.duty.is_mine():
                        self.consume()
                    else:
                        self.consume(LISTEN_MS, looks=False)
            except RedisError as error:
                logger.warning(
                    "request stream: Redis is away: %s", error, extra={"action": "redis_away"}
                )
                stop.wait(RETRY_S)

    def consume(self, block_ms: int = BLOCK_MS, *, looks: bool = True) -> None:
        """Act on what is new. ``looks``: before, on Celery's messages and what a crashed consumer
        left."""
        if looks:
            self.celery.take()
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
        for entry_id, found in entries:
            fields = found or {}
            outcome = self._outcome(entry_id, fields)
            pipe = self.redis.pipeline()  # MULTI: answered and counted once
            for refusal in outcome.refusals:
                self.refusals.tell(refusal, pipe)
            if outcome.rejected:
                self._reject(outcome.reply, fields, pipe)
            _add(pipe, REPLIES, outcome.reply)
            pipe.xack(REQUESTS, GROUP, entry_id)
            pipe.xdel(REQUESTS, entry_id)
            pipe.execute()

    def _outcome(self, entry_id: str, fields: Mapping[str, str]) -> EntryOutcome:
        reply = {"request_id": entry_id, "success": "false", "job_id": ""}
        request: Mapping[str, Any] = {}
        try:
            request = self._decoded(fields, reply)
            reply["job_id"] = _job_id(request)
            answer = self._act(request)
        except (NotUnderstood, RequestInvalid, AdmissionRefused) as error:
            rejected = isinstance(error, NotUnderstood)
            if isinstance(error, NotUnderstood) and error.named:
                request = error.named
            reply["job_id"] = _job_id(request)
            reply["message"] = reason = without_token(str(error), request)
            jobs_max = self.admission.max_sweep_jobs
            refused = refusals_of(request, reply["request_id"], reason, jobs_max)
            return EntryOutcome(reply, refused, rejected)
        except RedisError:
            raise
        except Exception as error:  # it would end every courier in turn, for ever
            reply["message"] = f"a defect of the bridge ({type(error).__name__})"
            frames = "".join(traceback.format_tb(error.__traceback__))  # its text may hold a token
            logger.error(
                "request stream: entry %s is rejected: %s\n%s",
                entry_id,
                reply["message"],
                frames,
                extra={"action": "request_rejected", "job_id": reply["job_id"]},
            )
            return EntryOutcome(reply, rejected=True)
        success = "true" if answer.success else "false"
        return EntryOutcome({**reply, "success": success, "message": answer.message})

    def _decoded(self, fields: Mapping[str, str], reply: dict[str, str]) -> dict[str, Any]:
        """The request of an entry; ``reply`` gets the id under which its sender waits for it."""
        raw = fields.get(celery_requests.FIELD)
        if self._is_too_large(fields):
            reply["request_id"] = celery_requests.task_id_of(raw or "") or reply["request_id"]
            raise NotUnderstood(too_large(self.max_request_mb))
        if raw is not None:
            message = CeleryMessage(raw)
            reply["request_id"] = message.task_id or reply["request_id"]
            request = message.request()
        elif "request" in fields:
            try:
                request = loads(fields["request"])
            except (ValueError, RecursionError) as error:
                raise NotUnderstood(f"the field 'request' is no JSON: {error}") from None
            except RequestInvalid as error:
                raise NotUnderstood(str(error)) from None
        else:
            raise NotUnderstood("the entry has no field 'request'")
        if not isinstance(request, dict):
            raise NotUnderstood("'request' is no JSON object", named_in(request))
        return request

    def _is_too_large(self, fields: Mapping[str, str]) -> bool:
        limit = self.max_request_mb * MB
        if celery_requests.FIELD in fields:
            limit *= celery_requests.BASE64_RATIO
        size = sum(map(len, fields.values()))  # characters: at most as many as there are bytes
        return size > limit or sum(len(value.encode()) for value in fields.values()) > limit

    def _reject(self, reply: Mapping[str, str], fields: Mapping[str, str], pipe: Any) -> None:
        """Names and sizes of the fields only: what is no JSON may hold a token anywhere."""
        sizes = (f"{name} ({len(value)} characters)" for name, value in fields.items())
        kept = {
            "request_id": reply["request_id"],
            "job_id": reply["job_id"],
            "reason": reply["message"],
            "fields": ", ".join(sizes),
        }
        _add(pipe, REJECTED, kept)
        count_rejected(pipe)

    def _act(self, request: Mapping[str, Any]) -> ControlResult:
        action = request.get("action", "start")
        if action == "start":
            admitted = self.admission.admit(
                {name: value for name, value in request.items() if name != "action"}
            )
            if admitted.jobs:
                said = f"sweep {admitted.job_id}: {len(admitted.jobs)} jobs"
                said += f", {admitted.jobs[0]} to {admitted.jobs[-1]}"
                return ControlResult(True, said, None)
            return ControlResult(True, f"job {admitted.job_id} is {admitted.status}", None)
        shown, job_id = f"{str(action)[:100]!r}", request.get("job_id")
        if not isinstance(job_id, str) or not re.fullmatch(JOB_ID_PATTERN, job_id):
            raise NotUnderstood(f"the action {shown} needs a job_id: {JOB_ID_RULE}")
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
        raise NotUnderstood(f"no such action: {shown}")


def _job_id(request: Mapping[str, Any]) -> str:
    return str(request.get("execution_id") or request.get("job_id") or "")


def _add(pipe: Any, stream: str, fields: Mapping[str, str]) -> None:
    """In UTF-8: JSON may hold half of a surrogate pair, which is no character."""
    stored = {name: value.encode(errors="replace").decode() for name, value in fields.items()}
    pipe.xadd(stream, stored, maxlen=ENTRIES_KEPT, approximate=True)
