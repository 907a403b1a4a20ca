"""Events without number, through failing calls, kills and an outage: no gap, none overtaken."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter

import pytest

from backend_bridge.delivery.backend_client import Answer
from tests.support.delivery_scene import FakeBackend, Scene, own_clock
from trainyard.contract.events import Metric
from trainyard.contract.names import LOG_LINES_PER_BATCH
from trainyard.log_lines import stamp
from trainyard.store.attempt_writes import StoredEvent

EVENTS, MANY_EVENTS = 10_000, 1_000_000
FAILING = 0.3
KILLS, MANY_KILLS = 5, 50
OUTAGE_S, LONG_OUTAGE_S = 300.0, 3600.0
ENTRIES_PER_BATCH, POINTS_PER_BATCH = 8, 40
EVENTS_PER_BATCH = ENTRIES_PER_BATCH * LOG_LINES_PER_BATCH + POINTS_PER_BATCH
TROUBLES = ("500", "busy", "401", "404", "lost", "frozen", "frozen before")
AWAY = ("500", "401", "404")
REDIS_TROUBLES = ("away", "lost")


class Unlucky(FakeBackend):
    """Fails by chance, kills who calls it when told to, and is away for a while."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._random = rng
        self.kills = 0
        """How many senders are still to die in a call, before or after it was taken."""
        self.away = False
        self.met: Counter[str] = Counter()

    def _answer(self, endpoint: str, key: str, body: object) -> Answer:
        if self.kills and self._random.random() < 0.2:
            self.kills -= 1
            self.answers.appendleft(self._random.choice(["killed", "killed before"]))
        elif self.away:
            self.answers.appendleft(self._random.choice(AWAY))
        elif not self.answers and self._random.random() < FAILING:
            self.answers.append(self._random.choice(TROUBLES))
        self.met[self.answers[0] if self.answers else "taken"] += 1
        return super()._answer(endpoint, key, body)


def write(scene: Scene) -> int:
    """One batch of the job's own: lines and points; their number."""
    events = []
    for _ in range(ENTRIES_PER_BATCH):
        lines = [stamp(f"line {scene.lines + n}") for n in range(LOG_LINES_PER_BATCH)]
        scene.lines += len(lines)
        events.append(StoredEvent("log", json.dumps(lines), len(lines)))
        for _ in range(POINTS_PER_BATCH // ENTRIES_PER_BATCH):
            scene.steps += 1
            point = Metric(step=scene.steps, epoch=0.5, train_loss=1.0)
            events.append(StoredEvent("metric", point.model_dump_json()))
    scene.job.append(events)
    return EVENTS_PER_BATCH


def deliver(count: int, kills: int, outage_s: float, seed: int) -> Counter[str]:
    """Write ``count`` events while senders come and go; what their calls met."""
    rng = random.Random(seed)
    kill_at = sorted(rng.randrange(count) for _ in range(kills))
    with own_clock() as clock:
        scene = Scene(clock, lines_kept=count, random=rng.random)
        backend = scene.backend = Unlucky(rng)
        backend.frozen = scene.another_takes_over
        written = 0
        while written < count:
            written += write(scene)
            if rng.random() < 0.05:
                scene.pause_and_resume()
            while kill_at and kill_at[0] < written:
                kill_at.pop(0)
                backend.kills += 1
            if rng.random() < 0.3:
                scene.senders_redis.faults.append(rng.choice(REDIS_TROUBLES))
            backend.away = count / 3 < written <= count / 2
            scene.turns_until_done(most_s=6 * outage_s * EVENTS_PER_BATCH / count)
        scene.complete()
        scene.turns_until_done(most_s=1e9)
        scene.check_all_arrived()
    return backend.met


def test_no_gap_and_none_overtaken() -> None:
    seed = int(os.environ.get("EVENTS_SEED", "1"))
    met = deliver(EVENTS, KILLS, OUTAGE_S, seed)
    assert met["killed"] + met["killed before"] == KILLS
    assert sum(met[fault] for fault in TROUBLES) > met["taken"] / 3


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_gap_and_none_overtaken_of_a_million() -> None:
    seed = int(time.time())
    print(f"EVENTS_SEED={seed}", flush=True)
    print(dict(deliver(MANY_EVENTS, MANY_KILLS, LONG_OUTAGE_S, seed)))
