"""Usage of a job, and the monthly sums."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.requests import start_request
from tests.support.store_calls import JOB, admit, stored
from trainyard.contract.statuses import JobStatus
from trainyard.contract.usage.used import Usage
from trainyard.store.job_store import JobStore
from trainyard.store.usage import limits
from trainyard.store.usage.months import Sum, month_now, read_month

HASH = f"trainyard:job:{JOB}"


@pytest.fixture
def store(store: JobStore) -> JobStore:
    admit(store)
    return store


def now_ms(store: JobStore) -> int:
    seconds, micros = store.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def claim(store: JobStore, attempt: int = 1, *, gpus: int = 2, ran_s: float = 0.0) -> None:
    """Claimed so many seconds ago."""
    assert store.claim(JOB, attempt, slot="box-0", worker="w", gpus=gpus)
    store.redis.hset(HASH, "running_since", now_ms(store) - int(1000 * ran_s))


def sums(store: JobStore, by: Any = "all") -> list[Sum]:
    """Of all months: a test may begin in the one and end in the other."""
    months = [key.split(":")[2] for key in store.redis.keys(f"trainyard:usage:*:{by}")]
    return [one for month in months for one in read_month(store.redis, month, by)]


def ended(store: JobStore, by: Any = "all") -> list[Sum]:
    """Those with attempts that ended in their month."""
    return [one for one in sums(store, by) if one.attempts]


def spread(store: JobStore, by: Any = "all") -> Usage:
    """All months together; an attempt over the end of one has a part in each."""
    whole = Usage.sum(one.used for one in sums(store, by))
    known = {name: round(value, 3) for name, value in whole if value is not None}
    return whole.model_copy(update=known)


def test_what_goes_on_from_other_jobs_counts_with_the_model_that_they_began_with(
    store: JobStore,
) -> None:
    for name, origin in (("second", JOB), ("third", "second")):
        asked = start_request(name, model={"name": f"job:{origin}"})
        store.admit(asked, slots=9, origin=stored(store, origin))
    assert stored(store, "third").model == "job:second"
    assert store.claim("third", 1, slot="box-0", worker="w")
    assert store.complete("third", 1, {})
    assert {one.name for one in ended(store, "model")} == {"tiny"}


def test_an_attempt_adds_its_time_its_gpus_and_its_energy(store: JobStore) -> None:
    claim(store, ran_s=100)
    assert store.renew(JOB, 1, 5000).held
    assert store.renew(JOB, 1).held, "nothing new takes nothing away"
    running = stored(store).used(now_ms(store) / 1000)
    assert running.energy_j == 5.0
    assert running.slot_s == pytest.approx(100, abs=5)
    assert spread(store) == Usage(), "it is in no month yet"
    assert store.complete(JOB, 1, {})
    used = stored(store).used_before
    assert used.slot_s == pytest.approx(100, abs=5)
    assert (used.gpu_s, used.metered_s) == (2 * used.slot_s, used.slot_s)
    assert used.energy_j == 5.0
    assert used.metered
    for by in ("all", "user", "model", "slot"):
        assert spread(store, by) == used
    user, model = start_request(JOB).user_id or "-", start_request(JOB).config.model.name
    assert {one.name for one in ended(store, "user")} == {user}
    assert {one.name for one in ended(store, "model")} == {model}
    assert [(one.name, one.attempts) for one in ended(store, "slot")] == [("box-0", 1)]


def test_an_end_that_is_written_twice_is_counted_once(store: JobStore) -> None:
    claim(store, ran_s=50)
    store.renew(JOB, 1, 1000)
    assert store.complete(JOB, 1, {})
    once = spread(store)
    assert not store.complete(JOB, 1, {})
    assert not store.cancelled(JOB, 1)
    assert store.lost(JOB, 1, "It was lost.") is None
    assert not store.renew(JOB, 1, 9000).held
    assert spread(store) == once == stored(store).used_before
    assert [one.attempts for one in ended(store)] == [1]


def test_every_attempt_counts_and_what_lies_between_them_does_not(store: JobStore) -> None:
    claim(store, ran_s=100)
    store.renew(JOB, 1, 2000)
    store.pause(JOB)
    assert store.paused(JOB, 1, {"checkpoint": "checkpoints/checkpoint-1", "parked": f"{JOB}:1"})
    paused = stored(store).used(now_ms(store) / 1000 + 3600)
    assert paused == stored(store).used_before, "a parked training uses no slot"
    assert store.resume(JOB)
    claim(store, 2, ran_s=10)
    assert stored(store).energy_j is None, "that of the first attempt was its own"
    store.renew(JOB, 2, 500)
    assert store.put_back(JOB, 2, "its worker stopped.")
    used = stored(store).used_before
    assert used.slot_s == pytest.approx(110, abs=5)
    assert used.energy_j == 2.5
    assert spread(store) == used
    assert [one.attempts for one in ended(store)] == [2]


def test_a_cancelled_parked_job_used_nothing_meanwhile(store: JobStore) -> None:
    claim(store, ran_s=10)
    store.pause(JOB)
    assert store.paused(JOB, 1, {"parked": f"{JOB}:1", "parked_on": "box-0"})
    before = stored(store).used_before
    assert store.cancel(JOB)
    assert stored(store).status is JobStatus.CANCELLING
    assert store.cancelled(JOB, 1)
    assert stored(store).used_before == before == spread(store)


def test_a_lost_attempt_counts_up_to_the_last_renewal_of_its_lease(store: JobStore) -> None:
    """The machines were off for a night: nobody used the GPU."""
    claim(store, ran_s=10_000)
    store.renew(JOB, 1, 7000)
    ended_ms = now_ms(store) - 9_000_000
    store.redis.zadd("trainyard:occupying", {JOB: ended_ms + store.lease_ms})
    until_s = now_ms(store) / 1000 + 60
    assert store.lost(JOB, 1, "It was lost.", judged_until_s=until_s) is JobStatus.QUEUED
    used = stored(store).used_before
    assert used.slot_s == pytest.approx(1000, abs=5)
    assert used.energy_j == 7.0
    assert spread(store) == used


def test_without_a_gpu_hours_count_and_energy_is_unknown(store: JobStore) -> None:
    claim(store, gpus=0, ran_s=60)
    assert store.complete(JOB, 1, {})
    used = stored(store).used_before
    assert used.slot_s >= 60
    assert (used.gpu_s, used.metered_s, used.energy_j) == (0, 0, None)
    assert spread(store) == used


def test_energy_that_is_known_of_one_attempt_alone_is_not_of_all(store: JobStore) -> None:
    claim(store, ran_s=10)
    store.renew(JOB, 1, 3000)
    store.put_back(JOB, 1, "stop")
    claim(store, 2, ran_s=10)
    assert store.complete(JOB, 2, {})
    used = stored(store).used_before
    assert used.energy_j == 3.0
    assert not used.metered


def test_an_attempt_over_the_end_of_a_month_counts_in_both(store: JobStore) -> None:
    today = datetime.fromtimestamp(now_ms(store) / 1000, UTC)
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    first_ms = int(first.timestamp()) * 1000
    assert store.claim(JOB, 1, slot="box-0", worker="w", gpus=1)
    store.redis.hset(HASH, "running_since", first_ms - 3_600_000)
    store.renew(JOB, 1, 10**9)
    assert store.complete(JOB, 1, {})
    before = datetime.fromtimestamp(first_ms / 1000 - 1, UTC).strftime("%Y-%m")
    [old], [new] = read_month(store.redis, before), read_month(store.redis, f"{first:%Y-%m}")
    assert (old.attempts, old.used.slot_s, new.attempts) == (0, 3600, 1)
    whole = stored(store).used_before
    assert Usage.sum([old.used, new.used]).energy_j == whole.energy_j == 10**6
    assert old.used.slot_s + new.used.slot_s == pytest.approx(whole.slot_s)
    assert old.used.energy_j == pytest.approx(10**6 * 3600 / whole.slot_s, abs=0.01)


def test_a_clock_that_was_set_back_takes_nothing_away(store: JobStore) -> None:
    claim(store, ran_s=-1000)
    assert store.complete(JOB, 1, {})
    assert stored(store).used_before.slot_s == 0
    assert [one.attempts for one in ended(store)] == [1]


def test_a_since_of_1970_ends_the_months_that_are_kept(store: JobStore) -> None:
    claim(store)
    store.redis.hset(HASH, "running_since", 1)
    assert store.complete(JOB, 1, {})
    assert len(store.redis.keys("trainyard:usage:*:all")) == limits.MONTHS_KEPT


def test_names_are_so_many_and_the_rest_is_counted_together(store: JobStore) -> None:
    month = month_now(store.redis)
    sum_key = f"trainyard:usage:{month}:model"
    full = {f"model-{n}": "1 1000 0 0 0" for n in range(limits.NAMES_MAX)}
    store.redis.hset(sum_key, mapping=full)
    for attempt in (1, 2):
        claim(store, attempt, ran_s=5000)
        store.put_back(JOB, attempt, "stop")
    if month_now(store.redis) == month:
        first, *_ = read_month(store.redis, month, "model")
        assert (first.name, first.attempts) == (limits.OTHERS, 2)
        assert store.redis.hlen(sum_key) == limits.NAMES_MAX + 1
        assert store.redis.pttl(sum_key) > 2 * 365 * 86_400_000, "it goes in three years"


def test_figures_of_years_are_exact(store: JobStore) -> None:
    big = 123_456_789_012_345
    month = month_now(store.redis)
    store.redis.hset(f"trainyard:usage:{month}:all", "all", f"7 {big} {big} {big} {big}")
    claim(store, ran_s=1)
    store.renew(JOB, 1, 1)
    assert store.complete(JOB, 1, {})
    if month_now(store.redis) == month:
        raw = store.redis.hget(f"trainyard:usage:{month}:all", "all").split()
        assert (raw[0], raw[-1]) == ("8", str(big + 1))


def test_what_an_older_version_wrote_is_read(store: JobStore) -> None:
    """Its jobs have their time and nothing else; one may be running."""
    assert store.claim(JOB, 1, slot="box-0", worker="w")
    store.redis.hdel(HASH, "gpus")
    store.redis.hset(HASH, "ran_ms", 5000)
    assert stored(store).used_before == Usage(slot_s=5)
    assert store.complete(JOB, 1, {})
    assert json.loads(store.redis.hget(HASH, "ran_ms")) >= 5000
