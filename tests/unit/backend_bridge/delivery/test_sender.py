"""A sender's turns under random schedules of events, answers and cuts.

What arrives is what was written: every kind in order, each message until it was taken, every
log line delivered or counted once.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis import Redis

from backend_bridge.delivery.backend_client import (
    ROUTES,
    AccessRefused,
    Answer,
    BackendClient,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.delivery.outbox import Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.sender import Turn
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from trainyard.store.delivery_report import delivery_report
from trainyard.store.unsent_records import cut_note

JOB = "job-1"
POLICY = DeliveryPolicy(backoff_base_s=0, access_delays_s=(0, 0), missing_route_delay_s=60)
"""A pause of no length between tries. A patience of -1 s is none at all."""
LINES_KEPT = 6


@pytest.fixture(scope="module")
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_server.client() as client:
        yield client


class FakeClient:
    """Answers as told, then with success; keeps what it took as (endpoint, key, body)."""

    timeout_s = 1.0

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.tried: list[str] = []
        self.confirmed: set[str] = set()
        self.taken: list[tuple[str, str, Any]] = []
        self.broken = ""
        """An endpoint that always fails."""
        self.then: dict[str, Callable[[], None]] = {}
        """What happens while the request with a key is under way."""
        self.cut_redis: Callable[[], None] = lambda: None

    def _answer(self, endpoint: str, key: str, body: Any) -> Answer:  # noqa: PLR0911 (one each)
        assert key not in self.confirmed, "sent again although it is known that it arrived"
        self.tried.append(key)
        self.then.pop(key, lambda: None)()
        if endpoint == self.broken:
            return TryAgain("HTTP 500")
        match self.answers.pop(0) if self.answers else "taken":
            case "again":
                return TryAgain("HTTP 500")
            case "busy":
                return TryAgain("HTTP 429", 60.0)
            case "lost":  # it arrived, the answer did not
                self._take(endpoint, key, body)
                return TryAgain("no answer")
            case "cut":  # it arrived, and the sender's connections to Redis broke
                self.cut_redis()
            case "killed":  # it arrived, and then the sender was killed
                self._take(endpoint, key, body)
                raise SystemExit
            case "405":
                return RouteMissing(ROUTES[endpoint])
            case "404":
                return AccessRefused("HTTP 404", 404)
            case "400":
                return Refused("HTTP 400", 400)
        self._take(endpoint, key, body)
        self.confirmed.add(key)
        return Delivered()

    def _take(self, endpoint: str, key: str, body: Any) -> None:
        """Keep it once, as a backend that uses the Idempotency-Key."""
        known = [body for _, taken, body in self.taken if taken == key]
        assert known in ([], [body]), "a retry differs from its first try"
        if not known:
            self.taken.append((endpoint, key, body))

    def patch_status(
        self, job_id: str, token: SecretStr, key: str, status: str, error: str | None
    ) -> Answer:
        return self._answer("status", key, status)

    def put_metric(self, job_id: str, token: SecretStr, key: str, point: Any) -> Answer:
        return self._answer("metrics", key, point["step"])

    def post_logs(self, job_id: str, token: SecretStr, key: str, lines: list[str]) -> Answer:
        return self._answer("logs", key, lines)

    def of(self, endpoint: str) -> list[Any]:
        return [body for taken, _, body in self.taken if taken == endpoint]


class Scene:
    """A running job, its sender, and what was written so far."""

    def __init__(
        self, redis: Redis, *, patience_s: float = 30.0, lines_kept: int = LINES_KEPT
    ) -> None:
        redis.flushall()
        self.redis = redis
        self.policy = replace(POLICY, patience_s=patience_s)
        self.job = RunningJob(self.redis, JOB, log_lines_kept=lines_kept)
        self.outbox = Outbox(self.redis, lock_s=60)
        self.client = FakeClient()
        self.client.cut_redis = self.cut_redis
        self.lines = self.steps = 0

    def cut_redis(self) -> None:
        """Every connection but the one that asks for it."""
        self.redis.client_kill_filter(_type="normal", skipme=True)

    def log(self, count: int) -> None:
        self.job.log(*(f"line {self.lines + n}" for n in range(count)))
        self.lines += count

    def metric(self) -> None:
        self.steps += 1
        self.job.metric(self.steps)

    def turn(self, answers: list[str]) -> None:
        self.client.answers = list(answers)
        claim = self.outbox.claim(JOB, woken=True)
        if claim is not None:
            client = cast(BackendClient, self.client)
            Turn(claim, self.outbox, client, self.policy, threading.Event(), lambda: False).run()

    def a_minute_passes(self) -> None:
        """The pause after a 405 is over."""
        for kind in ("status", "metric", "log"):
            self.redis.hset(f"trainyard:delivery:{JOB}", f"later_{kind}", "1")
        if self.redis.zscore("trainyard:undelivered", JOB) is not None:
            self.redis.zadd("trainyard:undelivered", {JOB: 0})

    def due_in_s(self) -> float:
        score: Any = self.redis.zscore("trainyard:undelivered", JOB)
        return float(score) / 1000 - time.time()

    def to_the_end(self) -> None:
        self.job.complete()
        for _ in range(3):
            self.a_minute_passes()
            self.turn([])
        assert self.redis.zcard("trainyard:undelivered") == 0

    def line_numbers(self) -> list[int]:
        """Numbers of the lines that arrived, with those that were counted as cut between them."""
        numbers: list[int] = []
        for lines in self.client.of("logs"):
            for line in lines:
                text = line.partition("] ")[2]
                if cut := re.match(r"… (\d+) log lines? w", text):
                    numbers += range(len(numbers), len(numbers) + int(cut[1]))
                else:
                    numbers.append(int(text.removeprefix("line ")))
        return numbers


def schedules(*answers: str) -> st.SearchStrategy[list[tuple[str, Any]]]:
    return st.lists(
        st.one_of(
            st.tuples(st.just("log"), st.integers(1, 4)),
            st.tuples(st.just("metric"), st.none()),
            st.tuples(st.just("turn"), st.lists(st.sampled_from(answers), max_size=8)),
            st.tuples(st.just("minute"), st.none()),
        ),
        max_size=25,
    )


def play(redis: Redis, schedule: list[tuple[str, Any]], **options: Any) -> Scene:
    scene = Scene(redis, **options)
    for action, argument in schedule:
        match action:
            case "log":
                scene.log(argument)
            case "metric":
                scene.metric()
            case "turn":
                scene.turn(argument)
            case "minute":
                scene.a_minute_passes()
    scene.to_the_end()
    return scene


def assert_all_arrived_in_order(scene: Scene) -> None:
    assert scene.client.of("status") == ["running", "completed"]
    assert scene.client.of("metrics") == list(range(1, scene.steps + 1))
    assert scene.line_numbers() == list(range(scene.lines))


@settings(max_examples=60, deadline=None)
@given(schedules("taken", "again", "405", "405"), st.sampled_from([30.0, -1.0]))
def test_what_arrives_is_what_was_written_in_order(
    client: Redis, schedule: list[tuple[str, Any]], patience_s: float
) -> None:
    assert_all_arrived_in_order(play(client, schedule, patience_s=patience_s))


@settings(max_examples=60, deadline=None)
@given(schedules("taken", "cut", "again", "405"), st.sampled_from([30.0, -1.0]))
def test_a_broken_connection_to_redis_makes_no_second_message(
    client: Redis, schedule: list[tuple[str, Any]], patience_s: float
) -> None:
    """The double of the client asserts that nothing is sent again that is known to have arrived."""
    scene = play(client, schedule, patience_s=patience_s, lines_kept=10_000)
    assert_all_arrived_in_order(scene)


@settings(max_examples=60, deadline=None)
@given(schedules("taken", "again", "lost", "lost", "405"), st.sampled_from([30.0, -1.0]))
def test_a_lost_answer_makes_no_second_message(
    client: Redis, schedule: list[tuple[str, Any]], patience_s: float
) -> None:
    """For a backend that uses the key; where nothing is cut, what was sent is known for sure."""
    scene = play(client, schedule, patience_s=patience_s, lines_kept=10_000)
    assert_all_arrived_in_order(scene)


@settings(max_examples=30, deadline=None)
@given(schedules("taken", "again"))
def test_a_terminal_status_comes_after_all_that_was_written_before_it(
    client: Redis,
    schedule: list[tuple[str, Any]],
) -> None:
    scene = play(client, schedule)
    assert_all_arrived_in_order(scene)
    assert scene.client.taken[0][2] == "running"
    assert scene.client.taken[-1][2] == "completed"


@settings(max_examples=30, deadline=None)
@given(schedules("taken", "again", "lost"), st.sampled_from(["metrics", "logs"]))
def test_a_kind_that_always_fails_keeps_back_no_other(
    client: Redis, schedule: list[tuple[str, Any]], endpoint: str
) -> None:
    scene = Scene(client, patience_s=-1, lines_kept=10_000)
    scene.client.broken = endpoint
    for action, argument in schedule:
        if action == "turn":
            scene.turn(argument)
        elif action == "log":
            scene.log(argument)
        elif action == "metric":
            scene.metric()
    scene.job.complete()
    for _ in range(3):
        scene.turn([])
    assert scene.client.of("status") == ["running", "completed"]
    assert scene.client.of(endpoint) == []
    if endpoint == "logs":
        assert scene.client.of("metrics") == list(range(1, scene.steps + 1))
    else:
        assert scene.line_numbers() == list(range(scene.lines))
    scene.client.broken = ""
    for _ in range(3):
        scene.turn([])
    assert_all_arrived_in_order(scene)


@settings(max_examples=30, deadline=None)
@given(schedules("taken", "again", "404", "400", "405"))
def test_what_is_refused_is_set_aside_and_the_rest_arrives(
    client: Redis,
    schedule: list[tuple[str, Any]],
) -> None:
    scene = play(client, schedule)
    refused = sum(delivery_report(scene.redis).set_aside_counts.values())
    steps = scene.client.of("metrics")
    assert steps == sorted(set(steps))
    statuses = scene.client.of("status")
    assert statuses in (["running", "completed"], ["running"], ["completed"], [])
    missing = (scene.steps - len(steps)) + (2 - len(statuses))
    assert missing <= refused
    assert missing == refused or scene.lines > 0


def test_a_405_lets_the_other_kinds_by_and_is_not_asked_again_at_once(client: Redis) -> None:
    scene = Scene(client)
    scene.log(1)
    scene.metric()
    scene.turn(["taken", "405"])
    scene.metric()
    scene.log(1)
    scene.turn([])
    assert scene.client.taken == [
        ("status", f"{JOB}:1:1", "running"),
        ("metrics", f"{JOB}:1:3", 1),
        ("metrics", f"{JOB}:1:4", 2),
    ]
    assert scene.client.tried.count(f"{JOB}:1:2") == 1
    scene.to_the_end()
    assert scene.line_numbers() == [0, 1]


def test_what_went_by_a_missing_route_is_not_sent_again_after_a_failure(client: Redis) -> None:
    scene = Scene(client)
    scene.log(1)
    for _ in range(3):
        scene.metric()
    scene.turn(["taken", "405", "taken", "taken", "again"])
    scene.turn([])
    assert scene.client.of("metrics") == [1, 2, 3]
    assert scene.client.tried.count(f"{JOB}:1:4") == 1


def test_a_line_about_a_gap_is_the_same_after_its_sender_was_killed(client: Redis) -> None:
    scene = Scene(client)
    for _ in range(4):
        scene.log(3)
    with pytest.raises(SystemExit):
        scene.turn(["taken", "killed"])
    for _ in range(2):
        scene.log(3)
    scene.redis.delete(f"trainyard:delivery-lock:{JOB}")
    scene.to_the_end()
    gaps = [lines for lines in scene.client.of("logs") if "… " in lines[0]]
    assert len(gaps) == 2
    assert scene.line_numbers() == list(range(18))


def test_a_note_about_cut_lines_that_is_cut_itself_counts_for_all_of_them(client: Redis) -> None:
    scene = Scene(client)
    scene.turn([])
    scene.log(2)
    scene.job.append([cut_note(40)])
    scene.lines += 40
    for _ in range(4):
        scene.log(2)
    scene.to_the_end()
    assert scene.line_numbers() == list(range(scene.lines))
    (gap,) = (line for lines in scene.client.of("logs") for line in lines if "… " in line)
    assert "… 46 log lines were cut" in gap


def test_a_note_about_cut_lines_that_arrived_counts_once(client: Redis) -> None:
    scene = Scene(client)
    scene.log(2)
    scene.job.append([cut_note(40)])
    scene.log(2)
    scene.turn([])
    for _ in range(5):
        scene.log(2)
    scene.to_the_end()
    texts = [line for lines in scene.client.of("logs") for line in lines if " cut here" in line]
    assert [int(n) for text in texts for n in re.findall(r"(\d+) log lines", text)] == [40, 6]


def test_statuses_go_first_where_the_rest_has_waited_too_long(client: Redis) -> None:
    scene = Scene(client, patience_s=-1)
    for _ in range(3):
        scene.metric()
    scene.log(2)
    scene.job.complete()
    scene.turn([])
    assert scene.client.of("status") == ["running", "completed"]
    assert [endpoint for endpoint, _, _ in scene.client.taken] == [
        "status",
        "status",
        "metrics",
        "metrics",
        "metrics",
        "logs",
    ]
    assert len(scene.client.tried) == 6


def test_a_status_that_comes_while_the_rest_is_sent_goes_first_too(client: Redis) -> None:
    scene = Scene(client, patience_s=-1)
    for _ in range(5):
        scene.metric()
    scene.client.then = {f"{JOB}:1:3": scene.job.complete}
    scene.turn([])
    assert [body for _, _, body in scene.client.taken] == ["running", 1, 2, "completed", 3, 4, 5]


def test_while_the_rest_is_young_a_failure_keeps_the_order(client: Redis) -> None:
    scene = Scene(client)
    scene.metric()
    scene.job.complete()
    scene.turn(["taken", "again"])
    assert scene.client.of("status") == ["running"]
    scene.turn([])
    assert [body for _, _, body in scene.client.taken] == ["running", 1, "completed"]


def test_a_retry_after_is_for_the_whole_job_and_the_others_have_the_first_try(
    client: Redis,
) -> None:
    scene = Scene(client, patience_s=-1)
    scene.metric()
    scene.log(1)
    scene.turn(["taken", "busy"])
    assert len(scene.client.tried) == 2
    assert scene.due_in_s() > 50
    scene.turn([])
    assert len(scene.client.tried) == 2, "an event that wakes us must not ask again"


# ---------------------------------------------------------------- batches of log lines


def test_short_log_entries_go_out_together(client: Redis) -> None:
    scene = Scene(client, lines_kept=10_000)
    for _ in range(60):
        scene.log(3)
        scene.metric()
    scene.to_the_end()
    assert_all_arrived_in_order(scene)
    sizes = [len(lines) for lines in scene.client.of("logs")]
    assert max(sizes) == 99
    assert len(sizes) <= 6


def test_lines_from_before_a_status_are_not_mixed_with_those_after(client: Redis) -> None:
    scene = Scene(client, lines_kept=10_000)
    for _ in range(3):
        scene.log(1)
    assert scene.job.store.pause(JOB)
    assert scene.job.store.paused(JOB, 1, {})
    assert scene.job.store.resume(JOB)
    assert scene.job.store.claim(JOB, 2, slot="slot-0", worker="worker-0")
    scene.job.attempt = 2
    for _ in range(3):
        scene.log(1)
    scene.to_the_end()
    assert [endpoint for endpoint, _, _ in scene.client.taken] == [
        *["status", "logs", "logs", "status", "status", "logs", "logs", "status"]
    ]
    assert scene.client.of("status") == ["running", "paused", "running", "completed"]
    assert scene.line_numbers() == list(range(6))


@pytest.mark.parametrize("end", ["again", "killed"])
def test_a_batch_is_the_same_after_a_failure_and_more_lines(client: Redis, end: str) -> None:
    scene = Scene(client, lines_kept=10_000)
    for _ in range(4):
        scene.log(2)
    with pytest.raises(SystemExit) if end == "killed" else nullcontext():
        scene.turn(["taken", "taken", end])
    for _ in range(4):
        scene.log(2)
    scene.redis.delete(f"trainyard:delivery-lock:{JOB}")
    scene.to_the_end()  # the client asserts that a retry is what its first try was
    assert scene.line_numbers() == list(range(16))
    assert [len(lines) for lines in scene.client.of("logs")] == [2, 6, 8]


def test_a_planned_batch_that_was_cut_is_forgotten(client: Redis) -> None:
    scene = Scene(client, lines_kept=8)
    for _ in range(4):
        scene.log(2)
    scene.turn(["taken", "taken", "again"])
    for _ in range(4):
        scene.log(2)
    scene.to_the_end()
    assert scene.line_numbers() == list(range(16))


def test_a_failing_messages_tries_are_counted_until_it_is_taken(client: Redis) -> None:
    scene = Scene(client)
    for failures in (1, 2, 3):
        scene.turn(["again"])
        assert scene.redis.hget(f"trainyard:delivery:{JOB}", "failures_status") == str(failures)
        assert scene.redis.hget(f"trainyard:delivery:{JOB}", "last_error") == "HTTP 500"
    scene.turn([])
    assert scene.redis.hmget(f"trainyard:delivery:{JOB}", "failures_status", "last_error") == [
        "",
        "",
    ]
