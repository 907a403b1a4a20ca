"""Forwarder: delivers every job's statuses, metrics and log lines to the backend.

Any number of forwarders may run over one Redis: the outbox lets one of them at a time send a
job's events. The thread that runs :meth:`Forwarder.run` listens for the jobs of its slot; one of
all looks for jobs that are due, wakes who is to send them, and takes those that nobody took. A
fixed number of sender threads do the sending.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from threading import Event, Thread

from redis import Redis
from redis.exceptions import RedisError

from backend_bridge.delivery.backend_client import BackendClient
from backend_bridge.delivery.outbox import HoldLost, Outbox
from backend_bridge.delivery.ready_jobs import ReadyJobs
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.sender import Turn
from trainyard.scheduling.couriers import Duty
from trainyard.store.keys import Key, wake_channel

logger = logging.getLogger(__name__)

_LOOK_MIN_S = 0.01
_LISTEN_S = 0.2
_DUE_LIMIT = 1000


class Forwarder:
    """A courier of events. ``redis`` must decode responses to str.

    ``slot``: beside which it is, "" beside none. ``senders`` jobs are sent side by side; at most
    half of the senders work on jobs whose last try failed or was slow. ``request_timeout_s`` bounds
    one request. Raises ValueError if ``backend_url`` is no plain http(s) address.
    """

    def __init__(
        self,
        redis: Redis,
        backend_url: str,
        *,
        slot: str = "",
        senders: int = 8,
        request_timeout_s: float = 10.0,
        policy: DeliveryPolicy | None = None,
    ) -> None:
        self._redis = redis
        self._policy = policy or DeliveryPolicy()
        self._senders = senders
        self._lock_s = request_timeout_s + self._policy.lock_margin_s
        self._outbox = Outbox(redis, lock_s=self._lock_s)
        self._channels = (Key.WAKE, wake_channel(slot))
        self._duty = Duty(redis, "due-jobs", every_s=self._policy.poll_s)
        self._redis_away = False
        self._make_client = partial(BackendClient, backend_url, timeout_s=request_timeout_s)
        self._make_client().close()  # a wrong address is said here, not in every thread

    def run(self, stop: Event) -> None:
        """Deliver until ``stop`` is set; then end within about the time of one request.

        Survives outages of Redis and of the backend.
        """
        jobs = ReadyJobs()
        threads = [
            Thread(
                target=self._send_jobs,
                args=(jobs, stop, number < max(1, self._senders // 2)),
                name=f"sender-{number}",
                daemon=True,  # a name server that hangs must not keep the process
            )
            for number in range(self._senders)
        ]
        for thread in threads:
            thread.start()
        try:
            while not stop.is_set():
                self._find_jobs(jobs, stop)
        finally:
            stop.set()
            jobs.close()
            give_up_at = time.monotonic() + self._lock_s
            for thread in threads:
                thread.join(max(0.0, give_up_at - time.monotonic()))

    # ------------------------------------------------------------ finding jobs

    def _find_jobs(self, jobs: ReadyJobs, stop: Event) -> None:
        """Listen and look until ``stop`` is set or Redis fails."""
        try:
            listener = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # as redis-py has it
            with listener as pubsub:
                pubsub.subscribe(*self._channels)  # ids of jobs with a new event, or due again
                look_at = 0.0
                while not stop.is_set():
                    if time.monotonic() >= look_at:
                        look_at = time.monotonic() + self._offer_due(jobs)
                    wait_s = min(_LISTEN_S, max(0.0, look_at - time.monotonic()))
                    message = pubsub.get_message(timeout=wait_s)
                    if message is not None:
                        jobs.offer(message["data"])
                self._duty.leave()
        except RedisError as error:
            if not self._redis_away:
                logger.warning("Redis: %s; trying again", error, extra={"action": "redis_away"})
            self._redis_away = True
            stop.wait(self._policy.redis_pause_s)

    def _offer_due(self, jobs: ReadyJobs) -> float:
        """Offer the jobs that are due and not taken, if that is our duty; seconds until the next
        look."""
        longest_s = self._policy.poll_s
        is_ours = self._duty.is_mine()
        if self._redis_away:
            logger.warning("Redis answers again", extra={"action": "redis_back"})
            self._redis_away = False
        if not is_ours:
            return longest_s
        untaken, until_next_s = self._outbox.due(_DUE_LIMIT, untaken_s=longest_s)
        for job_id in untaken:
            jobs.offer(job_id)
        return longest_s if until_next_s is None else min(longest_s, max(_LOOK_MIN_S, until_next_s))

    # ------------------------------------------------------------ sending

    def _send_jobs(self, jobs: ReadyJobs, stop: Event, troubled_too: bool) -> None:
        with self._make_client() as client:
            while (job_id := jobs.take(troubled_too=troubled_too)) is not None:
                troubled = None  # of a job that is not ours to send it is not known
                said = {"job_id": job_id, "action": "redis_away"}
                try:
                    if (hold := self._outbox.claim(job_id)) is not None:
                        others_wait = jobs.others_wait
                        turn = Turn(hold, self._outbox, client, self._policy, stop, others_wait)
                        if turn.run():
                            jobs.offer(job_id)
                        troubled = turn.troubled
                except HoldLost:
                    said["action"] = "hold_lost"
                    logger.info("job %s: another sender has taken it", job_id, extra=said)
                except RedisError as error:
                    logger.info("job %s: Redis: %s", job_id, error, extra=said)
                    stop.wait(self._policy.redis_pause_s)
                except Exception:
                    # The lock keeps the job away for some seconds; then it is tried again.
                    said["action"] = "sender_error"
                    logger.exception("job %s: sending failed", job_id, extra=said)
                finally:
                    jobs.done(job_id, troubled=troubled)
