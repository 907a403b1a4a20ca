"""Times of the requests that this bridge has answered, by route, for Prometheus."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"
"""Paths and methods that are none of ours: those that strangers try are without number."""


class RequestKind(NamedTuple):
    """What is told apart; ``route`` as in the OpenAPI description, without the job's id."""

    method: str
    route: str
    code: int


class Times:
    """How many took how long: ``buckets`` cumulated, one more than BOUNDS_S."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def buckets(self) -> list[int]:
        return list(accumulate(self._counts))


class RequestTimes:
    """All of one bridge since its start."""

    def __init__(self) -> None:
        self._known: dict[RequestKind, Times] = {}

    def add(self, kind: RequestKind, seconds: float) -> None:
        self._known.setdefault(kind, Times()).add(seconds)

    def all(self) -> Mapping[RequestKind, Times]:
        """From any thread."""
        return dict(self._known)


class RequestTimer:
    """ASGI middleware that measures until an answer begins: a client's pace is not the bridge's."""

    def __init__(self, app: ASGIApp, times: RequestTimes) -> None:
        self._app = app
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answered = time.perf_counter(), False

        def note(code: int) -> None:
            nonlocal answered
            answered = True
            route = getattr(scope.get("route"), "path", OTHER)
            known = route != OTHER and scope["method"] in METHODS
            kind = RequestKind(scope["method"] if known else OTHER, route, code)
            self._times.add(kind, time.perf_counter() - began)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                note(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if not answered:
                note(500)
            raise
