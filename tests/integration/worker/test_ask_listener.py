"""Ask listener on a real Redis: what people ask of a job is heard at once, by its attempt only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from tests.support.store_calls import JOB, admit, claim, job_store
from tests.support.waiting import wait_for
from trainyard.store.job_store import JobStore
from trainyard.store.keys import Key
from worker.supervisor import lease as module
from worker.supervisor.ask_listener import listening_for_asks
from worker.supervisor.lease import LeaseGuard


@pytest.mark.parametrize(
    ("ask", "heard"),
    [
        (lambda store: store.pause(JOB), "pausing"),
        (lambda store: store.cancel(JOB), "cancelling"),
        (lambda store: store.cancel(JOB, force=True), "cancelling"),
        (lambda store: store.ask_put_back("slot-0"), "running"),
    ],
    ids=["pause", "cancel", "forced cancel", "drain"],
)
def test_what_is_asked_is_heard_before_the_next_renewal(
    ask: Callable[[JobStore], object],
    heard: str,
    real_redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_S", 300.0)
    monkeypatch.setattr(module, "RENEWALS_PER_LEASE", 0.001)
    monkeypatch.setattr(module, "ALONE_S", 1e9)
    store = job_store(real_redis)
    admit(store)
    claim(store)
    with LeaseGuard(store, JOB, 1) as lease, listening_for_asks(real_redis, JOB, lease.stir):
        first = wait_for("the first renewal", lease.look)
        wait_for("somebody listens", lambda: real_redis.pubsub_numsub(Key.ASKED)[0][1])
        real_redis.publish(Key.ASKED, "job-of-another")
        ask(store)
        renewal = wait_for("it is heard", lambda: (now := lease.look()) != first and now)
    wait_for("nobody listens", lambda: not real_redis.pubsub_numsub(Key.ASKED)[0][1])
    assert renewal.status == heard
    assert (renewal.cancel != "", renewal.put_back) == (heard == "cancelling", heard == "running")


def test_only_its_own_job_wakes_it_and_redis_may_be_away_meanwhile(real_redis: Redis) -> None:
    woken = list[str]()
    with listening_for_asks(real_redis, JOB, lambda: woken.append(JOB)):
        for _ in range(2):
            wait_for("it listens, and says so", lambda: woken)
            woken.clear()
            real_redis.publish(Key.ASKED, "another")
            real_redis.publish(Key.ASKED, JOB)
            wait_for("it is woken", lambda: woken)
            assert woken == [JOB]
            woken.clear()
            real_redis.client_kill_filter(_type="pubsub")
    wait_for("nobody listens", lambda: not real_redis.pubsub_numsub(Key.ASKED)[0][1])
