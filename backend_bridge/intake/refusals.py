"""Refusals of requests: the backend is told ``failed``, though no job was ever admitted.

The refusal goes where a job's events go, as attempt 0, so that it is delivered as they are: in
order, tried again, set aside with its reason. A request of the same id that is admitted later
follows behind it. When it is told, nothing of it is left in Redis.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from redis import Redis

from trainyard.contract.fields.secret_fields import VISIBLE_ASCII
from trainyard.contract.fields.sweep import is_sweep, member_bodies
from trainyard.contract.names import JOB_ID_PATTERN
from trainyard.contract.request import RequestInvalid
from trainyard.contract.statuses import JobStatus
from trainyard.store.scripts import script

_CONTROLS = ("pause", "resume", "cancel", "force-start")
"""A refusal of one of these says nothing about the state of its job."""


@dataclass(frozen=True)
class Refusal:
    """A refused request that names a job and a token; ``request_id`` is its sender's."""

    request_id: str
    job_id: str
    token: SecretStr
    reason: str


def without_token(text: str, request: Mapping[str, Any]) -> str:
    """``text`` about a request, which may repeat what the request holds, without its tokens."""
    for token in (request.get("job_token"), request.get("access_token")):
        if isinstance(token, str) and token:
            text = text.replace(token, "[token]")
    return text


def named_in(*values: Any) -> Mapping[str, Any]:
    """The first of ``values`` that names a job, be it an object or its JSON; {} if none does."""
    for value in values:
        found = value
        if isinstance(value, str):
            try:
                found = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(found, dict) and (found.get("execution_id") or found.get("job_id")):
            return found
    return {}


def refusal_of(request: Mapping[str, Any], request_id: str, reason: str) -> Refusal | None:
    """The refusal to tell the backend; None if it can or should not be told.

    ``request`` is decoded JSON, nothing more is known of it; ``reason`` holds no token.
    """
    job_id, token = request.get("execution_id") or request.get("job_id"), request.get("job_token")
    if request.get("action") in _CONTROLS:
        return None
    if not (isinstance(job_id, str) and re.fullmatch(JOB_ID_PATTERN, job_id)):
        return None
    if not (isinstance(token, str) and re.fullmatch(VISIBLE_ASCII, token)):
        return None
    return Refusal(request_id, job_id, SecretStr(token), reason)


def refusals_of(
    request: Mapping[str, Any], request_id: str, reason: str, sweep_jobs_max: int
) -> list[Refusal]:
    """Of a sweep one for each job that it would have made: the backend may have a row of each."""
    requests: Sequence[Mapping[str, Any]] = [request]
    if is_sweep(request) and "execution_id" in request:
        with suppress(RequestInvalid):  # of a grid that is none only the request's name is known
            requests = member_bodies(request, sweep_jobs_max)
    found = (refusal_of(one, request_id, reason) for one in requests)
    return [refusal for refusal in found if refusal is not None]


class Refusals:
    """The writer of refusals. ``redis`` must decode responses to str."""

    def __init__(self, redis: Redis) -> None:
        self._refuse = script(redis, "refuse")

    def tell(self, refusal: Refusal, client: Any, *, even_if_ended: bool = False) -> None:
        """Have the backend told, by ``client``: a Redis, or a pipeline of one.

        Written twice it has one Idempotency-Key. If the store has a job of this id nothing is
        written: it may run, and ``failed`` would be a lie about it. ``even_if_ended``: unless that
        has ended, and the backend believes that it runs again.
        """
        status = {"status": JobStatus.FAILED, "error": refusal.reason}
        self._refuse(
            args=[
                refusal.job_id,
                refusal.token.get_secret_value(),
                hashlib.sha256(refusal.request_id.encode()).hexdigest()[:16],
                json.dumps(status),
                int(even_if_ended),
            ],
            client=client,
        )
