"""Making way in the store: asked once, written once, and a person's wish goes before it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.requests import start_request
from tests.support.store_calls import admit, stored
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.generations import Generations
from trainyard.store.job_store import JobStore

LONG, SHORT = "long", "short"
REST = {"checkpoint": "checkpoints/checkpoint-4", "parked": f"{LONG}:1", "parked_on": "slot-0"}


@pytest.fixture
def store(redis: Any, store: JobStore) -> JobStore:
    """One job runs, and a short one waits that may slip in."""
    run(store, LONG)
    store.admit(start_request(SHORT, slip_in=True), slots=1)
    return store


def run(store: JobStore, job_id: str) -> None:
    admit(store, job_id)
    assert store.claim(job_id, 1, slot=f"slot-of-{job_id}", worker="w")


def ask(store: JobStore, job_id: str = LONG, per_hour: int = 4) -> bool:
    slips_in = stored(store, SHORT)
    return store.ask_way(stored(store, job_id), "it slips in", slips_in=slips_in, per_hour=per_hour)


def make_way(store: JobStore) -> bool:
    attempt = stored(store, LONG).attempt
    return store.make_way(LONG, attempt, "it slips in", REST | {"parked": f"{LONG}:{attempt}"})


def test_it_is_asked_once_and_waits_again_with_what_it_goes_on_from(
    redis: Any, store: JobStore
) -> None:
    assert [one.job_id for one in store.slip_ins()] == [SHORT]
    assert ask(store)
    assert not ask(store), "the message came twice"
    assert store.renew(LONG, 1).make_way == "it slips in"
    assert make_way(store)
    assert not store.make_way(LONG, 1, "again", REST)
    long = stored(store, LONG)
    assert (long.status, long.attempt, long.parked) == (JobStatus.QUEUED, 2, f"{LONG}:1")
    assert (long.restarts, long.put_backs, long.pauses, long.ways_made) == (0, 0, 0, 1)
    assert long.checkpoint == REST["checkpoint"]
    assert long.made_way == "it slips in"
    assert [one.job_id for one in store.made_way()] == [LONG]
    assert store.waiting() == [SHORT, LONG], "by priority"
    assert store.claim(SHORT, 1, slot="slot-0", worker="w")
    assert store.slip_ins() == []
    assert store.complete(SHORT, 1, {})
    assert store.claim(LONG, 2, slot="slot-0", worker="w")
    assert store.renew(LONG, 2).make_way == "", "it was asked of the first attempt"
    assert (stored(store, LONG).made_way, store.made_way()) == ("", [])


def test_of_two_who_ask_two_jobs_for_one_a_single_one_is_heard(store: JobStore) -> None:
    run(store, "other")
    assert ask(store)
    assert not ask(store, "other")
    assert not stored(store, "other").is_to_make_way
    assert make_way(store)
    assert ask(store, "other"), "the slot went to somebody else: it still waits"


@pytest.mark.parametrize("then", ["cancel", "pause", "claim"])
def test_nobody_makes_way_for_one_that_waits_no_more(store: JobStore, then: str) -> None:
    before = stored(store, LONG), stored(store, SHORT)
    {
        "cancel": lambda: store.cancel(SHORT),
        "pause": lambda: store.pause(SHORT),
        "claim": lambda: store.claim(SHORT, 1, slot="s", worker="w"),
    }[then]()
    assert not store.ask_way(before[0], "x", slips_in=before[1], per_hour=4)
    assert store.slip_ins() == []
    if then == "pause":
        store.resume(SHORT)
        assert [one.job_id for one in store.slip_ins()] == [SHORT]
        assert not store.ask_way(before[0], "x", slips_in=before[1], per_hour=4), "an old look"
        assert ask(store)


def test_a_short_job_that_is_cancelled_meanwhile_leaves_nothing(store: JobStore) -> None:
    assert ask(store)
    assert store.cancel(SHORT) is not None
    assert make_way(store)
    assert store.waiting() == [LONG]
    assert store.claim(LONG, 2, slot="slot-0", worker="w")


@pytest.mark.parametrize(
    ("wish", "status"), [("pause", JobStatus.PAUSED), ("cancel", JobStatus.CANCELLED)]
)
def test_a_person_s_wish_goes_before(store: JobStore, wish: str, status: JobStatus) -> None:
    assert ask(store)
    getattr(store, wish)(LONG)
    assert not make_way(store)
    if wish == "pause":
        assert store.paused(LONG, 1, REST)
        assert not store.made_way()
    else:
        assert store.cancelled(LONG, 1)
    assert stored(store, LONG).status is status
    assert stored(store, LONG).ways_made == 0


def test_what_is_asked_of_it_while_it_waits_again_counts(store: JobStore) -> None:
    assert ask(store) and make_way(store)
    assert store.pause(LONG) is not None
    paused = stored(store, LONG)
    assert (paused.status, paused.parked, paused.made_way) == (JobStatus.PAUSED, f"{LONG}:1", "")
    assert store.resume(LONG) is not None
    assert stored(store, LONG).parked_at("slot-0") == f"{LONG}:1"
    assert store.cancel(LONG) is not None
    assert stored(store, LONG).status is JobStatus.CANCELLING, "its process is to end first"


@pytest.mark.parametrize("end", ["complete", "lost", "put_back"])
def test_an_attempt_that_ends_otherwise_is_asked_no_more(store: JobStore, end: str) -> None:
    assert ask(store)
    assert {
        "complete": lambda: store.complete(LONG, 1, {}),
        "lost": lambda: store.lost(LONG, 1, "Its supervisor was killed."),
        "put_back": lambda: store.put_back(LONG, 1, "its worker stopped."),
    }[end]()
    assert not make_way(store)
    run(store, "other")
    assert ask(store, "other"), "it is asked elsewhere"


def test_so_often_an_hour_and_no_more(redis: Any, store: JobStore) -> None:
    for number in range(2):
        assert ask(store, per_hour=2)
        assert make_way(store)
        assert store.claim(LONG, number + 2, slot="slot-0", worker="w")
    assert len(stored(store, LONG).slipped_at) == 2
    assert not ask(store, per_hour=2)
    assert not ask(store, per_hour=0)
    hour_ago = [at - 3_600_001 for at in stored(store, LONG).slipped_at]
    redis.hset(f"trainyard:job:{LONG}", "slipped_at", str(hour_ago))
    assert ask(store, per_hour=2)
    assert make_way(store)
    assert len(stored(store, LONG).slipped_at) == 1, "older ones are forgotten"


def test_hours_are_no_slip_in(store: JobStore) -> None:
    assert store.ask_way(stored(store, LONG), "the hours are over")
    assert not store.ask_way(stored(store, LONG), "the hours are over")
    assert make_way(store)
    assert stored(store, LONG).slipped_at == ()


@pytest.fixture
def question(redis: Any) -> str:
    """A question to a model waits."""
    body = GenerateBody(prompt="2 + 2")
    return Generations(redis).ask(AskedOfJob(job_id="made", attempt=1, question=body))


def test_a_question_slips_in_as_a_short_job_does(
    redis: Any, store: JobStore, question: str
) -> None:
    run(store, "other")
    generations = Generations(redis)
    assert generations.who_makes_way(question) == ""
    assert store.ask_way(stored(store, LONG), "it slips in", slips_in=question, per_hour=1)
    assert not store.ask_way(stored(store, "other"), "x", slips_in=question, per_hour=1), (
        "asked once"
    )
    assert (generations.who_makes_way(question), stored(store, LONG).way_for) == (LONG, question)
    assert 0 < redis.pttl(f"trainyard:generation-way:{question}") <= 15_000, "it goes by itself"
    generations.renew(question)
    assert make_way(store)
    assert store.ask_way(stored(store, "other"), "x", slips_in=question, per_hour=1), (
        "it still waits"
    )
    assert store.claim(LONG, 2, slot="slot-0", worker="w")
    assert len(stored(store, LONG).slipped_at) == 1
    assert not ask(store, per_hour=1), "for a short job no more often either"
    generations.let_go(question)
    assert redis.keys("trainyard:generation*") == []


@pytest.mark.parametrize("then", ["let_go", "claim", "expired"])
def test_nobody_makes_way_for_a_question_that_waits_no_more(
    redis: Any, store: JobStore, question: str, then: str
) -> None:
    {
        "let_go": lambda: Generations(redis).let_go(question),
        "claim": lambda: Generations(redis).claim(question),
        "expired": lambda: redis.delete(f"trainyard:generation:{question}"),
    }[then]()
    assert not store.ask_way(stored(store, LONG), "x", slips_in=question, per_hour=4)
