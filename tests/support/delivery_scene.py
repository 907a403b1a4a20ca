"""A job and its senders on a clock of the test's own, and a backend that answers as told."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import fakeredis
from pydantic import SecretStr
from redis.exceptions import ConnectionError, OutOfMemoryError

from backend_bridge.delivery.backend_client import (
    AccessRefused,
    Answer,
    BackendClient,
    Delivered,
    Refused,
    RouteMissing,
    TryAgain,
)
from backend_bridge.delivery.messages import BackendMessage
from backend_bridge.delivery.outbox import Hold, HoldLost, Outbox
from backend_bridge.delivery.retry_policy import DeliveryPolicy
from backend_bridge.delivery.sender import Turn
from tests.support.running_job import RunningJob
from trainyard.contract.backend_routes import ROUTES
from trainyard.contract.events import LaneName
from trainyard.store.delivery_state import LANES, Lane, read_progress

JOB = "job-1"
LOCK_S = 15.0
MANY_TURNS = 500


class Clock:
    """Seconds for every clock of this process; ``pass_`` lets some go by."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        self.now += 0.001  # no two events at one moment
        return self.now


@contextmanager
def own_clock() -> Iterator[Clock]:
    clock = Clock()
    with (
        mock.patch.object(time, "time", clock.read),
        mock.patch.object(time, "monotonic", clock.read),
    ):
        yield clock


class FlakyRedis(fakeredis.FakeRedis):
    """A client whose next scripts meet ``faults``: ``ok``, ``away`` (not done), ``full``
    (refused), ``lost`` (done, and the answer lost)."""

    def __init__(self, server: fakeredis.FakeServer) -> None:
        super().__init__(server=server, decode_responses=True)
        self.faults: deque[str] = deque()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        fault = self.faults[0] if self.faults and args[0] == "EVALSHA" else ""
        if fault in ("away", "full"):
            self.faults.popleft()
            raise ConnectionError("away") if fault == "away" else OutOfMemoryError("OOM")
        answer = super().execute_command(*args, **options)  # or a script has to be loaded first
        if fault:
            self.faults.popleft()
        if fault == "lost":
            raise ConnectionError("the answer is lost")
        return answer


class FakeBackend:
    """Answers as told, then with success; keeps what it took, in order, as (lane, key, body).

    ``lanes``: what a lane answers always. ``largest``: bytes of a body that it takes.
    """

    timeout_s = 1.0

    def __init__(self) -> None:
        self.answers: deque[str] = deque()
        self.lanes: dict[str, str] = {}
        self.largest = 10**9
        self.tried: list[str] = []
        self.taken: list[tuple[str, str, Any]] = []
        self.points = 0
        """How many requests with many points came."""
        self.unsure: set[str] = set()
        """Keys of which a sender cannot know that they arrived."""
        self.then: dict[str, Callable[[], None]] = {}
        """What happens while the request with a key is under way."""
        self.frozen: Callable[[], None] = lambda: None

    def post(
        self, job_id: str, token: SecretStr, message: BackendMessage, *, until: float = math.inf
    ) -> Answer:
        body: Any = message.body
        match message.endpoint:
            case "status":
                body = body["status"]
            case "metrics":
                body = body["step"]
            case "logs" if len(json.dumps(body)) > self.largest:
                self.tried.append(message.key)
                return Refused("HTTP 413", 413)
            case "logs":
                body = list(body["logs"])
            case "points":
                self.points += 1
                body = [point["step"] for point in body["metrics"]]
            case "predictions":
                (body,) = body["predictions"]
        return self._answer(message.endpoint, message.key, body)

    def _answer(self, endpoint: str, key: str, body: Any) -> Answer:  # noqa: PLR0911 (one each)
        self.tried.append(key)
        self.then.pop(key, lambda: None)()
        told = self.lanes.get(endpoint) or (self.answers.popleft() if self.answers else "taken")
        match told:
            case "500":
                return TryAgain("HTTP 500", not_done=True)
            case "busy":
                return TryAgain("HTTP 429", 60.0, not_done=True)
            case "401" | "404":
                return AccessRefused(f"HTTP {told}", int(told))
            case "405":
                return RouteMissing(ROUTES[endpoint])
            case "400":
                return Refused("HTTP 400", 400)
            case "killed before":
                raise SystemExit
            case "frozen before":  # past the lock nothing is sent
                self.frozen()
                return TryAgain("no complete answer")
        self.taken.append((endpoint, key, body))
        if told != "taken":
            self.unsure.add(key)
        match told:
            case "lost":
                return TryAgain("no complete answer")
            case "killed":
                raise SystemExit
            case "frozen":
                self.frozen()
        return Delivered()

    def of(self, endpoint: str) -> list[Any]:
        """Bodies of a lane, each once, in the order of their first arrival."""
        bodies: dict[str, Any] = {}
        for taken, key, body in self.taken:
            if taken == endpoint:
                assert bodies.setdefault(key, body) == body, "a retry differs from its first try"
        return list(bodies.values())

    def steps(self) -> list[int]:
        """Steps of the metric points, each once, in the order of their first arrival."""
        taken = [body for endpoint, _, body in self.taken if endpoint in ("metrics", "points")]
        flat = [step for body in taken for step in (body if isinstance(body, list) else [body])]
        return list(dict.fromkeys(flat))

    def check_once(self) -> None:
        """Nothing came twice unless its answer was lost, and nothing overtook another."""
        times = Counter(key for _, key, _ in self.taken)
        twice = {key for key, count in times.items() if count > 1}
        assert twice <= self.unsure, f"sent again although it was answered: {twice - self.unsure}"
        for endpoint in ROUTES:
            of_lane = [key for taken, key, _ in self.taken if taken == endpoint]
            place = {key: number for number, key in enumerate(dict.fromkeys(of_lane))}
            places = [place[key] for key in of_lane]
            assert places == sorted(places)
        of_step: dict[int, set[str]] = {}
        for endpoint, key, body in self.taken:
            if endpoint in ("metrics", "points"):
                for step in body if isinstance(body, list) else [body]:
                    of_step.setdefault(step, set()).add(key)
        assert all(len(keys) == 1 for keys in of_step.values()), "a point came in two requests"


class Scene:
    """A running job, its senders, and what was written so far."""

    def __init__(self, clock: Clock, *, lines_kept: int = 10_000, **policy: Any) -> None:
        server = fakeredis.FakeServer()
        self.clock = clock
        self.redis: Any = fakeredis.FakeRedis(server=server, decode_responses=True)
        self.senders_redis = FlakyRedis(server)
        self.policy = DeliveryPolicy(**{"redis_pause_s": 0.0, **policy})
        self.job = RunningJob(self.redis, JOB, log_lines_kept=lines_kept)
        self.outbox = Outbox(self.senders_redis, lock_s=LOCK_S)
        self.backend = FakeBackend()
        self.backend.frozen = self.another_takes_over
        self.stop = threading.Event()
        self.lines = self.steps = 0
        self.statuses = ["running"]

    # ------------------------------------------------------------ what the job does

    def log(self, count: int = 1, text: str = "") -> None:
        self.job.log(*(f"line {self.lines + n}{text}" for n in range(count)))
        self.lines += count

    def metric(self) -> None:
        self.steps += 1
        self.job.metric(self.steps)

    def pause_and_resume(self) -> None:
        store, attempt = self.job.store, self.job.attempt
        assert store.pause(JOB)
        assert store.paused(JOB, attempt, {})
        assert store.resume(JOB)
        assert store.claim(JOB, attempt + 1, slot="slot-0", worker="worker-0")
        self.job.attempt += 1
        self.job.restart_batches()
        self.statuses += ["paused", "running"]

    def complete(self) -> None:
        self.job.complete()
        self.statuses.append("completed")

    # ------------------------------------------------------------ what its senders do

    def turn(self, *answers: str) -> None:
        """One turn of a sender, if the job is due."""
        self.backend.answers = deque(answers)
        try:
            self._turn()
        except (SystemExit, HoldLost, ConnectionError, OutOfMemoryError):
            pass  # this sender is gone, or the job; what it held is another's when its lock ends
        finally:
            self.backend.answers.clear()

    def _turn(self) -> None:
        hold = self.outbox.claim(JOB)
        if hold is not None:
            client = cast(BackendClient, self.backend)
            Turn(hold, self.outbox, client, self.policy, self.stop, lambda: False).run()

    def another_takes_over(self) -> None:
        """This sender's process stands still until another has had its turn."""
        self.clock.pass_(LOCK_S + 1)
        left, self.backend.answers = self.backend.answers, deque()
        faults, self.senders_redis.faults = self.senders_redis.faults, deque()
        self._turn()
        self.backend.answers, self.senders_redis.faults = left, faults

    def due_in_s(self) -> float | None:
        """None: nothing waits."""
        score = self.redis.zscore("trainyard:undelivered", JOB)
        return None if score is None else float(score) / 1000 - self.clock.now

    def turns_until_done(self, most_s: float = 86_400) -> None:
        """Turns whenever the job is due, for ``most_s`` at most, until nothing waits."""
        end = self.clock.now + most_s
        in_vain = 0
        while in_vain < MANY_TURNS:
            due_in_s = self.due_in_s()
            if due_in_s is None or self.clock.now + due_in_s > end:
                return
            self.clock.pass_(max(0.0, due_in_s) + 0.001)
            taken = len(self.backend.taken)
            self.turn()
            in_vain = in_vain + 1 if len(self.backend.taken) == taken else 0
        raise AssertionError("the job is due again and again")

    def lane(self, name: LaneName) -> Lane:
        return read_progress(self.redis.hgetall(f"trainyard:delivery:{JOB}")).lane(name)

    # ------------------------------------------------------------ what arrived

    def line_numbers(self) -> list[int]:
        """Numbers of the lines that arrived, with those that were counted as cut between them."""
        numbers: list[int] = []
        for line in (line for lines in self.backend.of("logs") for line in lines):
            text = line.partition("] ")[2]
            if cut := re.match(r"… (\d+) log lines? w", text):
                numbers += range(len(numbers), len(numbers) + int(cut[1]))
            else:
                numbers.append(int(text.split()[1]))
        return numbers

    def check_all_arrived(self) -> None:
        assert self.due_in_s() is None
        self.backend.check_once()
        assert self.backend.of("status") == self.statuses
        assert self.backend.steps() == list(range(1, self.steps + 1))
        assert self.line_numbers() == list(range(self.lines))
        assert self.redis.llen("trainyard:set-aside") == 0
        assert {self.lane(name).failures for name in LANES} == {0}


def claimed(outbox: Outbox, job_id: str = JOB) -> Hold:
    hold = outbox.claim(job_id)
    assert hold is not None
    return hold
