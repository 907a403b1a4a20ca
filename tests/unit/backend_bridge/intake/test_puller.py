"""Jobs that are fetched: one at a time, not lost whatever ends the puller, or refused and told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import fakeredis
import pytest

from backend_bridge.intake.admission import Admission
from backend_bridge.intake.job_control import JobControl
from backend_bridge.intake.pull_notes import PullNotes
from backend_bridge.intake.puller import Puller
from tests.support.store_calls import job_store, statuses, stored
from tests.support.waiting import wait_for
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.pull import Claim, Poll, PullTrouble
from trainyard.scheduling.slots import SlotRegistry, SlotState
from trainyard.store.keys import JobKey

CONFIG = {"training": {"method": "sft"}}


class Killed(BaseException):
    """The process ends here."""


class FakeBackend:
    """Jobs that wait, by id; a claim gives a token once. ``answers``: what the next claims do."""

    def __init__(self) -> None:
        self.waiting: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.answers: list[str] = []
        self.polls = 0

    def offer(self, job_id: str = "job-1", **fields: Any) -> None:
        job = {"id": job_id, "model_name": "tiny", "dataset_path": "data.jsonl", "config": CONFIG}
        self.waiting[job_id] = job | fields

    def poll(self) -> Poll:
        self.polls += 1
        return Poll(next(iter(self.waiting.values()), None), 0.001)

    def claim(self, job_id: str) -> Claim:
        answer = self.answers.pop(0) if self.answers else "given"
        if answer == "503":
            raise PullTrouble("HTTP 503")
        job = self.waiting.pop(job_id, None)
        if job is None:
            return Claim(refused="ALREADY_CLAIMED")
        self.tokens[job_id] = f"token-{len(self.tokens)}"
        if answer == "lost":
            raise PullTrouble("no answer")
        return Claim(self.tokens[job_id], job)


class Yard:
    """What outlives a puller: Redis, the home, the backend."""

    def __init__(self, home: Path) -> None:
        self.redis: Any = fakeredis.FakeRedis(decode_responses=True)
        self.store = job_store(self.redis)
        self.backend = FakeBackend()
        self.home = home
        self.sent: list[str] = []
        SlotRegistry(self.redis).beat("slot-0", {})
        SlotRegistry(self.redis).stamp("slot-0", SlotState.CONSUMING)

    def puller(self, *, max_queued: int | None = None) -> Puller:
        queue: Any = SimpleNamespace(enqueue=lambda attempt, **_: self.sent.append(attempt))
        dispatcher: Any = SimpleNamespace(
            store=self.store,
            queue=queue,
            send=lambda job_id: self.sent.append(self.store.get(job_id).attempt_id),  # type: ignore[union-attr]
            is_away=lambda job: False,
        )
        return Puller(
            self.redis,
            cast(Any, self.backend),
            PullNotes(self.home),
            Admission(self.store, queue, slots=lambda: 1, max_queued=max_queued),
            JobControl(dispatcher, cast(Any, None)),
            look_every_s=0.001,
        )

    def look(self, times: int = 1) -> None:
        """Looks of pullers, each of which finds the time to ask come."""
        for _ in range(times):
            self.redis.delete("trainyard:pull")
            self.puller()._look()

    def token(self, job_id: str = "job-1") -> Any:
        return self.redis.get(JobKey.TOKEN.of(job_id))

    def notes(self) -> list[str]:
        return sorted(path.name for path in self.home.iterdir() if path.name != "lock")


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_job_that_waits_is_fetched_and_admitted_with_its_token(yard: Yard) -> None:
    yard.backend.offer(user_id="ana")
    yard.look(3)
    job = stored(yard.store, "job-1")
    assert (job.status, job.user_id, job.model) == (JobStatus.QUEUED, "ana", "tiny")
    assert (yard.sent, yard.token()) == (["job-1:1"], "token-0")
    assert yard.notes() == [], "no token is left on the disk"


def test_a_job_on_several_data_sets_is_fetched(yard: Yard) -> None:
    yard.backend.offer(dataset_path="", datasets=[{"path": "a"}, {"path": "b", "weight": 2}])
    yard.look(3)
    job = stored(yard.store, "job-1")
    assert job.dataset == "a, b (weight 2)"


def test_no_job_is_claimed_while_no_slot_is_free(yard: Yard) -> None:
    for number in (1, 2):
        yard.backend.offer(f"job-{number}")
    yard.look(3)
    assert (yard.sent, list(yard.backend.waiting)) == (["job-1:1"], ["job-2"])
    assert yard.store.claim("job-1", 1, slot="slot-0", worker="w")
    yard.look()
    assert list(yard.backend.waiting) == ["job-2"], "what runs occupies its slot"
    yard.store.complete("job-1", 1, {})
    yard.look()
    assert yard.sent == ["job-1:1", "job-2:1"]


def test_a_slot_out_of_service_is_not_free(yard: Yard) -> None:
    yard.backend.offer()
    SlotRegistry(yard.redis).take_out("slot-0", "its GPU is gone")
    yard.look()
    assert list(yard.backend.waiting) == ["job-1"]


STEPS = ["notes.write", "client.claim", "admission.admit", "refusals.tell", "notes.forget"]


def killed_at(puller: Puller, number: int, moment: str) -> list[str]:
    """Have ``puller`` killed before or after its ``number``-th step; the steps that were begun."""
    begun: list[str] = []

    def wrap(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            begun.append(name)
            this = len(begun) == number
            if this and moment == "before":
                raise Killed
            answer = step(*args, **options)
            if this:
                raise Killed
            return answer

        return wrapped

    for path in STEPS:
        owner, name = path.split(".")
        part = getattr(puller, owner)
        setattr(part, name, wrap(path, getattr(part, name)))
    return begun


@pytest.mark.parametrize("config", [CONFIG, {"training": {"batch_size": "four"}}])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 7))
def test_a_puller_that_is_killed_at_any_step_loses_no_job(
    yard: Yard, config: Mapping[str, Any], moment: str, number: int
) -> None:
    yard.backend.offer(config=config)
    claim, backend = yard.backend.claim, yard.backend
    puller = yard.puller()
    begun = killed_at(puller, number, moment)
    with contextlib.suppress(Killed):
        puller._look()
    backend.claim = claim  # type: ignore[method-assign]  # it was wrapped with the puller's
    yard.look(3)
    if (number, moment) in ((2, "after"), (3, "before")):
        assert begun[1:] == ["client.claim", "notes.write"][: number - 1]
        assert yard.notes() == ["job-1.lost"], "its token was lost with the answer: it is named"
        return
    assert yard.notes() == []
    if config is CONFIG:
        assert yard.token() == backend.tokens["job-1"]
        assert yard.sent == ["job-1:1"]
    else:
        assert statuses(yard.redis) == ["failed"] * len(statuses(yard.redis)) != []
        assert yard.store.get("job-1") is None


def test_a_claim_whose_answer_is_lost_is_asked_for_again_and_named(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    yard.backend.offer()
    yard.backend.answers = ["503", "503", "lost"]
    yard.look(2)
    assert yard.notes() == ["job-1.json"], "it is not known yet"
    yard.look(2)
    assert yard.notes() == ["job-1.lost"]
    assert "job-1 was claimed and the answer was lost" in caplog.text
    yard.backend.offer("job-2")
    yard.look(2)
    assert yard.sent == ["job-2:1"], "it stands in the way of nothing"


def test_a_job_that_another_has_claimed_is_left_alone(yard: Yard) -> None:
    yard.backend.offer()
    job = yard.backend.waiting.pop("job-1")
    yard.puller().fetch(job)
    assert (yard.notes(), yard.sent) == ([], [])


def test_a_refused_job_is_failed_with_its_reason(yard: Yard) -> None:
    yard.backend.offer(config={"training": {"batch_size": "four", "job_token": "token-0"}})
    yard.look()
    ((_, fields),) = yard.redis.xrange("trainyard:events:job-1")
    told = json.loads(fields["data"])
    assert told["status"] == "failed"
    assert "config.training.batch_size" in told["error"]
    assert "token-0" not in told["error"]
    assert yard.token() == "token-0"


def test_a_job_that_failed_here_and_is_given_again_is_started_again(yard: Yard) -> None:
    yard.backend.offer()
    yard.look()
    assert yard.store.claim("job-1", 1, slot="slot-0", worker="w")
    assert yard.store.cancel("job-1")
    assert yard.store.cancelled("job-1", 1)
    yard.backend.offer()
    yard.look()
    assert yard.sent == ["job-1:1", "job-1:2"]
    assert yard.token() == "token-1"


def test_another_job_with_the_id_of_one_that_ended_is_failed(yard: Yard) -> None:
    yard.backend.offer()
    yard.look()
    assert yard.store.claim("job-1", 1, slot="slot-0", worker="w")
    yard.store.complete("job-1", 1, {})
    yard.backend.offer(dataset_path="other.jsonl")
    yard.look()
    assert statuses(yard.redis) == ["running", "completed", "failed"]


def test_two_couriers_of_one_home_fetch_one_job_at_a_time(yard: Yard) -> None:
    pullers, stop = [yard.puller(), yard.puller()], threading.Event()
    at_once: list[int] = []
    busy = threading.Semaphore(0)

    def poll() -> Poll:
        busy.release()
        at_once.append(busy._value)
        stop.wait(0.02)
        busy.acquire()
        return Poll(None, 0.001)

    yard.backend.poll = poll  # type: ignore[method-assign]  # counts those at once
    threads = [threading.Thread(target=puller.run, args=(stop,)) for puller in pullers]
    for thread in threads:
        thread.start()
    wait_for("several polls", lambda: len(at_once) > 5)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(at_once) == {1}


def test_a_job_that_ended_before_its_puller_went_on_is_not_started_again(yard: Yard) -> None:
    yard.backend.offer()
    puller = yard.puller()
    assert killed_at(puller, 5, "before") == []
    with pytest.raises(Killed):  # before the note goes
        puller._look()
    assert yard.store.cancel("job-1")
    yard.look(3)
    assert (yard.notes(), yard.sent) == ([], ["job-1:1"])
