"""The sender's side of the job store."""

from __future__ import annotations

import json
import time

import pytest
from redis import Redis

from backend_bridge.delivery.acknowledge import set_aside_record
from backend_bridge.delivery.outbox import SET_ASIDE_KEPT, Hold, HoldLost, Outbox
from backend_bridge.delivery.stream import PAGE_BYTES, PAGE_ENTRIES
from tests.support.delivery_scene import claimed
from tests.support.running_job import RunningJob
from tests.support.waiting import wait_for
from trainyard.log_lines import LINE_CHARACTERS_MAX
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.delivery_state import DeliveryProgress, Gap
from trainyard.store.event_log import Entry

JOB = "job-1"
LONG_S = 60.0


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    return Outbox(redis, lock_s=LONG_S)


@pytest.fixture
def job(redis: Redis) -> RunningJob:
    return RunningJob(redis, JOB)


def handle_all(hold: Hold, outbox: Outbox) -> str:
    """Move every lane past everything there is; the newest entry."""
    last = outbox.stream.read(JOB, hold.progress.log.position)[-1].entry_id
    for lane in hold.progress.lanes:
        lane.position = last
    return last


def set_aside(outbox: Outbox, hold: Hold, entry: Entry, reason: str) -> None:
    hold.set_aside = (set_aside_record(JOB, entry, reason, None), entry.kind)
    outbox.hold(hold)


def test_an_event_makes_its_job_due(outbox: Outbox, redis: Redis) -> None:
    assert outbox.due(10) == ([], None)
    RunningJob(redis, JOB)
    RunningJob(redis, "job-2").log("hello")
    due, until_next_s = outbox.due(10)
    assert sorted(due) == [JOB, "job-2"]
    assert until_next_s is None
    assert len(outbox.due(1)[0]) == 1


def test_a_claim_tells_what_a_sender_needs(job: RunningJob, outbox: Outbox) -> None:
    hold = claimed(outbox)
    assert hold.token is not None
    assert hold.token.get_secret_value() == job.token
    assert job.token not in repr(hold)
    assert hold.progress == DeliveryProgress()
    assert hold.held_until > time.monotonic() + LONG_S / 2


def test_entries_come_in_order_and_in_pages(job: RunningJob, outbox: Outbox) -> None:
    for number in range(PAGE_ENTRIES + 10):
        job.log(f"line {number}")
    first = outbox.stream.read(JOB, "0-0")
    rest = outbox.stream.read(JOB, first[-1].entry_id)
    assert len(first) == PAGE_ENTRIES
    assert [entry.kind for entry in first + rest] == ["status"] + ["log"] * (PAGE_ENTRIES + 10)
    positions = [entry.position for entry in first + rest]
    assert positions == sorted(set(positions))
    assert outbox.stream.read(JOB, rest[-1].entry_id) == []


def test_a_page_of_large_entries_is_short(job: RunningJob, outbox: Outbox) -> None:
    lines = ["x" * LINE_CHARACTERS_MAX] * (PAGE_BYTES // LINE_CHARACTERS_MAX // 2)
    for _ in range(20):
        job.log(*lines)
    assert len(outbox.stream.read(JOB, "0-0")) <= 4


def test_a_status_is_found_without_what_lies_between(job: RunningJob, outbox: Outbox) -> None:
    job.log("a line")
    hold = claimed(outbox)
    running, line = outbox.stream.read(JOB, "0-0")
    assert hold.last_status == running.entry_id
    job.complete()
    outbox.hold(hold)
    completed = outbox.stream.status_beyond(JOB, line.entry_id)
    assert hold.last_status == completed.entry_id
    assert json.loads(completed.fields["data"]) == {"status": "completed"}


def test_one_sender_holds_a_job(job: RunningJob, outbox: Outbox) -> None:
    claimed(outbox)
    assert outbox.claim(JOB) is None
    job.log("more")
    due, until_next_s = outbox.due(10)
    assert due == [], "a held job is offered again"
    assert until_next_s is not None
    assert LONG_S / 2 < until_next_s <= LONG_S


def test_the_lock_holds_also_if_the_due_time_was_changed(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    hold = claimed(outbox)
    redis.zadd("trainyard:undelivered", {JOB: 0})
    assert outbox.claim(JOB) is None
    outbox.hold(hold)


def test_a_job_without_events_is_not_claimed(outbox: Outbox) -> None:
    assert outbox.claim("unknown") is None


def test_the_next_claim_goes_on_from_the_stored_progress(job: RunningJob, outbox: Outbox) -> None:
    hold = claimed(outbox)
    handle_all(hold, outbox)
    hold.progress.next_line = 7
    hold.progress.gap = Gap("key", "line", 9)
    hold.progress.log.due_ms = 5
    outbox.hold(hold)
    outbox.release(hold, due_in_ms=0, seen="")
    again = claimed(outbox)
    assert again.progress == hold.progress
    assert again.holder != hold.holder


def test_a_job_that_was_given_back_is_due_again(job: RunningJob, outbox: Outbox) -> None:
    assert not outbox.release(claimed(outbox), due_in_ms=100, seen="")
    assert outbox.claim(JOB) is None
    wait_for("due after the pause", lambda: outbox.due(10)[0] == [JOB])
    assert outbox.release(claimed(outbox), due_in_ms=0, seen="")
    claimed(outbox)


def test_an_event_wakes_the_job_unless_its_lane_waits(job: RunningJob, outbox: Outbox) -> None:
    hold = claimed(outbox)
    seen = handle_all(hold, outbox)
    hold.progress.log.due_ms = hold.now_ms + int(1000 * LONG_S)
    assert not outbox.release(hold, due_in_ms=int(1000 * LONG_S), seen=seen)
    job.log("its lane waits")
    assert outbox.claim(JOB) is None
    job.metric(1)
    assert outbox.due(10)[0] == [JOB]
    claimed(outbox)


def test_an_event_that_no_backend_hears_wakes_nobody(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    hold = claimed(outbox)
    outbox.release(hold, due_in_ms=None, seen=handle_all(hold, outbox))
    job.append([StoredEvent("phase", "{}")])
    assert redis.zcard("trainyard:undelivered") == 0


def test_a_job_leaves_the_set_when_all_is_handled(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    hold = claimed(outbox)
    outbox.release(hold, due_in_ms=None, seen=handle_all(hold, outbox))
    assert redis.zcard("trainyard:undelivered") == 0
    assert outbox.claim(JOB) is None
    job.log("more")
    assert outbox.due(10)[0] == [JOB]
    assert claimed(outbox).progress == hold.progress


def test_an_event_between_the_last_look_and_the_end_is_not_lost(
    job: RunningJob, outbox: Outbox
) -> None:
    hold = claimed(outbox)
    seen = handle_all(hold, outbox)
    job.log("just now")
    assert outbox.release(hold, due_in_ms=None, seen=seen), "it is due at once"
    hold = claimed(outbox)
    assert [entry.kind for entry in outbox.stream.read(JOB, hold.progress.log.position)] == ["log"]
    assert not outbox.release(hold, due_in_ms=None, seen=handle_all(hold, outbox))


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
    taken: list[Hold] = []
    wait_for("taken over", lambda: taken.append(c) if (c := outbox.claim(JOB)) else taken)
    before = redis.hgetall(f"trainyard:delivery:{JOB}")
    entry = outbox.stream.read(JOB, "0-0")[0]
    handle_all(frozen, outbox)
    for write in (
        lambda: outbox.hold(frozen),
        lambda: set_aside(outbox, frozen, entry, "reason"),
        lambda: outbox.release(frozen, due_in_ms=0, seen=""),
        lambda: outbox.release(frozen, due_in_ms=None, seen=entry.entry_id),
    ):
        with pytest.raises(HoldLost):
            write()
    assert redis.hgetall(f"trainyard:delivery:{JOB}") == before
    assert redis.llen("trainyard:set-aside") == 0
    assert outbox.due(10)[0] == []
    outbox.hold(taken[0])


def test_a_hold_keeps_others_away(job: RunningJob, outbox: Outbox, redis: Redis) -> None:
    hold, lock, nearly_over_ms = claimed(outbox), f"trainyard:delivery-lock:{JOB}", 20_000
    redis.pexpire(lock, nearly_over_ms)
    outbox.hold(hold)
    assert redis.pttl(lock) > nearly_over_ms
    assert outbox.claim(JOB) is None


def test_a_lock_that_ran_out_unnoticed_is_taken_again(job: RunningJob, redis: Redis) -> None:
    outbox = Outbox(redis, lock_s=0.1)
    hold = claimed(outbox)
    wait_for("the lock ran out", lambda: not redis.exists(f"trainyard:delivery-lock:{JOB}"))
    long = Outbox(redis, lock_s=LONG_S)
    long.hold(hold)
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


AN_HOUR_MS = 3_600_000


def test_a_job_whose_due_time_a_clock_set_back_moved_away_is_due(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    """All of its lanes are, too, and an event wakes it."""
    hold = claimed(outbox)
    far_ms = hold.now_ms + AN_HOUR_MS
    for lane in hold.progress.lanes:
        lane.due_ms = far_ms
    outbox.release(hold, due_in_ms=AN_HOUR_MS, seen="")
    assert outbox.due(10)[0] == [JOB]
    hold = claimed(outbox)
    assert {lane.due_ms for lane in hold.progress.lanes} == {0}
    redis.hset(f"trainyard:delivery:{JOB}", "log_due", str(far_ms))
    redis.zrem("trainyard:undelivered", JOB)
    redis.delete(f"trainyard:delivery-lock:{JOB}")
    job.log("an event")
    assert outbox.due(10)[0] == [JOB]


def test_a_lock_that_a_clock_set_back_has_lengthened_is_a_lock_again(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    """Whoever holds it may be posting still: it is shortened, not taken away."""
    claimed(outbox)
    redis.pexpire(f"trainyard:delivery-lock:{JOB}", AN_HOUR_MS)
    redis.zadd("trainyard:undelivered", {JOB: 0})
    assert outbox.claim(JOB) is None
    assert 0 < redis.pttl(f"trainyard:delivery-lock:{JOB}") <= 1000 * LONG_S


def test_what_is_set_aside_can_be_read(job: RunningJob, outbox: Outbox, redis: Redis) -> None:
    hold = claimed(outbox)
    entry = outbox.stream.read(JOB, "0-0")[0]
    set_aside(outbox, hold, entry, "HTTP 400: no")
    set_aside(outbox, hold, entry, "HTTP 400: no")  # the answer to the first was lost
    (record,) = map(json.loads, redis.lrange("trainyard:set-aside", 0, -1))  # type: ignore[arg-type]
    assert (record["job_id"], record["entry_id"]) == (JOB, entry.entry_id)
    assert record["reason"] == "HTTP 400: no"
    assert (record["kind"], record["attempt"], record["sequence"]) == ("status", "1", "1")
    assert json.loads(record["data"]) == {"status": "running"}
    assert redis.hgetall("trainyard:set-aside-counts") == {"status": "1"}


def test_the_list_of_what_is_set_aside_is_bounded(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    redis.rpush("trainyard:set-aside", *(["{}"] * SET_ASIDE_KEPT))
    set_aside(outbox, claimed(outbox), outbox.stream.read(JOB, "0-0")[0], "newest")
    assert redis.llen("trainyard:set-aside") == SET_ASIDE_KEPT
    newest = redis.lindex("trainyard:set-aside", 0)
    assert json.loads(newest)["reason"] == "newest"  # type: ignore[arg-type]


def test_missing_routes_are_remembered_until_they_are_there(
    job: RunningJob, outbox: Outbox, redis: Redis
) -> None:
    redis.hset("trainyard:missing-routes", "POST /of-another-sender", "5")
    hold = claimed(outbox)
    hold.missing["POST /x"] = "7"
    outbox.hold(hold)
    assert redis.hgetall("trainyard:missing-routes") == {
        "POST /of-another-sender": "5",
        "POST /x": "7",
    }
    redis.hdel("trainyard:missing-routes", "POST /of-another-sender")
    hold.missing["POST /x"] = ""
    outbox.release(hold, due_in_ms=0, seen="")
    assert redis.hgetall("trainyard:missing-routes") == {}
