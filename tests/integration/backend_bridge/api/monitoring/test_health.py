"""Health of the yard at the bridge: degraded with every reason, and what a probe is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from tests.support.bridge import Running, refusal
from tests.support.ports import free_port
from tests.support.running_job import RunningJob
from trainyard.scheduling.couriers import CourierRegister
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.store.keys import JobKey, Key

KEY = "bridge-k3y"


@pytest.fixture
def well(real_redis: Redis) -> SlotRegistry:
    """A slot that takes jobs, and a courier."""
    registry = SlotRegistry(real_redis)
    registry.beat("box-0", {"gpus": []})
    registry.stamp("box-0", SlotState.CONSUMING)
    CourierRegister(real_redis).beat()
    return registry


def health(bridge: Running, **headers: str) -> dict[str, Any]:
    answer = bridge.client.get("/health", headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert (body["status"] == "ok") is (body["reasons"] == [])
    return body


def test_a_yard_that_is_well(well: SlotRegistry, bridge: Running) -> None:
    assert health(bridge)["reasons"] == []


def test_without_a_worker_nothing_is_promised(bridge: Running, well: SlotRegistry) -> None:
    bridge.start()
    assert bridge.get("status/job-1").json()["estimated_start_seconds"] == 0
    well.leave("box-0")
    assert health(bridge)["reasons"] == ["no worker takes jobs"]
    assert bridge.get("status/job-1").json()["estimated_start_seconds"] is None
    assert bridge.get("queue").json()["queued"][0]["estimated_start_seconds"] is None


def test_a_slot_out_of_service_beside_a_good_one(bridge: Running, well: SlotRegistry) -> None:
    well.take_out("box-1", "its memory did not come back")
    assert health(bridge)["reasons"] == [
        "a slot is out of service: box-1: its memory did not come back"
    ]


def test_a_drained_slot_does_what_it_was_told(bridge: Running, well: SlotRegistry) -> None:
    well.beat("box-1", {})
    well.stamp("box-1", SlotState.DRAINED)
    assert health(bridge)["reasons"] == []
    well.stamp("box-0", SlotState.DRAINED)
    assert health(bridge)["reasons"] == ["no worker takes jobs"]


def test_a_slot_outside_of_its_hours_is_well(bridge: Running, well: SlotRegistry) -> None:
    well.beat("box-0", {"hours": "22:00-08:00 UTC"})
    well.stamp("box-0", SlotState.RESTING, "Mon 22:00 UTC")
    told = health(bridge)
    assert (told["status"], told["reasons"], told["slots"]) == ("ok", [], [])
    assert told["slot_hours"] == {"box-0": "22:00-08:00 UTC"}
    reason = "its hours (ACTIVE_HOURS) are 22:00-08:00 UTC: until Mon 22:00 UTC"
    assert told["slots_out_of_service"] == {"box-0": reason}
    well.beat("box-1", {})
    well.stamp("box-1", SlotState.SILENT)
    assert health(bridge)["reasons"][0].startswith("a slot is out of service: box-1")


def test_no_courier(bridge: Running, well: SlotRegistry, real_redis: Redis) -> None:
    real_redis.delete(Key.COURIERS)
    assert health(bridge)["reasons"][0].startswith("no courier works: nothing is reported")


@pytest.mark.parametrize(
    ("option", "value", "back", "named"),
    [("maxmemory", 1, 0, "memory is full"), ("min-replicas-to-write", 1, 0, "too few")],
)
def test_a_redis_that_refuses_writes(
    bridge: Running, well: SlotRegistry, real_redis: Any, option: str, value: int, back: int,
    named: str,
) -> None:  # fmt: skip
    real_redis.config_set(option, value)
    try:
        (reason,) = health(bridge)["reasons"]
        said = refusal(bridge.client.get("/health/ready"), 503)["error"]
        alive = bridge.client.get("/health/live")
    finally:
        real_redis.config_set(option, back)
    assert reason.startswith("Redis takes no writes: this Redis takes no writes")
    assert named in reason
    assert named in said
    assert alive.json() == {"status": "ok"}
    assert bridge.client.get("/health/ready").json() == {"status": "ok"}


def waits(redis: Any, job_id: str, *, heard: bool, error: str) -> None:
    """A job whose first report was written long ago, and has not arrived."""
    RunningJob(redis, job_id)
    events, index = JobKey.EVENTS.of(job_id), JobKey.STATUS_INDEX.of(job_id)
    ((_, fields),) = redis.xrange(events)
    redis.delete(events, index)
    redis.xadd(events, fields, id="1-1")
    redis.rpush(index, "1-1")
    state = {"heard": heard, "last_error": error}
    redis.hset(JobKey.DELIVERY.of(job_id), "state", json.dumps(state))


@pytest.mark.parametrize(
    ("heard", "error", "accepted_s", "stuck"),
    [
        (True, "HTTP 500: broken", 0, True),
        (True, "", 0, True),
        (False, "HTTP 401: no", None, True),
        (False, "HTTP 401: no", 0, False),  # the backend takes what others report
    ],
)
def test_reports_that_are_stuck(
    bridge: Running, well: SlotRegistry, real_redis: Any, heard: bool, error: str,
    accepted_s: float | None, stuck: bool,
) -> None:  # fmt: skip
    waits(real_redis, "job-1", heard=heard, error=error)
    if accepted_s is not None:
        real_redis.set(Key.ACCEPTED, real_redis.time()[0] * 1000)
    reasons = health(bridge)["reasons"]
    assert bool(reasons) is stuck
    assert not stuck or reasons[0].startswith("reports are stuck: 1 job, the oldest ")
    assert not stuck or error in reasons[0]


def test_a_stranger_hears_that_it_is_degraded_and_no_name(
    make_bridge: Any, well: SlotRegistry, real_redis: Any
) -> None:
    bridge = make_bridge(BRIDGE_API_KEY=KEY)
    well.take_out("s3cret-host-1", "why")
    waits(real_redis, "s3cret-job", heard=True, error="HTTP 500 at s3cret-backend")
    assert health(bridge)["reasons"] == ["a slot is out of service", "reports are stuck"]
    assert "s3cret" not in bridge.client.get("/health").text
    known = health(bridge, Authorization=f"Bearer {KEY}")["reasons"]
    assert "s3cret-host-1: why" in known[0]
    for what in ("live", "ready"):
        assert bridge.client.get(f"/health/{what}").json() == {"status": "ok"}


def test_redis_away_is_no_reason_to_be_restarted(make_bridge: Any) -> None:
    bridge = make_bridge(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert bridge.client.get("/health/live").status_code == 200
    for path in ("/health", "/health/ready"):
        assert "Redis cannot be reached" in refusal(bridge.client.get(path), 503)["error"]
