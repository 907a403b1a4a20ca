"""Crash points: places in the product at which any of its processes dies when a test says so.

The product knows nothing of them. In processes that have this folder on PYTHONPATH and
``CRASH_FOLDER`` in their environment each function of ``PLACES`` is wrapped when its module is
imported. A file named as a point (``after-the-claim``) in that folder arms it: the first process
that comes there removes the file and kills itself.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PLACES = {
    # the bridge
    "the-admission": "trainyard.store.queueing.admissions:Admissions.admit_all",
    "the-enqueue": "trainyard.scheduling.queue:JobQueue.enqueue",
    "the-cancel": "trainyard.store.job_store:JobStore.cancel",
    "the-revoke": "trainyard.scheduling.queue:JobQueue.revoke",
    "the-wish-to-pause": "trainyard.store.job_store:JobStore.pause",
    "the-resume": "trainyard.store.job_store:JobStore.resume",
    "the-dispatch": "trainyard.scheduling.dispatch:Dispatcher.send",
    # the supervisor of an attempt
    "the-claim": "trainyard.store.attempt_writes:AttemptWrites.claim",
    "the-job-folder": "worker.supervisor.job_folder:prepare",
    "the-order-to-fork": "worker.slot_process.client:start_attempt",
    "the-renewal": "trainyard.store.attempt_writes:AttemptWrites.renew",
    "the-events": "trainyard.store.attempt_writes:AttemptWrites.append",
    "the-outcome": "worker.supervisor.supervisor:Supervisor._ended",
    "the-conclusion": "worker.supervisor.attempt_end:Conclusion.draw",
    # what is written at the end
    "completed": "trainyard.store.attempt_writes:AttemptWrites.complete",
    "paused": "trainyard.store.attempt_writes:AttemptWrites.paused",
    "made-way": "trainyard.store.job_store:JobStore.make_way",
    "cancelled": "trainyard.store.attempt_writes:AttemptWrites.cancelled",
    "lost": "trainyard.store.attempt_writes:AttemptWrites.lost",
    # slot process and keeper
    "the-fork-of-a-keeper": "worker.slot_process.keepers:KeeperProcesses.fork",
    "the-warm-start": "worker.slot_process.keepers:KeeperProcesses.resume",
    "the-fork-of-a-training": "worker.slot_process.keeper:_Keeper.start_training",
    "the-parking": "worker.slot_process.keeper:_Keeper._park",
    "the-taking-over": "worker.slot_process.keeper:_Keeper._resume",
    "the-ending": "worker.slot_process.keeper:_Keeper.end",
    # the training
    "the-seal": "tasks.checkpoints.folder:seal",
    "the-publishing": "tasks.checkpoints.folder:publish",
    "the-manifest": "trainyard.durable_files:write_durably",
    "the-pruning": "tasks.checkpoints.folder:prune",
    "the-pause": "tasks.callbacks.pauser:Pauser.pause_if_asked",
    "the-wait": "tasks.parking.place:ParkingPlace.park",
    "the-result": "tasks.results.result:save_result",
    "the-verification": "tasks.results.result:verify_result",
    "the-publishing-of-the-result": "tasks.results.result:publish_result",
    "the-last-word": "tasks.channel:SocketChannel.finish",
    # the courier
    "the-wish-to-slip-in": "trainyard.store.job_store:JobStore.ask_way",
    "the-hold": "backend_bridge.delivery.outbox:Outbox.claim",
    "the-mark": "backend_bridge.delivery.outbox:Outbox.hold",
    "the-release": "backend_bridge.delivery.outbox:Outbox.release",
    "the-status": "backend_bridge.delivery.backend_client:BackendClient.post status",
    "the-point": "backend_bridge.delivery.backend_client:BackendClient.post metrics",
    "the-lines": "backend_bridge.delivery.backend_client:BackendClient.post logs",
}
"""Each is a point before it and one after it; with an endpoint, of messages to that alone."""
POINTS = [f"{moment}-{what}" for what in PLACES for moment in ("before", "after")]


def _struck(folder: Path, point: str) -> None:
    try:
        (folder / point).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _with_points(
    folder: Path, what: str, endpoint: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **more: Any) -> Any:
        if endpoint and endpoint not in (getattr(one, "endpoint", "") for one in arguments):
            return function(*arguments, **more)
        _struck(folder, f"before-{what}")
        result = function(*arguments, **more)
        _struck(folder, f"after-{what}")
        return result

    return call


class _Wrapping(importlib.abc.MetaPathFinder):
    """Lets others find a module, and wraps its functions once it has run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wanted: dict[str, list[tuple[str, str]]] = {}
        for what, place in PLACES.items():
            module, _, name = place.partition(":")
            self._wanted.setdefault(module, []).append((what, name))

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._wanted:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            for what, place in self._wanted[name]:
                self._wrap(module, what, place)

        spec.loader.exec_module = run_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrap(self, module: ModuleType, what: str, place: str) -> None:
        name, _, endpoint = place.partition(" ")
        *owners, last = name.split(".")
        owner: Any = functools.reduce(getattr, owners, module)
        setattr(owner, last, _with_points(self._folder, what, endpoint, getattr(owner, last)))


def watch(folder: Path) -> None:
    """Wrap what this process will import."""
    sys.meta_path.insert(0, _Wrapping(folder))
