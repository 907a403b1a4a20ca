"""Celery application of a worker: ``celery -A worker.app worker``, one per GPU slot, without torch.

The main process also keeps two children: the slot process, which forks the trainings, and a
courier, which reports to the backend and looks after lost jobs. Both die with it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import warnings
from functools import cache
from typing import Any

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning

import worker.remote_control
import worker.signals  # noqa: F401 - its handlers and those commands connect themselves
from trainyard.child_process import ChildProcess, python_module
from trainyard.home import keep_private
from trainyard.redaction import RedactedFormatter, redactor_of
from trainyard.secret_environment import without_others_secrets, without_secrets
from trainyard.service.stop_signals import hangup_is_sigterm
from trainyard.service_logs import Repeated
from trainyard.settings import settings
from worker.consuming import Consuming, own_queues
from worker.machine.gpu import list_gpus
from worker.machine.unix_socket import listen
from worker.proof.proving import Proving
from worker.slot import let_go_of_the_main_process, name_lease, slot, stops
from worker.start_checks import exit_if_unfit

CHECK_COURIER_EVERY_S = 1.0

app = Celery("trainyard", include=["tasks.train"])
app.config_from_object("celeryconfig")


@cache
def _listener() -> socket.socket:
    """Where the slot process listens: ours for the worker's life.

    Its name is free for no moment, as it would be between two slot processes: another user of the
    host could take it then.
    """
    return listen(slot().socket_name)


@cache
def _slot_process() -> ChildProcess:
    options = () if settings().preload else ("--no-preload",)
    return ChildProcess(
        "slot process",
        python_module("worker.slot_process", "--listener", str(_listener().fileno()), *options),
        pass_fds=[_listener().fileno()],
        environ=without_secrets(os.environ),
    )


@cache
def _courier() -> ChildProcess:
    return ChildProcess(
        "courier",
        python_module("backend_bridge.courier"),
        env={"TRAINYARD_SLOT": slot().name, "TRAINYARD_GPUS": _gpus_json()},
        environ=without_others_secrets(os.environ),
    )


def _gpus_json() -> str:
    return json.dumps([gpu.as_dict() for gpu in list_gpus()])


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def keep_secrets_out_of_the_log(logger: logging.Logger, **_: Any) -> None:
    """Celery logs the whole message, with its token, of a request that came to the wrong queue."""
    redactor = redactor_of(settings(), os.environ)
    for handler in logger.handlers:
        handler.setFormatter(RedactedFormatter(handler.formatter, redactor))
        if not any(isinstance(known, Repeated) for known in handler.filters):
            handler.addFilter(Repeated())


@signals.worker_init.connect
def start_children(sender: Any, **_: Any) -> None:
    """Before the pool child is forked."""
    keep_private()
    exit_if_unfit(name_lease(), sender, settings())
    sender.app.amqp.queues.deselect(own_queues(slot().name))  # before the slot has proven itself
    _slot_process().start()
    _courier().start()


@signals.worker_process_init.connect
def be_a_pool_child(**_: Any) -> None:
    """In the pool child, first of all."""
    let_go_of_the_main_process()


@signals.worker_ready.connect
def watch_children(sender: Any, **_: Any) -> None:
    """Start again what has died, from a timer of the main process's own loop."""
    # Seven lines at each restart of Redis, against what celeryconfig has chosen. Celery shows
    # such warnings from its start on, so this comes after that.
    warnings.filterwarnings("ignore", r"\s*In Celery 5.1 we introduced", CPendingDeprecationWarning)
    consuming = Consuming(sender, slot().name, name_lease())
    Proving(sender.timer, _slot_process(), consuming).start()
    consuming.start()
    hangup_is_sigterm()  # Celery's own handler would start a new worker beside a job that runs
    sender.timer.call_repeatedly(CHECK_COURIER_EVERY_S, _courier().ensure_running)


@signals.worker_shutting_down.connect
def tell_supervisor(**_: Any) -> None:
    """A warm shutdown: the running attempt puts itself back, and the pool can end.

    Told once, however many signals come: the descriptor may be another's by then.
    """
    if not stops():
        os.close(slot().stop_write)


@signals.worker_shutdown.connect
def stop_children(**_: Any) -> None:
    """After the pool has ended, and with it the last attempt: another worker may have the slot."""
    _slot_process().stop(timeout_s=2.0)
    _courier().stop(timeout_s=10.0)
    name_lease().release()
