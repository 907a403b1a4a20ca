"""Senders' turns under random schedules of events, answers, kills, freezes and Redis's troubles.

What arrives is what was written: every lane in order, once unless an answer was lost, every log
line delivered or counted once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_bridge.delivery.backend_client import Answer
from backend_bridge.delivery.outbox import Hold, Outbox
from backend_bridge.delivery.stream import Stream
from tests.support.delivery_scene import JOB, LOCK_S, Clock, FakeBackend, Scene, own_clock
from trainyard.contract.backend_routes import ROUTES
from trainyard.log_lines import LINE_CHARACTERS_MAX
from trainyard.store.delivery_report import delivery_report
from trainyard.store.event_log import Entry
from trainyard.store.unsent_records import cut_note

PASSING = ("500", "busy", "401", "404", "405", "lost")
ENDS = ("killed", "killed before", "frozen", "frozen before")


REDIS = st.lists(st.sampled_from(["ok", "away", "full", "lost"]), max_size=6)
"""What the scripts of a turn meet: the first claims the job, the second reads, others store."""


def schedules(*answers: str) -> st.SearchStrategy[list[tuple[str, Any]]]:
    return st.lists(
        st.one_of(
            st.tuples(st.just("log"), st.integers(1, 4)),
            st.tuples(st.just("metric"), st.sampled_from([1, 1, 1, 12])),
            st.tuples(st.just("pause"), st.none()),
            st.tuples(
                st.just("turn"),
                st.tuples(
                    st.lists(st.sampled_from(("taken", *answers)), max_size=8),
                    st.one_of(st.just([]), REDIS, REDIS.map(lambda later: ["ok", "ok", *later])),
                ),
            ),
            st.tuples(st.just("time"), st.sampled_from([0.0, 0.4, 16.0, 35.0, 100.0])),
        ),
        max_size=25,
    )


def play(scene: Scene, schedule: list[tuple[str, Any]]) -> Scene:
    for action, argument in schedule:
        match action:
            case "log":
                scene.log(argument)
            case "metric":
                for _ in range(argument):
                    scene.metric()
            case "pause":
                scene.pause_and_resume()
            case "turn":
                answers, faults = argument
                scene.senders_redis.faults = deque(faults)
                scene.turn(*answers)
                scene.senders_redis.faults.clear()
            case "time":
                scene.clock.pass_(argument)
    return scene


def play_to_the_end(scene: Scene, schedule: list[tuple[str, Any]]) -> Scene:
    play(scene, schedule)
    scene.complete()
    scene.turns_until_done()
    return scene


class SlowBackend(FakeBackend):
    """Takes nearly as long as a sender waits; ``meanwhile`` another sender tries its luck."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def post(self, *args: Any, **options: Any) -> Answer:
        self.meanwhile()
        return super().post(*args, **options)


def test_a_lock_outlasts_the_request_that_is_made_under_it(scene: Scene) -> None:
    """Also if most of it went by before: of a slow Redis, or of a freeze."""
    claims: list[Hold | None] = []

    def meanwhile() -> None:
        scene.clock.pass_(0.9 * scene.backend.timeout_s)
        claims.append(Outbox(scene.redis, lock_s=LOCK_S).claim(JOB))

    scene.backend = SlowBackend(meanwhile)
    read = scene.outbox.stream.read

    def slow_read(*args: Any, **options: Any) -> list[Entry]:
        scene.clock.pass_(LOCK_S - scene.backend.timeout_s / 2)
        return read(*args, **options)

    scene.outbox.stream.read = slow_read  # type: ignore[method-assign]
    scene.turn()
    assert claims == [None]
    assert scene.backend.of("status") == ["running"]


# ---------------------------------------------------------------- whatever happens


@settings(max_examples=100, deadline=None)
@given(
    schedules(*PASSING, *ENDS),
    st.sampled_from([30.0, 0.0]),
    st.sampled_from(["", "404", "405", "500", "400"]),
)
def test_what_arrives_is_what_was_written(
    schedule: list[tuple[str, Any]], patience_s: float, many_points: str
) -> None:
    """``many_points``: what the route for them answers always."""
    with own_clock() as clock:
        scene = Scene(clock, patience_s=patience_s)
        scene.backend.lanes = {"points": many_points} if many_points else {}
        play_to_the_end(scene, schedule).check_all_arrived()


@settings(max_examples=40, deadline=None)
@given(schedules("500", "404", "405"))
def test_every_line_is_delivered_or_counted_once(schedule: list[tuple[str, Any]]) -> None:
    """Also if the log's cap cuts lines while they wait."""
    with own_clock() as clock:
        play_to_the_end(Scene(clock, lines_kept=6), schedule).check_all_arrived()


@settings(max_examples=40, deadline=None)
@given(schedules("500", "405", "killed", "frozen"), st.integers(50, 200))
def test_a_backend_that_takes_small_bodies_gets_every_line(
    schedule: list[tuple[str, Any]], largest: int
) -> None:
    with own_clock() as clock:
        scene = Scene(clock)
        scene.backend.largest = 1024 + largest
        for _ in range(20):
            scene.log(4, " " + "x" * 100)
        play_to_the_end(scene, schedule).check_all_arrived()


@settings(max_examples=30, deadline=None)
@given(schedules("400", "500"))
def test_what_is_refused_is_set_aside_and_the_rest_arrives(
    schedule: list[tuple[str, Any]],
) -> None:
    with own_clock() as clock:
        scene = Scene(clock)
        scene.backend.lanes = {"points": "405"}
        play_to_the_end(scene, schedule).backend.check_once()
        arrived = {key for _, key, _ in scene.backend.taken}
        refused = {
            f"{JOB}:{record['attempt']}:{record['sequence']}"
            for record in map(json.loads, scene.redis.lrange("trainyard:set-aside", 0, -1))
        }
        entries = scene.redis.xrange(f"trainyard:events:{JOB}")
        written = {f"{JOB}:{fields['attempt']}:{fields['sequence']}" for _, fields in entries}
        assert arrived | refused == written
        assert not arrived & refused


@settings(max_examples=30, deadline=None)
@given(schedules("500", "lost"), st.sampled_from(["metrics", "logs"]), st.sampled_from(PASSING[:5]))
def test_a_lane_that_always_fails_keeps_back_no_other(
    schedule: list[tuple[str, Any]], endpoint: str, answer: str
) -> None:
    if answer == "busy":  # its Retry-After is meant for all
        answer = "500"
    with own_clock() as clock:
        scene = Scene(clock)
        scene.backend.lanes = {endpoint: answer} | (
            {"points": answer} if endpoint == "metrics" else {}
        )
        play(scene, [action for action in schedule if action[0] != "time"])
        scene.complete()
        scene.turns_until_done(most_s=70)
        assert scene.backend.of("status") == scene.statuses
        assert scene.backend.of(endpoint) == []
        if endpoint == "logs":
            assert scene.backend.steps() == list(range(1, scene.steps + 1))
        else:
            assert scene.line_numbers() == list(range(scene.lines))
        scene.backend.lanes = {}
        scene.turns_until_done()
        scene.check_all_arrived()


@settings(max_examples=30, deadline=None)
@given(schedules("500", "lost", "killed"))
def test_within_the_patience_the_end_comes_last(schedule: list[tuple[str, Any]]) -> None:
    with own_clock() as clock:
        scene = play(Scene(clock, patience_s=1e9), schedule)
        scene.metric()
        scene.backend.lanes = {"metrics": "500"}
        scene.turn()
        scene.complete()
        scene.turns_until_done(most_s=20)
        scene.backend.lanes = {}
        scene.turns_until_done()
        scene.check_all_arrived()
        assert scene.backend.taken[-1][2] == "completed"


# ---------------------------------------------------------------- 401 and 404


@pytest.mark.parametrize("answer", ["401", "404"])
def test_of_a_job_that_was_heard_nothing_is_set_aside(scene: Scene, answer: str) -> None:
    scene.log()
    scene.turn()
    scene.backend.lanes = dict.fromkeys(("status", "metrics", "logs"), answer)
    for _ in range(40):
        scene.metric()
        scene.log()
    scene.complete()
    scene.turns_until_done(most_s=95)
    assert scene.due_in_s() is not None
    scene.backend.lanes = {}
    gone_at = scene.clock.now
    scene.turns_until_done()
    scene.check_all_arrived()
    assert scene.clock.now - gone_at < 60, "it goes on within the longest backoff"


def test_a_job_that_was_never_heard_is_parked_and_tried_slowly(scene: Scene) -> None:
    scene.backend.lanes = {"status": "404"}
    scene.turns_until_done(most_s=61)
    assert len(scene.backend.tried) == 5
    due_in_s = scene.due_in_s()
    assert due_in_s is not None
    assert 400 < due_in_s <= 750
    (waiting,) = delivery_report(scene.redis).waiting
    assert (waiting.heard, waiting.last_error) == (False, "HTTP 404")
    scene.backend.lanes = {}
    scene.turns_until_done()
    scene.check_all_arrived()


def test_a_lane_whose_404_stands_beside_acceptance_lacks_its_route(scene: Scene) -> None:
    scene.backend.lanes = {"logs": "404"}
    scene.log()
    scene.metric()
    scene.turns_until_done(most_s=5)
    assert scene.backend.of("metrics") == [1]
    assert list(delivery_report(scene.redis).missing_routes) == [
        "POST /api/training/local/{jobId}/logs"
    ]
    tried = len(scene.backend.tried)
    scene.metric()
    scene.complete()
    scene.turns_until_done(most_s=5)
    assert scene.backend.of("status") == ["running", "completed"], "the end does not wait for it"
    assert len(scene.backend.tried) == tried + 2, "it is not asked again at once"
    scene.backend.lanes = {}
    scene.turns_until_done()
    scene.check_all_arrived()
    assert delivery_report(scene.redis).missing_routes == {}


def test_an_outage_of_404s_names_no_route(scene: Scene) -> None:
    scene.turn()
    scene.metric()
    scene.log()
    scene.backend.lanes = dict.fromkeys(("status", "metrics", "logs"), "404")
    scene.turns_until_done(most_s=95)
    scene.backend.lanes = {}
    scene.turns_until_done()
    scene.check_all_arrived()
    assert delivery_report(scene.redis).missing_routes == {}


def test_a_route_that_another_job_missed_is_forgotten_once_one_arrives_there(scene: Scene) -> None:
    scene.redis.hset("trainyard:missing-routes", ROUTES["logs"], "1")
    scene.metric()
    scene.turns_until_done()
    assert list(delivery_report(scene.redis).missing_routes) == [ROUTES["logs"]]
    scene.log()
    scene.turns_until_done()
    assert delivery_report(scene.redis).missing_routes == {}


# ---------------------------------------------------------------- one lane waits, others go by


def test_what_went_by_a_missing_route_is_not_sent_again_after_a_failure(scene: Scene) -> None:
    scene.log()
    for _ in range(3):
        scene.metric()
    scene.turn("taken", "405")
    scene.turn("taken", "taken", "500")
    scene.turns_until_done(most_s=40)
    assert scene.backend.of("metrics") == [1, 2, 3]
    assert scene.backend.tried.count(f"{JOB}:1:4") == 1


def test_an_event_in_a_lane_that_waits_wakes_nobody(scene: Scene) -> None:
    scene.log()
    scene.turn("taken", "405")
    scene.turn()
    due_in_s = scene.due_in_s()
    scene.log()
    assert due_in_s is not None
    assert scene.due_in_s() == pytest.approx(due_in_s, abs=1)
    scene.metric()
    assert scene.due_in_s() == pytest.approx(0, abs=1)


def test_what_lies_between_a_lane_that_waits_and_the_others_is_not_read_at_each_try(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: list[Entry] = []
    read = Stream.read

    def noting_read(*args: Any, **more: Any) -> list[Entry]:
        found = read(*args, **more)
        entries.extend(found)
        return found

    scene.backend.lanes = {"metrics": "500", "points": "500"}
    for _ in range(1000):
        scene.metric()
    scene.log()
    scene.turns_until_done(most_s=70)
    monkeypatch.setattr(Stream, "read", noting_read)
    for tries in range(1, 4):
        scene.log()
        tried = len(scene.backend.tried)
        scene.turns_until_done(most_s=70)
        assert len(scene.backend.tried) > tried + 1, "points were tried, and the line was sent"
        assert len(entries) < tries * 1000
    assert scene.line_numbers() == list(range(4))


def test_statuses_go_before_a_backlog_that_has_waited_too_long(clock: Clock) -> None:
    scene = Scene(clock, patience_s=30.0)
    scene.turn()
    for _ in range(5):
        scene.metric()
    scene.backend.then = {f"{JOB}:1:3": scene.complete}
    clock.pass_(31)
    scene.turns_until_done()
    assert [body for _, _, body in scene.backend.taken] == ["running", 1, 2, "completed", 3, 4, 5]


def test_while_what_stands_before_it_is_young_a_status_waits(scene: Scene) -> None:
    scene.metric()
    scene.complete()
    scene.backend.lanes = {"metrics": "500"}
    scene.turns_until_done(most_s=25)
    assert scene.backend.of("status") == ["running"]
    scene.turns_until_done(most_s=35)
    assert scene.backend.of("status") == ["running", "completed"]


def test_a_retry_after_is_for_the_whole_job(scene: Scene) -> None:
    scene.metric()
    scene.log()
    scene.turn("taken", "busy")
    assert len(scene.backend.tried) == 2
    scene.log()
    due_in_s = scene.due_in_s()
    assert due_in_s is not None
    assert due_in_s > 50, "an event must not ask again"


def test_tries_are_counted_until_the_message_is_taken(scene: Scene) -> None:
    for failures in (1, 2, 3):
        scene.turn("500")
        assert scene.lane("status").failures == failures
        assert delivery_report(scene.redis).waiting[0].last_error == "HTTP 500"
        scene.clock.pass_(scene.due_in_s() or 0)
    scene.turn()
    assert scene.lane("status").failures == 0


# ---------------------------------------------------------------- what was cut


def test_a_line_about_a_gap_is_the_same_after_its_sender_was_killed(clock: Clock) -> None:
    scene = Scene(clock, lines_kept=6)
    for _ in range(4):
        scene.log(3)
    scene.turn("taken", "killed")
    for _ in range(2):
        scene.log(3)
    scene.complete()
    scene.turns_until_done()
    scene.check_all_arrived()
    gaps = [lines for lines in scene.backend.of("logs") if "… " in lines[0]]
    assert len(gaps) == 2


@pytest.mark.parametrize("arrived", [False, True])
def test_a_note_about_cut_lines_counts_once(clock: Clock, arrived: bool) -> None:
    """For all of them if it is cut itself, for itself if it arrived."""
    scene = Scene(clock, lines_kept=6)
    scene.turn()
    scene.log(2)
    scene.job.append([cut_note(40)])
    if arrived:
        scene.turns_until_done()
    for _ in range(5):
        scene.log(2)
    scene.turns_until_done()
    lines = [line for lines in scene.backend.of("logs") for line in lines]
    (gap,) = (line for line in lines if "… " in line)
    assert ("… 6 log lines were cut" if arrived else "… 48 log lines were cut") in gap


# ---------------------------------------------------------------- sizes


def test_a_body_of_log_lines_is_bounded_in_bytes(scene: Scene) -> None:
    scene.log(100, " " + "ü" * 5000)
    scene.turns_until_done()
    bodies = scene.backend.of("logs")
    assert max(len(json.dumps({"logs": lines})) for lines in bodies) <= 65_536
    assert scene.line_numbers() == list(range(100))
    keys = [key for _, key, _ in scene.backend.taken[1:]]
    assert keys[:2] == [f"{JOB}:1:2", f"{JOB}:1:2+{len(bodies[0])}"]


def test_a_line_that_is_too_large_by_itself_is_cut_with_a_note(scene: Scene) -> None:
    scene.backend.largest = 5000
    scene.log(1, " " + "ü" * (LINE_CHARACTERS_MAX - 20))
    scene.log(1)
    scene.complete()
    scene.turns_until_done()
    (long,), (short,) = scene.backend.of("logs")
    assert long.endswith(" more characters]")
    assert 400 < len(long) < 900
    assert short.endswith("line 1")
    scene.check_all_arrived()


def test_a_backend_that_takes_nothing_sets_aside_the_line_alone(scene: Scene) -> None:
    scene.backend.largest = 10
    scene.log(2)
    scene.complete()
    scene.turns_until_done()
    assert scene.backend.of("status") == ["running", "completed"]
    assert delivery_report(scene.redis).set_aside_counts == {"log": 1}


# ---------------------------------------------------------------- an older version


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_delivery_of_an_older_version_goes_on_where_it_was(data: st.DataObject) -> None:
    """It had one cursor, and beyond it what each kind had handled."""
    with own_clock() as clock:
        scene = Scene(clock)
        for _ in range(data.draw(st.integers(0, 4))):
            scene.metric()
            scene.log(2)
        scene.complete()
        entries = scene.redis.xrange(f"trainyard:events:{JOB}")
        cursor, *ahead = (data.draw(st.integers(0, len(entries))) for _ in range(4))
        old = {"cursor": entries[cursor - 1][0]} if cursor else {}
        before = dict.fromkeys(("status", "metric", "log"), cursor)
        for kind, count in zip(before, ahead, strict=True):
            if count > cursor:
                old[f"ahead_{kind}"], before[kind] = entries[count - 1][0], count
        delivered = [fields for n, (_, fields) in enumerate(entries) if n < before[fields["kind"]]]
        lines = sum(len(json.loads(f["data"])) for f in delivered if f["kind"] == "log")
        old |= {"next_line": str(lines), "later_log": "1", "soft": "1"}
        scene.redis.hset(f"trainyard:delivery:{JOB}", mapping=old)
        scene.turns_until_done()
        came = [key for _, key, _ in scene.backend.taken]
        keys = [f"{JOB}:{f['attempt']}:{f['sequence']}" for _, f in entries if f not in delivered]
        assert sorted(came) == sorted(keys)
        assert not any(scene.redis.hmget(f"trainyard:delivery:{JOB}", list(old)))


# ---------------------------------------------------------------- how a job begins


def test_nothing_goes_before_a_first_status_that_failed(scene: Scene) -> None:
    scene.metric()
    scene.log()
    scene.turn("500")
    scene.turn("500")
    scene.turns_until_done()
    assert [key for _, key, _ in scene.backend.taken] == [f"{JOB}:1:{n}" for n in (1, 2, 3)]


def test_a_first_status_that_always_fails_is_not_waited_for_too_long(scene: Scene) -> None:
    scene.metric()
    scene.backend.lanes = {"status": "500"}
    scene.turns_until_done(most_s=29)
    assert scene.backend.steps() == []
    scene.turns_until_done(most_s=45)
    assert scene.backend.steps() == [1]
