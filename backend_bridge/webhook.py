"""Webhook: tells one address that a job has ended, signed, until it is taken.

The request is that of https://www.standardwebhooks.com: ``webhook-id`` is the same at each try,
``webhook-signature`` is the HMAC-SHA256 of ``id.timestamp.body``, so that whoever has the secret
knows who sent it, and when. The script that ends a job (``transition.lua``) notes the end while a
courier says that somebody wants it. An end is noted before it is sent and taken off after it was
accepted: a courier that dies between the two sends it again, with the same id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError
from urllib3.exceptions import HTTPError

from backend_bridge.delivery.total_timeout import exchange, make_pool
from trainyard.contract.statuses import TERMINAL
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore
from trainyard.store.keys import Key

TIMEOUT_S = 10.0
GIVE_UP_AFTER_S = 3 * 86_400.0
WAIT_MIN_S, WAIT_MAX_S = 5.0, 3600.0
"""Between two tries as long as the end lies back, within these bounds."""
_LOOK_EVERY_S, _WANTED_FOR_S, _AT_ONCE = 1.0, 3600, 10
_SECRET_PREFIX = "whsec_"  # noqa: S105  # how the standard writes keys

logger = logging.getLogger(__name__)


class Webhook:
    """Sender of ends to ``url``; any number of couriers share the work."""

    def __init__(self, redis: Redis, store: JobStore, url: str, secret: SecretStr) -> None:
        self._redis: Any = redis
        self._store = store
        self._url = url
        self._key = _key_of(secret.get_secret_value())

    def run(self, stop: Event) -> None:
        """Send what is due until ``stop`` is set. Survives outages of Redis and of the address."""
        while not stop.wait(_LOOK_EVERY_S):
            try:
                self._redis.set(Key.WEBHOOK_WANTED, 1, ex=_WANTED_FOR_S)
                for end in self._redis.zrangebyscore(Key.ENDS, 0, self._now(), 0, _AT_ONCE):
                    if not stop.is_set():
                        self._try(end)
            except RedisError as error:
                logger.warning("webhook: Redis is away: %s", error, extra={"action": "redis_away"})

    def _try(self, end: str) -> None:
        attempt, _, job_id = end.partition(" ")
        hold = f"{Key.ENDS}:{end}"
        if not self._redis.set(hold, 1, nx=True, ex=int(2 * TIMEOUT_S)):
            return
        try:
            due = self._redis.zscore(Key.ENDS, end)
            if due is not None and due <= self._now():  # else another courier had it meanwhile
                self._tell(end, attempt, job_id)
        finally:
            self._redis.delete(hold)

    def _tell(self, end: str, attempt: str, job_id: str) -> None:
        job = self._store.get(job_id)
        if job is None or str(job.attempt) != attempt or job.status not in TERMINAL:
            self._redis.zrem(Key.ENDS, end)  # started again since, or removed
        elif (trouble := self._post(job)) is None:
            self._redis.zrem(Key.ENDS, end)
        else:
            self._put_off(end, job, trouble)

    def _put_off(self, end: str, job: Job, trouble: str) -> None:
        said = {"action": "webhook", "job_id": job.job_id}
        now = self._now()
        lies_back_s = now - (job.completed_at or 0.0)
        if lies_back_s > GIVE_UP_AFTER_S:
            logger.error("webhook: given up of job %s: %s", job.job_id, trouble, extra=said)
            self._redis.zrem(Key.ENDS, end)
            return
        wait_s = min(WAIT_MAX_S, max(WAIT_MIN_S, lies_back_s))
        self._redis.zadd(Key.ENDS, {end: now + wait_s}, xx=True)
        logger.warning(
            "webhook: job %s: %s; again in %.0f s", job.job_id, trouble, wait_s, extra=said
        )

    def _post(self, job: Job) -> str | None:
        """What went wrong; None if it was taken."""
        body = json.dumps(told(job)).encode()
        headers = signed(self._key, f"{job.attempt_id}:{job.status}", body, time.time)
        parts = urlsplit(self._url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        pool, until = make_pool(self._url), time.monotonic() + TIMEOUT_S
        try:
            answer, _ = exchange(pool, "POST", target, body, headers, until=until, most=0)
        except HTTPError as error:
            return type(error).__name__
        finally:
            pool.close()
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

    def _now(self) -> float:
        """Redis's clock, by which jobs end."""
        seconds, micros = self._redis.time()
        return float(seconds + micros / 1e6)


def told(job: Job) -> dict[str, Any]:
    """The body for a job that has ended (docs/how-to/webhook.md)."""
    return {
        "type": f"job.{job.status}",
        "timestamp": datetime.fromtimestamp(job.completed_at or 0.0, UTC).isoformat(),
        "data": {
            "job_id": job.job_id,
            "name": job.name,
            "user_id": job.user_id,
            "model": job.model,
            "method": job.method,
            "status": job.status,
            "error": job.error.message if job.error else None,
            "error_kind": job.error.kind if job.error else None,
            "elapsed_seconds": round(job.ran_s, 3),
        },
    }


def signed(key: bytes, message_id: str, body: bytes, now: Callable[[], float]) -> dict[str, str]:
    """Headers of one try."""
    at = str(int(now()))
    content = b".".join((message_id.encode(), at.encode(), body))
    digest = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "trainyard",
        "webhook-id": message_id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{digest}",
    }


def _key_of(secret: str) -> bytes:
    """The key's bytes: the standard's ``whsec_`` and base64, or any other text as it stands."""
    if secret.startswith(_SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
