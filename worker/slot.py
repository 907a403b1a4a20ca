"""Slot of this worker process, and its ways to Redis; set up once in the main process.

``app`` builds it in the worker's main process before the pool child is forked, so that both
see the same.
"""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from celery import current_app

from trainyard.contract.names import QUEUE_GPU
from trainyard.home import home_id
from trainyard.scheduling.dispatch import Dispatcher, open_dispatcher
from trainyard.scheduling.slots import SlotRegistry
from trainyard.settings import settings, slot_name
from trainyard.store.connection import connect, patiently
from trainyard.store.job_store import JobStore, open_job_store

STORE_TIMEOUT_S = 2.0
T = TypeVar("T")


@dataclass(frozen=True)
class WorkerSlot:
    """One slot: its name, whose job folders it sees, where its slot process listens, and the
    worker's lifeline.

    The pool child reads ``stop_read``: it becomes readable when the main process closes
    ``stop_write``, because it stops or has died.
    """

    name: str
    home: str
    socket_name: str
    stop_read: int
    stop_write: int


@cache
def slot() -> WorkerSlot:
    """This worker's slot. First called in the main process, before it forks."""
    stop_read, stop_write = os.pipe()
    return WorkerSlot(
        name=os.environ.get("TRAINYARD_SLOT") or slot_name(0),
        home=home_id(settings().trainyard_home),
        socket_name=f"trainyard-{secrets.token_hex(16)}",
        stop_read=stop_read,
        stop_write=stop_write,
    )


def stops() -> bool:
    """Whether this worker has been told to stop, or its main process is gone."""
    return bool(select.select([slot().stop_read], [], [], 0)[0])


def until_redis_answers(call: Callable[[], T]) -> T:
    """Call until Redis answers; a worker that stops gives up, and the lease sees to the rest."""
    return patiently(call, give_up=stops)


@cache
def job_store() -> JobStore:
    """This process's job store; redis-py's pool notices a fork.

    It gives up soon: a supervisor that waits reads no output meanwhile, and asks again anyway.
    """
    current = settings()
    redis = connect(current.redis_location, retries=1, timeout_s=STORE_TIMEOUT_S)
    return open_job_store(redis, current)


def put_in_service() -> None:
    """At the start of a worker: whatever was wrong with its slot, it tries again."""
    SlotRegistry(connect(settings().redis_location)).put_in(slot().name)


def take_out_of_service(reason: str, worker: str) -> None:
    """Let this slot's worker take no more jobs, and say why (``/health`` shows it)."""
    dispatcher().slots.take_out(slot().name, reason)
    current_app.control.cancel_consumer(QUEUE_GPU, destination=[worker])


@cache
def dispatcher() -> Dispatcher:
    """This process's way to the broker."""
    return open_dispatcher(job_store(), current_app, connect(settings().redis_location))
