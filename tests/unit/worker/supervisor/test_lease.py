"""What is said of an outage of Redis, what a lost lease ends, and who renews nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from redis.exceptions import ConnectionError

from tests.support.waiting import wait_for
from trainyard.contract.job_folder import LOG, METRICS
from trainyard.contract.statuses import JobStatus
from trainyard.store.attempt_writes import Renewal
from trainyard.store.job import Job
from worker.machine.energy import EnergyReader
from worker.supervisor import lease as module
from worker.supervisor.job_folder import Record, open_records
from worker.supervisor.lease import LeaseGuard


class Store:
    redis = fakeredis.FakeRedis(decode_responses=True)
    lease_ms = 60_000
    away = False
    held = True
    asked = 0
    looked_for = 0
    """Renewals during which the supervisor looks, each time."""
    look: Callable[[], object]

    def __init__(self) -> None:
        self.energies = list[int]()

    def renew(self, job_id: str, attempt: int, energy_mj: int | None = None) -> Renewal:
        self.asked += 1
        if self.asked <= self.looked_for:
            self.look()
        if energy_mj is not None:
            self.energies.append(energy_mj)
        if self.away:
            raise ConnectionError("refused")
        return Renewal(self.held, "running", "")


class Keeper:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard = list[str]()

    def set_lease(self, lease_s: float | None) -> None:
        self.heard.append("lease")

    def kill(self) -> None:
        self.heard.append("kill")


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.01)


@pytest.fixture
def store() -> Store:
    return Store()


def a_link(keeper: Keeper) -> Any:
    return SimpleNamespace(keeper=keeper, watch_wakeups=lambda eventfd: None)


def test_an_outage_is_said_once_and_its_end(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    with LeaseGuard(store, "job-1", 1) as guard:
        for away in (False, True, False, True):
            store.away = away
            rounds = store.asked + 3
            wait_for("some rounds", lambda rounds=rounds: store.asked >= rounds)
            assert (guard.look() is None) is away
    said = [record.getMessage() for record in caplog.records]
    assert ["not renewed" in text for text in said] == [True, False, True]
    assert "lease renewed again after" in said[1]


def test_a_lost_lease_ends_the_training_without_its_supervisor(store: Any) -> None:
    keeper = Keeper()
    with LeaseGuard(store, "job-1", 1) as guard, guard.guarding(a_link(keeper)):
        store.held = False
        wait_for("the kill", lambda: keeper.heard[-1] == "kill")
        assert guard.lost
        assert [text for text, _ in guard.words()] == [
            "Another attempt has this job, or it has ended (it is running): this attempt ends"
        ]


def test_a_lease_that_was_lost_before_the_training_started_ends_it(store: Any) -> None:
    store.held = False
    keeper = Keeper()
    with LeaseGuard(store, "job-1", 1) as guard:
        wait_for("the loss", lambda: guard.lost)
        with guard.guarding(a_link(keeper)):
            assert keeper.heard[-1] == "kill"


@pytest.fixture
def late_records(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Record, Record]]:
    """Of an attempt that was frozen past its lease, and whose thread has not renewed it since."""
    monkeypatch.setattr(module, "RENEW_EVERY_S", 600.0)
    with LeaseGuard(store, "job-1", 1) as lease, open_records(tmp_path, lease.is_ours) as records:
        wait_for("its first renewal", lambda: store.asked == 1)
        lease.ends = time.monotonic() - 1
        yield records


@pytest.mark.parametrize("ours", [True, False])
def test_who_was_frozen_past_the_leases_end_asks_before_it_writes(
    store: Any, tmp_path: Path, late_records: tuple[Record, Record], ours: bool
) -> None:
    log, metrics = late_records
    store.held = ours
    log.append("one\n")
    metrics.append("{}\n")
    log.append("two\n")
    assert store.asked == 2
    assert (tmp_path / LOG).read_text() == "one\ntwo\n" * ours
    assert (tmp_path / METRICS).read_text() == "{}\n" * ours


def test_without_redis_nobody_else_has_the_job_and_each_line_is_written(
    store: Any, tmp_path: Path, late_records: tuple[Record, Record]
) -> None:
    log, _ = late_records
    store.away = True
    log.append("one\n")
    log.append("two\n")
    assert store.asked == 2, "a Redis that is away is not waited for at each line"
    assert (tmp_path / LOG).read_text() == "one\ntwo\n"


def test_a_supervisor_that_is_stuck_keeps_no_lease(
    store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ALONE_S", 20.5 * module.RENEW_EVERY_S)
    guard = LeaseGuard(store, "job-1", 1)
    store.looked_for, store.look = 40, guard.look
    with guard:
        wait_for("the end", lambda: "renewed no more" in caplog.text)
    assert store.asked == 40 + 20


def test_energy_goes_along_now_and_then_and_when_the_attempt_ends(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENERGY_EVERY_S", 600.0)
    read = iter(range(100, 200))
    with LeaseGuard(store, "job-1", 1, lambda: next(read)):
        wait_for("some rounds", lambda: store.asked >= 5)
        assert store.energies == [100], "not with every renewal"
    assert store.energies == [100, 101]


def test_an_attempt_that_lost_its_job_writes_no_energy_at_its_end(store: Any) -> None:
    store.held = False
    with LeaseGuard(store, "job-1", 1, lambda: 7) as guard:
        wait_for("the loss", lambda: guard.lost)
        asked = store.asked
        wait_for("some rounds", lambda: store.asked > asked)
    assert store.energies == [7]


def test_a_metered_lease_reads_the_slots_devices(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    @contextmanager
    def metering(devices: str) -> Iterator[EnergyReader]:
        asked.append(devices)
        yield lambda: 42
        asked.append("closed")

    monkeypatch.setattr(module, "metering", metering)
    job = Job("job-1", JobStatus.RUNNING, 1, 0, 0)
    with module.metered_lease(store, job, "GPU-a"):
        wait_for("a renewal", lambda: store.asked > 0)
    assert store.energies[-1] == 42
    assert asked == ["GPU-a", "closed"]
