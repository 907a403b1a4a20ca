"""The sender's side of the job store, on an in-memory double and on a real Redis alike."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import fakeredis
import pytest
from redis import Redis

from backend_bridge.delivery.cursor import Claim
from backend_bridge.delivery.outbox import (
    PAGE_BYTES,
    PAGE_ENTRIES,
    SET_ASIDE_KEPT,
    HoldLost,
    Outbox,
)
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from tests.support.waiting import wait_for
from trainyard.log_lines import LINE_CHARACTERS_MAX
from trainyard.store.event_log import entry_position

JOB = "job-1"
LONG_S = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(requirepass="test-password") as server:
        yield server


@pytest.fixture(params=["fakeredis", "redis"])
def redis(request: pytest.FixtureRequest) -> Iterator[Redis]:
    if request.param == "fakeredis":
        client: Redis = fakeredis.FakeRedis(decode_responses=True)
    else:
        client = request.getfixturevalue("server").client()
        client.flushall()
    with client:
        yield client


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    return Outbox(redis, lock_s=LONG_S)


@pytest.fixture
def job(redis: Redis) -> RunningJob:
    return RunningJob(redis, JOB)


def claimed(outbox: Outbox, *, woken: bool = False) -> Claim:
    claim = outbox.claim(JOB, woken=woken)
    assert claim is not None
    return claim


def handled(claim: Claim, outbox: Outbox) -> None:
    """Move the cursor past everything there is."""
    after = claim.state.get("cursor") or "0-0"
    claim.put("cursor", outbox.read(JOB, after)[-1].entry_id)


def test_an_event_makes_its_job_due(outbox: Outbox, redis: Redis) -> None:
    assert outbox.due(10) == ([], None)
    RunningJob(redis, JOB)
    RunningJob(redis, "job-2").log("hello")
    due, until_next_s = outbox.due(10)
    assert sorted(due) == [JOB, "job-2"]
    assert until_next_s is None
    assert len(outbox.due(1)[0]) == 1


def test_a_claim_tells_what_a_sender_needs(job: RunningJob, outbox: Outbox) -> None:
    claim = claimed(outbox)
    assert claim.token is not None
    assert claim.token.get_secret_value() == job.token
    assert job.token not in repr(claim)
    assert claim.number("next_line") == 0
    assert claim.position("cursor") == (0, 0)
    assert claim.held_until > time.monotonic() + LONG_S / 2


def test_entries_come_in_order_and_in_pages(job: RunningJob, outbox: Outbox) -> None:
    for number in range(PAGE_ENTRIES + 10):
        job.log(f"line {number}")
    first = outbox.read(JOB, "0-0")
    rest = outbox.read(JOB, first[-1].entry_id)
    assert len(first) == PAGE_ENTRIES
    assert [entry.kind for entry in first + rest] == ["status"] + ["log"] * (PAGE_ENTRIES + 10)
    positions = [entry.position for entry in first + rest]
    assert positions == sorted(set(positions))
    assert outbox.read(JOB, rest[-1].entry_id) == []


def test_a_page_of_large_entries_is_short(job: RunningJob, outbox: Outbox) -> None:
    lines = ["x" * LINE_CHARACTERS_MAX] * (PAGE_BYTES // LINE_CHARACTERS_MAX // 2)
    for _ in range(20):
        job.log(*lines)
    assert len(outbox.read(JOB, "0-0")) <= 4


def test_statuses_are_found_without_what_lies_between(job: RunningJob, outbox: Outbox) -> None:
    job.log("a line")
    claim = claimed(outbox)
    running, line = outbox.read(JOB, "0-0")
    assert claim.last_status == running.entry_id
    assert outbox.statuses_beyond(JOB, line) == []
    job.complete()
    outbox.hold(claim)
    (completed,) = outbox.statuses_beyond(JOB, line)
    assert claim.last_status == completed.entry_id
    assert json.loads(completed.fields["data"]) == {"status": "completed"}
    assert outbox.statuses_beyond(JOB, completed) == []


def test_ids_compare_as_numbers() -> None:
    assert entry_position("5-10") > entry_position("5-9")
    assert entry_position("10-0") > entry_position("9-99")


def test_one_sender_holds_a_job(job: RunningJob, outbox: Outbox) -> None:
    claimed(outbox)
    assert outbox.claim(JOB) is None
    assert outbox.claim(JOB, woken=True) is None
    job.log("more")
    due, until_next_s = outbox.due(10)
    assert due == [], "a held job is offered again"
    assert until_next_s is not None
    assert LONG_S / 2 < until_next_s <= LONG_S


def test_the_lock_holds_also_where_the_due_time_was_changed(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    claim = claimed(outbox)
    redis.zadd("trainyard:undelivered", {JOB: 0})
    assert outbox.claim(JOB) is None
    outbox.hold(claim)


def test_a_job_without_events_is_not_claimed(outbox: Outbox) -> None:
    assert outbox.claim("unknown") is None
    assert outbox.claim("unknown", woken=True) is None


def test_the_next_claim_starts_at_the_cursor(job: RunningJob, outbox: Outbox) -> None:
    claim = claimed(outbox)
    handled(claim, outbox)
    claim.put("next_line", 7)
    outbox.hold(claim)
    outbox.put_back(claim, due_in_s=0)
    again = claimed(outbox)
    assert again.state["cursor"] == claim.state["cursor"]
    assert again.number("next_line") == 7
    assert again.holder != claim.holder


def test_a_job_that_was_put_back_waits(job: RunningJob, outbox: Outbox) -> None:
    outbox.put_back(claimed(outbox), due_in_s=LONG_S)
    job.log("a new event does not end the pause")
    due, until_next_s = outbox.due(10)
    assert due == []
    assert until_next_s is not None
    assert LONG_S / 2 < until_next_s <= LONG_S
    assert outbox.claim(JOB) is None
    assert outbox.claim(JOB, woken=True) is None


def test_a_job_that_was_put_back_is_due_again(job: RunningJob, outbox: Outbox) -> None:
    outbox.put_back(claimed(outbox), due_in_s=0.1)
    wait_for("due after the pause", lambda: outbox.due(10)[0] == [JOB])
    claimed(outbox)


def test_a_job_that_waits_for_a_route_lets_new_events_by(job: RunningJob, outbox: Outbox) -> None:
    claim = claimed(outbox)
    last = outbox.read(JOB, "0-0")[-1].entry_id
    assert outbox.put_back_kind(claim, due_in_s=LONG_S, after=last)
    assert outbox.claim(JOB) is None
    claim = claimed(outbox, woken=True)
    job.log("an event that comes while it is held")
    assert not outbox.put_back_kind(claim, due_in_s=LONG_S, after=last)
    outbox.hold(claim)  # it is held still


def test_a_job_leaves_the_set_when_all_is_handled(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    claim = claimed(outbox)
    handled(claim, outbox)
    assert outbox.finish(claim)
    assert redis.zcard("trainyard:undelivered") == 0
    assert outbox.claim(JOB, woken=True) is None
    job.log("more")
    assert outbox.due(10)[0] == [JOB]
    assert claimed(outbox).state["cursor"] == claim.state["cursor"]


def test_an_event_between_the_last_look_and_the_end_is_not_lost(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    claim = claimed(outbox)
    handled(claim, outbox)
    job.log("just now")
    assert not outbox.finish(claim)
    assert redis.zscore("trainyard:undelivered", JOB) is not None
    assert [entry.kind for entry in outbox.read(JOB, claim.state["cursor"])] == ["log"]
    handled(claim, outbox)
    assert outbox.finish(claim)


def test_a_dead_senders_job_is_due_when_its_lock_has_run_out(job: RunningJob, redis: Redis) -> None:
    outbox = Outbox(redis, lock_s=0.2)
    claimed(outbox)
    assert outbox.due(10)[0] == []
    wait_for("due after the lock", lambda: outbox.due(10)[0] == [JOB])
    wait_for("taken over", lambda: outbox.claim(JOB))


def test_a_frozen_sender_writes_nothing_after_its_job_was_taken(
    job: RunningJob, redis: Redis
) -> None:
    frozen = claimed(Outbox(redis, lock_s=0.2))
    outbox = Outbox(redis, lock_s=LONG_S)
    taken: list[Claim] = []
    wait_for("taken over", lambda: taken.append(c) if (c := outbox.claim(JOB)) else taken)
    before = redis.hgetall(f"trainyard:delivery:{JOB}")
    entry = outbox.read(JOB, "0-0")[0]
    frozen.put("cursor", entry.entry_id)
    for write in (
        lambda: outbox.hold(frozen),
        lambda: outbox.set_aside(frozen, entry, "reason"),
        lambda: outbox.put_back(frozen, due_in_s=0),
        lambda: outbox.put_back_kind(frozen, due_in_s=0, after=entry.entry_id),
        lambda: outbox.finish(frozen),
    ):
        with pytest.raises(HoldLost):
            write()
    assert redis.hgetall(f"trainyard:delivery:{JOB}") == before
    assert redis.llen("trainyard:set-aside") == 0
    assert outbox.due(10)[0] == []
    outbox.hold(taken[0])


def test_a_hold_keeps_others_away(job: RunningJob, redis: Redis) -> None:
    outbox = Outbox(redis, lock_s=0.5)
    claim = claimed(outbox)
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        outbox.hold(claim)
        assert outbox.claim(JOB) is None
        time.sleep(0.05)


def test_a_lock_that_ran_out_unnoticed_is_taken_again(job: RunningJob, redis: Redis) -> None:
    outbox = Outbox(redis, lock_s=0.1)
    claim = claimed(outbox)
    wait_for("the lock ran out", lambda: not redis.exists(f"trainyard:delivery-lock:{JOB}"))
    long = Outbox(redis, lock_s=LONG_S)
    long.hold(claim)
    assert outbox.claim(JOB) is None


def test_two_holders_differ_even_where_redis_forgot_the_last_number(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    first = claimed(outbox)
    redis.delete(f"trainyard:delivery:{JOB}", f"trainyard:delivery-lock:{JOB}")
    redis.zadd("trainyard:undelivered", {JOB: 0})
    second = claimed(outbox)
    assert first.holder.partition(":")[0] == second.holder.partition(":")[0]
    with pytest.raises(HoldLost):
        outbox.hold(first)


def test_what_is_set_aside_can_be_read(job: RunningJob, outbox: Outbox, redis: Redis) -> None:
    claim = claimed(outbox)
    entry = outbox.read(JOB, "0-0")[0]
    claim.put("cursor", entry.entry_id)
    outbox.set_aside(claim, entry, "HTTP 400: no")
    (record,) = map(json.loads, redis.lrange("trainyard:set-aside", 0, -1))  # type: ignore[arg-type]
    assert record["job_id"] == JOB
    assert record["reason"] == "HTTP 400: no"
    assert (record["kind"], record["attempt"], record["sequence"]) == ("status", "1", "1")
    assert json.loads(record["data"]) == {"status": "running"}
    assert redis.hgetall("trainyard:set-aside-counts") == {"status": "1"}
    assert redis.hget(f"trainyard:delivery:{JOB}", "set_aside") == "1"
    assert redis.hget(f"trainyard:delivery:{JOB}", "cursor") == entry.entry_id


def test_the_list_of_what_is_set_aside_is_bounded(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    redis.rpush("trainyard:set-aside", *(["{}"] * SET_ASIDE_KEPT))
    claim = claimed(outbox)
    outbox.set_aside(claim, outbox.read(JOB, "0-0")[0], "newest")
    assert redis.llen("trainyard:set-aside") == SET_ASIDE_KEPT
    newest = redis.lindex("trainyard:set-aside", 0)
    assert json.loads(newest)["reason"] == "newest"  # type: ignore[arg-type]


def test_missing_routes_are_remembered_until_they_are_there(outbox: Outbox, redis: Redis) -> None:
    outbox.note_missing_route("POST /x", missing=True)
    assert redis.hkeys("trainyard:missing-routes") == ["POST /x"]
    outbox.note_missing_route("POST /x", missing=False)
    assert redis.hkeys("trainyard:missing-routes") == []
