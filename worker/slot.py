"""Slot of this worker process, and its ways to Redis; set up once in the main process.

``app`` builds it in the worker's main process before the pool child is forked, so that both
see the same.
"""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from celery import current_app

from trainyard.home import home_id
from trainyard.scheduling.dispatch import Dispatcher, open_dispatcher
from trainyard.scheduling.slot_names import slot_name
from trainyard.settings import settings
from trainyard.store.connection import connect, patiently
from trainyard.store.job_store import JobStore, open_job_store
from worker.doubt import Doubt
from worker.machine.energy import slot_devices
from worker.machine.gpu import SHARED, gpu_view, why_gpu_expected
from worker.machine.inherited import let_go_of_connections
from worker.slot_lease import NameLease, this_process

STORE_TIMEOUT_S, LOOP_TIMEOUT_S = 2.0, 1.0
"""The supervisor, and the loop of the main process, wait so long for Redis at most."""
T = TypeVar("T")


@dataclass(frozen=True)
class WorkerSlot:
    """One slot: its name, whose job folders it sees, where its slot process listens, the worker's
    lifeline, why it must have a GPU ("": it need not), and whether there is a doubt about it.
    ``gpus``: how many it has; ``metered``: they, as CUDA_VISIBLE_DEVICES names them, "" if another
    slot uses them too.

    The pool child reads ``stop_read``: it becomes readable when the main process closes
    ``stop_write``, because it stops or has died.
    """

    name: str
    home: str
    socket_name: str
    stop_read: int
    stop_write: int
    gpu_expected: str = ""
    gpus: int = 0
    metered: str = ""
    doubt: Doubt = field(default_factory=Doubt)


@cache
def slot() -> WorkerSlot:
    """This worker's slot. First called in the main process, before it forks."""
    stop_read, stop_write = os.pipe()
    view = gpu_view()
    devices = slot_devices(view)
    return WorkerSlot(
        name=os.environ.get("TRAINYARD_SLOT") or slot_name(0),
        home=home_id(settings().trainyard_home),
        socket_name=f"trainyard-{secrets.token_hex(16)}",
        stop_read=stop_read,
        stop_write=stop_write,
        gpu_expected=why_gpu_expected(view, required=settings().require_gpu),
        gpus=len(devices),
        metered="" if os.environ.get(SHARED) else ",".join(devices),
    )


def let_go_of_the_main_process() -> None:
    """In the pool child: the lifeline's other end and the connections are the main process's."""
    os.close(slot().stop_write)
    let_go_of_connections()


@cache
def name_lease() -> NameLease:
    """The lease on this worker's slot: its main process's own."""
    redis = connect(settings().redis_location, retries=0, timeout_s=LOOP_TIMEOUT_S)
    return NameLease(redis, slot().name, this_process(slot().socket_name, slot().home))


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


@cache
def dispatcher() -> Dispatcher:
    """This process's way to the broker."""
    return open_dispatcher(job_store(), current_app, connect(settings().redis_location))
