"""Remote control of a worker, Celery's commands (Flower sends them too) by way of the job store.

In Celery a revoke lives in the memory of workers, and a shutdown waits for a training that may last
for days. What would run two jobs on one slot, or act on no training, is refused. Registering a
command of the same name replaces Celery's.
"""

from __future__ import annotations

import os
import signal as signals
from typing import Any

from celery.utils.functional import maybe_list
from celery.worker import control
from celery.worker.control import Panel, control_command
from redis.exceptions import RedisError

from trainyard.contract.names import QUEUE_GPU
from trainyard.scheduling.drains import Drains
from trainyard.scheduling.slot_names import host_name
from worker.consuming import own_queues
from worker.signals import cancel_waiting, end_parked
from worker.slot import dispatcher, slot

Answer = dict[str, str]

_ONE_JOB = "a slot runs one job at a time; SLOTS sets how many slots a machine has"
_REFUSED = {
    "pool_grow": _ONE_JOB,
    "pool_shrink": "a slot without a process takes no jobs: cancel_consumer drains it",
    "autoscale": _ONE_JOB,
    "pool_restart": "`shutdown` restarts a worker, whose job is put back first",
    "time_limit": "a training has processes of its own; MAX_JOB_HOURS limits it",
    "rate_limit": "a job that a worker holds back is one that no other slot can take",
}
_NO_REDIS = "the job store does not answer, nothing was changed: try again"


def _refuse(command: str, why: str) -> None:
    def refused(_: Any, **__: Any) -> Answer:
        return {"error": f"{command} is refused: {why}"}

    Panel.register(type="control", name=command, help=f"Refused: {why}.")(refused)


for _command, _why in _REFUSED.items():
    _refuse(_command, _why)


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **options: Any
) -> Answer:
    """Cancel attempts that wait, at once and for good; with terminate those that run too."""
    try:
        for attempt in maybe_list(task_id) or ():
            cancel_waiting(str(attempt))
    except RedisError:
        return {"error": _NO_REDIS}
    answer: Answer = control.revoke(state, task_id, terminate, signal, **options)
    return answer


@control_command(
    variadic="task_id",
    args=[("signal", str)],
    signature="<signal> [id1 [id2 [... [idN]]]]",
)
def terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> Answer:
    """Cancel attempts, and kill the processes of those that run."""
    answer: Answer = revoke(state, task_id, terminate=True, signal=signal, **options)
    return answer


@control_command()
def shutdown(_: Any, msg: str = "", **__: Any) -> Answer:
    """Put the job back and end, as on SIGTERM; a launcher starts another worker."""
    os.kill(os.getpid(), signals.SIGTERM)
    return {"ok": "it puts back what it runs, and ends"}


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: Any, queue: str, **_: Any) -> Answer:
    """Drain the slot, the queue of its own too: what runs goes on, and nothing more is taken.

    As `trainyard drain` does, and it holds as long: over a restart of the worker too.
    """
    own_queues_ = own_queues(slot().name)
    if queue not in own_queues_:
        answer: Answer = control.cancel_consumer(state, queue)
        return answer
    try:
        Drains(dispatcher().slots.redis).order(slot().name)
    except RedisError:
        return {"error": _NO_REDIS}
    for own in own_queues_:
        control.cancel_consumer(state, own)
    return {"ok": f"{slot().name} takes no more jobs; `add_consumer {QUEUE_GPU}` undoes it"}


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(state: Any, queue: str, **options: Any) -> Answer:
    """Let the slot take jobs again, within seconds and if it is fit."""
    if queue not in own_queues(slot().name):
        return {"error": f"this worker takes from {' and '.join(own_queues(slot().name))} only"}
    slots = dispatcher().slots
    try:
        drains = Drains(slots.redis)
        drains.lift(slot().name)
        if drains.holds(slot().name, host_name()):
            return {"error": f"its host is drained: `trainyard undrain {host_name()}`"}
        if unfit := slots.out_of_service().get(slot().name):
            return {"error": f"{slot().name} is out of service: {unfit}"}
    except RedisError:
        return {"error": _NO_REDIS}
    return {"ok": f"{slot().name} takes jobs within seconds"}


@control_command(args=[("attempt_id", str)], signature="<attempt_id>")
def release_parked(_: Any, attempt_id: str) -> Answer:
    """On a broadcast: end the parked training of an attempt."""
    end_parked(attempt_id)
    return {"ok": attempt_id}
