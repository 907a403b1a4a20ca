"""Leases on the names of slots: one worker has a slot, and no other runs a job under its name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.store_calls import admit
from trainyard.scheduling.slot_leases import LEASE_S, Holder, SlotLeases
from trainyard.store.job_store import JobStore
from trainyard.store.keys import Key

SLOT = "box-0"
FIRST = Holder("first", host="box", pid=1, birth="b 1", home="h")
SECOND = replace(FIRST, worker="second", pid=2)


@pytest.fixture
def leases(redis: Any) -> SlotLeases:
    return SlotLeases(redis)


def move_end(redis: Any, by_s: float) -> None:
    """Let the lease end earlier or later, as time or a clock that is set does."""
    lease = json.loads(redis.hget(Key.SLOT_LEASES, SLOT))
    lease["ends_ms"] += int(1000 * by_s)
    redis.hset(Key.SLOT_LEASES, SLOT, json.dumps(lease))


def test_one_worker_has_a_name_until_it_gives_it_back(leases: SlotLeases) -> None:
    assert leases.look(SLOT, FIRST) is None
    assert leases.take(SLOT, FIRST) is None
    lease = leases.take(SLOT, SECOND)
    assert lease is not None
    assert lease.holder == FIRST
    assert leases.take("box-1", SECOND) is None
    leases.release(SLOT, SECOND)
    assert leases.look(SLOT, SECOND) is not None, "it was not its own to give back"
    leases.release(SLOT, FIRST)
    assert leases.take(SLOT, SECOND) is None


def test_a_renewal_moves_its_end(leases: SlotLeases, redis: Any) -> None:
    leases.take(SLOT, FIRST)
    move_end(redis, -1)
    before = leases.look(SLOT, SECOND)
    assert leases.take(SLOT, FIRST) is None
    after = leases.look(SLOT, SECOND)
    assert before and after
    assert after.ends_ms > before.ends_ms


@pytest.mark.parametrize("by_s", [-LEASE_S - 1, 3600], ids=["ran out", "clock set back"])
def test_a_lease_that_is_over_is_anybodys(leases: SlotLeases, redis: Any, by_s: float) -> None:
    leases.take(SLOT, FIRST)
    move_end(redis, by_s)
    assert leases.take(SLOT, SECOND) is None
    assert leases.take(SLOT, FIRST) is not None, "the first hears that it has lost it"


def test_one_that_is_known_to_be_gone_holds_nothing(leases: SlotLeases) -> None:
    leases.take(SLOT, FIRST)
    assert leases.take(SLOT, SECOND, gone="another") is not None
    assert leases.take(SLOT, SECOND, gone=FIRST.worker) is None


def test_a_silent_worker_holds_the_name_while_its_training_lives(
    leases: SlotLeases, store: JobStore, redis: Any
) -> None:
    admit(store, "one")
    leases.take(SLOT, FIRST)
    assert store.claim("one", 1, slot=SLOT, worker="w", slot_process=FIRST.worker)
    move_end(redis, -LEASE_S - 1)
    assert leases.take(SLOT, SECOND) is not None
    redis.zadd(Key.OCCUPYING, {"one": 1})
    assert leases.take(SLOT, SECOND) is None


def test_a_claim_under_another_workers_name_is_refused(leases: SlotLeases, store: JobStore) -> None:
    admit(store, "one")
    admit(store, "two")
    leases.take(SLOT, FIRST)
    assert not store.claim("one", 1, slot=SLOT, worker="w", slot_process=SECOND.worker)
    assert store.claim("one", 1, slot=SLOT, worker="w", slot_process=FIRST.worker)
    assert not store.claim("two", 1, slot=SLOT, worker="w", slot_process=SECOND.worker)
    assert store.claim("two", 1, slot="box-1", worker="w", slot_process=SECOND.worker)
