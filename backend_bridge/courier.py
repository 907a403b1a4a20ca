"""The courier: forwarder, reaper and heartbeat, in a process beside every worker and bridge.

    python -m backend_bridge.courier

Celery's main process forks, so none of our threads may run in it. Any number of couriers share
the work. It ends on SIGTERM within about the time of one request to the backend.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading

from celery import Celery
from redis.exceptions import RedisError

from backend_bridge.forwarder import Forwarder
from backend_bridge.job_store import JobStore
from backend_bridge.queue import JobQueue
from backend_bridge.reaper import Reaper
from backend_bridge.redis_connection import connect
from backend_bridge.settings import Settings, SettingsError, settings
from backend_bridge.slots import BEAT_EVERY_S, SlotRegistry

log = logging.getLogger(__name__)


def beat(registry: SlotRegistry, slot: str, gpus: list[object], stop: threading.Event) -> None:
    """Say that ``slot`` lives until ``stop`` is set; then say that it left."""
    while True:
        try:
            registry.beat(slot, {"gpus": gpus})
        except RedisError as error:
            log.warning("heartbeat: Redis is away: %s", error)
        if stop.wait(BEAT_EVERY_S):
            break
    try:
        registry.leave(slot)
    except RedisError as error:
        log.warning("heartbeat: could not say that %s leaves: %s", slot, error)


def run(current: Settings, stop: threading.Event, *, slot: str, gpus: list[object]) -> None:
    """Run until ``stop`` is set. ``slot`` is "" beside a bridge."""
    redis = connect(current.redis_location)
    celery = Celery("courier")
    celery.config_from_object("celeryconfig")
    store = JobStore(
        redis,
        lease_s=current.lease_seconds,
        log_lines_kept=current.log_lines_kept,
        max_restarts=current.max_restarts,
    )
    threads = [
        threading.Thread(target=Forwarder(redis, current.backend_url).run, args=(stop,)),
        threading.Thread(target=Reaper(store, JobQueue(celery, redis)).run, args=(stop,)),
    ]
    if slot:
        heartbeat = (SlotRegistry(redis), slot, gpus, stop)
        threads.append(threading.Thread(target=beat, args=heartbeat))
    _end_on_a_defect(stop)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    redis.close()


def _end_on_a_defect(stop: threading.Event) -> None:
    """A courier that lost one of its threads would do half the work for ever: end it instead.

    Whoever started it starts another.
    """
    show = threading.excepthook

    def end(defect: threading.ExceptHookArgs) -> None:
        show(defect)
        stop.set()

    threading.excepthook = end


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="courier %(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    gpus = json.loads(os.environ.get("TRAINYARD_GPUS", "[]"))
    try:
        run(settings(), stop, slot=os.environ.get("TRAINYARD_SLOT", ""), gpus=gpus)
    except SettingsError as error:
        print(f"courier: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
