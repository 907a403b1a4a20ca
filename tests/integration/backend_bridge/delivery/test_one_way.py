"""The way of one entry through the delivery: it enters each file of the room once, in order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from redis import Redis

from backend_bridge import delivery
from backend_bridge.delivery.backend_client import BackendClient
from backend_bridge.delivery.outbox import Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.sender import Turn
from backend_bridge.delivery.walk import Walk
from tests.support.running_job import RunningJob
from tests.support.scripted_backend import OK, Received, Reply, ScriptedBackend
from trainyard.contract.events import Prediction
from trainyard.store.attempt_writes import StoredEvent

(ROOM,) = delivery.__path__
ASKED = ("backend_client", "total_timeout", "acknowledge")
KEPT = (*ASKED, "outbox")
WAYS = [
    ("status", ("walk", "stream", "messages", *KEPT)),  # the first of a page, which is read
    ("row", ("walk", "stream", "messages", *KEPT)),
    ("metrics", ("walk", "points", "messages", *KEPT)),
    ("logs", ("walk", "log_bodies", "messages", *KEPT)),
    ("predictions", ("walk", "messages", *KEPT)),
    ("metrics", ("walk", "points", "messages", *ASKED, "retry_policy")),  # which was not taken
]
"""Endpoint of a request, and the files that it enters."""


def file_of(frame: FrameType | None) -> str:
    """Name of the room's file that a frame runs; "" if it is none of them."""
    path = Path(frame.f_code.co_filename) if frame else Path()
    return path.stem if str(path.parent) == ROOM else ""


class Trace:
    """Entries into files: calls from another file of the room, through whatever lies between."""

    def __init__(self) -> None:
        self.ways: list[tuple[str, tuple[str, ...]]] = []
        self.sender = 0
        self._asked, self._entered = "", list[str]()

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not (entered := file_of(frame)):
            return
        caller = frame.f_back
        while caller is not None and not file_of(caller):
            caller = caller.f_back
        if entered == file_of(caller):
            return
        self.sender += entered == "sender"
        if frame.f_code.co_qualname == Walk.next.__qualname__:
            if self._asked:
                self.ways.append((self._asked, tuple(self._entered)))
            self._asked, self._entered = "", []
        if entered == "backend_client":
            self._asked = frame.f_locals["message"].endpoint
        self._entered.append(entered)


@contextmanager
def traced() -> Iterator[Trace]:
    trace, before = Trace(), sys.getprofile()
    sys.setprofile(trace.note)
    try:
        yield trace
    finally:
        sys.setprofile(before)


def refusing_point(request: Received) -> Reply:
    return Reply(500, b"{}") if request.method == "PUT" and request.body["step"] == 2 else OK


def test_an_entry_enters_each_file_once(real_redis: Redis) -> None:
    job = RunningJob(real_redis, "job-1")
    real_redis.hset("trainyard:job:job-1", "user_id", "ana")
    job.metric(1)
    job.log("line")
    said = Prediction(step=1, prompt="2+2?", prediction="4")
    job.append([StoredEvent("prediction", said.model_dump_json())])
    job.metric(2)
    outbox, stop = Outbox(real_redis, lock_s=60), threading.Event()
    hold = outbox.claim("job-1")
    assert hold is not None
    with (
        ScriptedBackend(refusing_point, has_optional_routes=True) as backend,
        BackendClient(backend.url) as client,
    ):
        turn = Turn(hold, outbox, client, DeliveryPolicy(), stop, lambda: False)
        with traced() as trace:
            turn.run()
    assert trace.ways == WAYS
    assert all(len(set(files)) == len(files) for _, files in trace.ways)
    assert trace.sender == 1, "nothing comes back into the sender: it alone calls one after another"
