"""A sender's turns under random schedules of events, answers and cuts.

What arrives is what was written: every kind in order, each message until it was taken, every
log line delivered or counted once.
"""

from __future__ import annotations

import re
import threading
from typing import Any, cast

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from backend_bridge.client import (
    ROUTES,
    AccessRefused,
    Answer,
    BackendClient,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.delivery import Turn
from backend_bridge.delivery_policy import DeliveryPolicy
from backend_bridge.delivery_report import delivery_report
from backend_bridge.outbox import Outbox
from tests.support.running_job import RunningJob

JOB = "job-1"
POLICY = DeliveryPolicy(backoff_base_s=0, access_delays_s=(0, 0), missing_route_delay_s=60)
LINES_KEPT = 6


class FakeClient:
    """Answers as told, then with success; keeps what it took as (endpoint, key, body)."""

    timeout_s = 1.0

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.tried: list[str] = []
        self.confirmed: set[str] = set()
        self.taken: list[tuple[str, str, Any]] = []

    def _answer(self, endpoint: str, key: str, body: Any) -> Answer:
        assert key not in self.confirmed, "sent again although it is known that it arrived"
        self.tried.append(key)
        match self.answers.pop(0) if self.answers else "taken":
            case "again":
                return TryAgain("HTTP 500")
            case "lost":  # it arrived, the answer did not
                self._take(endpoint, key, body)
                return TryAgain("no answer")
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

    def __init__(self) -> None:
        self.redis = fakeredis.FakeRedis(decode_responses=True)
        self.job = RunningJob(self.redis, JOB, log_lines_kept=LINES_KEPT)
        self.outbox = Outbox(self.redis, lock_s=60)
        self.client = FakeClient()
        self.lines = self.steps = 0

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
            Turn(claim, self.outbox, client, POLICY, threading.Event(), lambda: False).run()

    def a_minute_passes(self) -> None:
        """The pause after a 405 is over."""
        for kind in ("status", "metric", "log"):
            self.redis.hset(f"trainyard:delivery:{JOB}", f"missing_{kind}", "1")
        if self.redis.zscore("trainyard:undelivered", JOB) is not None:
            self.redis.zadd("trainyard:undelivered", {JOB: 0})

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


def play(schedule: list[tuple[str, Any]]) -> Scene:
    scene = Scene()
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


@settings(max_examples=60, deadline=None)
@given(schedules("taken", "again", "405", "405"))
def test_what_arrives_is_what_was_written_in_order(schedule: list[tuple[str, Any]]) -> None:
    scene = play(schedule)
    assert scene.client.of("status") == ["running", "completed"]
    assert scene.client.of("metrics") == list(range(1, scene.steps + 1))
    assert scene.line_numbers() == list(range(scene.lines))


@settings(max_examples=30, deadline=None)
@given(schedules("taken", "again", "lost"))
def test_where_the_backend_lacks_nothing_all_kinds_keep_one_order(
    schedule: list[tuple[str, Any]],
) -> None:
    scene = play(schedule)
    # A line about a gap keeps the key of an entry that may have been cut since.
    keys = [key.split(":")[2] for key in scene.client.tried if not key.endswith("-gap")]
    tried = [int(key) for key in keys]
    assert tried == sorted(tried)
    assert scene.client.of("status") == ["running", "completed"]
    assert scene.client.of("metrics") == list(range(1, scene.steps + 1))


@settings(max_examples=30, deadline=None)
@given(schedules("taken", "again", "404", "400", "405"))
def test_what_is_refused_is_set_aside_and_the_rest_arrives(
    schedule: list[tuple[str, Any]],
) -> None:
    scene = play(schedule)
    refused = sum(delivery_report(scene.redis).set_aside_counts.values())
    steps = scene.client.of("metrics")
    assert steps == sorted(set(steps))
    statuses = scene.client.of("status")
    assert statuses in (["running", "completed"], ["running"], ["completed"], [])
    missing = (scene.steps - len(steps)) + (2 - len(statuses))
    assert missing <= refused
    assert missing == refused or scene.lines > 0


def test_a_405_lets_the_other_kinds_by_and_is_not_asked_again_at_once() -> None:
    scene = Scene()
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


def test_what_went_by_a_missing_route_is_not_sent_again_after_a_failure() -> None:
    scene = Scene()
    scene.log(1)
    for _ in range(3):
        scene.metric()
    scene.turn(["taken", "405", "taken", "taken", "again"])
    scene.turn([])
    assert scene.client.of("metrics") == [1, 2, 3]
    assert scene.client.tried.count(f"{JOB}:1:4") == 1


def test_a_line_about_a_gap_is_the_same_after_its_sender_was_killed() -> None:
    scene = Scene()
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


def test_a_failing_messages_tries_are_counted_until_it_is_taken() -> None:
    scene = Scene()
    for failures in (1, 2, 3):
        scene.turn(["again"])
        assert scene.redis.hget(f"trainyard:delivery:{JOB}", "failures") == str(failures)
        assert scene.redis.hget(f"trainyard:delivery:{JOB}", "last_error") == "HTTP 500"
    scene.turn([])
    assert scene.redis.hmget(f"trainyard:delivery:{JOB}", "failures", "last_error") == ["", ""]
