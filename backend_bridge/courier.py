"""Courier: forwarder, reaper, consumer, puller, retention and heartbeat, beside worker and bridge.

    python -m backend_bridge.courier

Celery's main process forks, so none of our threads may run in it. Any number of couriers share
the work. It ends on SIGTERM within about the time of one request to the backend.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping

from redis.exceptions import RedisError

from backend_bridge.delivery.forwarder import Forwarder
from backend_bridge.intake.plain_revokes import PlainRevokes
from backend_bridge.intake.puller import open_puller
from backend_bridge.intake.stream_consumer import StreamConsumer
from backend_bridge.reaper import Reaper
from backend_bridge.webhook import Webhook
from backend_bridge.wiring import Wiring
from trainyard.home import home_id, keep_private
from trainyard.scheduling.slots import BEAT_EVERY_S, SlotRegistry
from trainyard.service.stop_signals import stop_event
from trainyard.service_logs import log_to_stderr
from trainyard.settings import Settings, SettingsError, settings
from trainyard.store.job import Job
from trainyard.store.retention import Retention
from trainyard.store.unsent_records import send_unsent, was_put_back

logger = logging.getLogger(__name__)


def beat(
    registry: SlotRegistry, slot: str, info: Mapping[str, object], stop: threading.Event
) -> None:
    """Say that the host of ``slot`` is there until ``stop`` is set; then say that it left."""
    while True:
        try:
            registry.beat(slot, info)
        except RedisError as error:
            logger.warning("heartbeat: Redis is away: %s", error, extra={"action": "redis_away"})
        if stop.wait(BEAT_EVERY_S):
            break
    try:
        registry.leave(slot)
    except RedisError as error:
        logger.warning(
            "heartbeat: could not say that %s leaves: %s",
            slot,
            error,
            extra={"action": "redis_away"},
        )


def run(current: Settings, stop: threading.Event, *, slot: str, gpus: list[object]) -> None:
    """Run until ``stop`` is set. ``slot`` is "" beside a bridge."""
    wiring = Wiring(current, "courier")
    redis, store = wiring.redis, wiring.store
    home = home_id(current.trainyard_home)

    def before_loss(job: Job) -> bool:
        if job.home != home:
            return False
        folder = current.job_dir(job.job_id)
        send_unsent(store, job, folder)
        return was_put_back(folder, job.attempt)

    reaper = Reaper(
        wiring.dispatcher,
        before_loss=before_loss,
        home=home,
        after_round=wiring.couriers.beat,
        on_duty=wiring.slip_ins.look,
        home_wait_s=3600 * (current.home_wait_hours or math.inf),
    )
    consumer = StreamConsumer(redis, wiring.admission, wiring.control, current.max_request_mb)
    forwarder = Forwarder(redis, current.backend_url, slot=slot)
    threads = [
        threading.Thread(target=forwarder.run, args=(stop,)),
        threading.Thread(target=reaper.run, args=(stop,)),
        threading.Thread(target=consumer.run, args=(stop,)),
        threading.Thread(target=Retention(redis, current).run, args=(stop,)),
        threading.Thread(target=PlainRevokes(redis, store).run, args=(stop,)),
    ]
    if (puller := open_puller(current, redis, wiring.admission, wiring.control)) is not None:
        threads.append(threading.Thread(target=puller.run, args=(stop,)))
    if current.webhook_url and current.webhook_secret:
        webhook = Webhook(redis, store, current.webhook_url, current.webhook_secret)
        threads.append(threading.Thread(target=webhook.run, args=(stop,)))
    if slot:
        info = {"gpus": gpus, "home": home, "hours": str(current.hours or "")}
        heartbeat = (wiring.slots, slot, info, stop)
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
    keep_private()
    log_to_stderr("courier")
    stop = stop_event()
    gpus = json.loads(os.environ.get("TRAINYARD_GPUS", "[]"))
    try:
        run(settings(), stop, slot=os.environ.get("TRAINYARD_SLOT", ""), gpus=gpus)
    except SettingsError as error:
        print(f"courier: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
