"""Monthly sums on a real Redis: its calendar, its clock, a job that is pruned, a restart."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.faked_clock import LIBRARIES, FakedClock
from tests.support.redis_server import RedisServer
from tests.support.requests import start_request
from tests.support.store_calls import job_store
from trainyard.settings import read_settings
from trainyard.store.retention import Retention
from trainyard.store.scripts import _LUA, head
from trainyard.store.usage.months import read_month

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_the_calendar_is_pythons(real_redis: Any) -> None:
    prelude = head() + (_LUA / "prelude.lua").read_text()
    script = real_redis.register_script(
        prelude + "local name, began = month_of(tonumber(ARGV[1])) return {name, tostring(began)}"
    )
    chosen = random.Random(3)
    times = [EPOCH + timedelta(milliseconds=chosen.randrange(4 * 10**12)) for _ in range(300)]
    for year in (1999, 2000, 2023, 2024, 2026, 2096, 2100):
        for month in range(1, 13):
            first = datetime(year, month, 1, tzinfo=UTC)
            times += [first, first - timedelta(milliseconds=1)]
    for at in times:
        month, began = script(args=[(at - EPOCH) // timedelta(milliseconds=1)])
        first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        assert month == f"{at:%Y-%m}"
        assert float(began) == (first - EPOCH) // timedelta(milliseconds=1)


def test_a_pruned_job_leaves_its_sums(real_redis: Any, tmp_path: Path) -> None:
    store = job_store(real_redis)
    store.admit(start_request("job-1"), slots=1, reported=False)
    assert store.claim("job-1", 1, slot="box-0", worker="w", gpus=1)
    real_redis.hincrby("trainyard:job:job-1", "running_since", -7000)
    assert store.complete("job-1", 1, {})
    keys = sorted(real_redis.keys("trainyard:usage:*"))
    before = {key: real_redis.hgetall(key) for key in keys}
    real_redis.hset("trainyard:job:job-1", "completed_at", 1)
    real_redis.zadd("trainyard:jobs", {"job-1": 1})
    assert Retention(real_redis, read_settings(trainyard_home=tmp_path)).prune(1).jobs == 1
    assert store.get("job-1") is None
    assert {key: real_redis.hgetall(key) for key in keys} == before
    assert len(keys) >= 4


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")
def test_months_go_by_the_clock_of_redis(tmp_path: Path) -> None:
    clock = FakedClock(tmp_path / "offset")
    with RedisServer(environment=clock.environment) as server, server.client() as redis:
        seconds, _ = redis.time()
        start = datetime(2031, 12, 31, 23, 0, tzinfo=UTC)
        clock.set_by(int(start.timestamp()) - seconds)
        store = job_store(redis)
        store.admit(start_request("job-1"), slots=1)
        assert store.claim("job-1", 1, slot="box-0", worker="w", gpus=4)
        clock.set_by(3 * 3600)
        store.renew("job-1", 1, 3000)
        assert store.complete("job-1", 1, {})
        [old], [new] = read_month(redis, "2031-12"), read_month(redis, "2032-01")
        assert old.used.slot_s == pytest.approx(3600, abs=60)
        assert new.used.slot_s == pytest.approx(7200, abs=60)
        assert new.used.gpu_s == 4 * new.used.slot_s
        assert (old.used.energy_j or 0) + (new.used.energy_j or 0) == 3.0


def test_a_crash_of_redis_between_counts_once(tmp_path: Path) -> None:
    """The answer of the script that ended it was lost: the call comes again after the restart."""
    with RedisServer(append_only=True) as server:
        with server.client() as redis:
            store = job_store(redis)
            store.admit(start_request("job-1"), slots=1)
            assert store.claim("job-1", 1, slot="box-0", worker="w", gpus=1)
            redis.hincrby("trainyard:job:job-1", "running_since", -7000)
            store.renew("job-1", 1, 4000)
            assert store.complete("job-1", 1, {})
        server.kill()
        server.restart()
        with server.client() as redis:
            store = job_store(redis)
            assert not store.complete("job-1", 1, {})
            months = [key.split(":")[2] for key in redis.keys("trainyard:usage:*:all")]
            sums = [one for month in months for one in read_month(redis, month)]
            assert sum(one.attempts for one in sums) == 1
            assert sum(one.used.energy_j or 0 for one in sums) == 4.0
