"""A cancel is told when no process of the attempt is left; what nobody will come for is ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError

from tests.support.process_tree import Attempt, Slot, slots
from trainyard.contract.events import Outcome
from trainyard.contract.names import TASK_TRAIN
from worker import signals
from worker.doubt import Doubt
from worker.slot_process.client import KeeperLost, wait_gone
from worker.slot_process.protocol import Parked
from worker.supervisor import attempt_end
from worker.supervisor.attempt_end import AttemptCancelled, AttemptLetGo, Conclusion, Course


def conclusion_of(slot: Slot, attempt: Attempt, course: Course) -> Conclusion:
    """Of an attempt that was cancelled by force."""
    job: Any = SimpleNamespace(job_id=attempt.id.partition(":")[0], attempt=1, cancel="forced")
    store: Any = SimpleNamespace(get=lambda _: job)
    here: Any = SimpleNamespace(socket_name=slot.name)
    return Conclusion(store, here, "worker", job, course)


def test_cancelled_is_only_what_is_proven_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed keeper leaves strays, and the slot process, which ends them, stands still."""
    monkeypatch.setattr(attempt_end, "GONE_TIMEOUT_S", 0.3)
    with slots(tmp_path, "stubborn_training:main") as open_slot:
        slot = open_slot()
        attempt = slot.start("spin_with_family")
        attempt.output.wait_for("ready")
        keeper_pid = attempt.keeper_pid
        os.kill(slot.pid, signal.SIGSTOP)
        os.kill(keeper_pid, signal.SIGKILL)
        attempt.wait_message(KeeperLost)

        conclusion = conclusion_of(slot, attempt, Course(last_message=KeeperLost()))
        assert conclusion.draw(fenced=False) == AttemptLetGo()
        assert not attempt.output.at_eof
        os.kill(slot.pid, signal.SIGCONT)
        monkeypatch.setattr(attempt_end, "GONE_TIMEOUT_S", 20.0)
        assert conclusion.draw(fenced=False) == AttemptCancelled()
        attempt.output.pump(0)
        attempt.output.wait_until_all_are_dead()


def parked(slot: Slot) -> Attempt:
    """An attempt that waits in memory; its supervisor is gone."""
    attempt = slot.start("park")
    attempt.events.sendall(b"park\n")
    assert attempt.events.recv(100) == b"paused\n"
    attempt.handle.park(60)
    attempt.wait_message(Parked)
    attempt.close()
    return attempt


def test_a_training_that_parked_for_a_job_that_is_not_ours_any_more_is_ended(
    tmp_path: Path,
) -> None:
    """The lease ran out while it parked: no store knows that it waits here."""
    with slots(tmp_path, "parking_training:main") as open_slot:
        slot = open_slot()
        attempt = parked(slot)
        outcome = Outcome(outcome="paused", result={"checkpoint": "x", "parked": True})
        conclusion = conclusion_of(slot, attempt, Course(outcome, Parked(), "pause"))
        assert conclusion.draw(fenced=True) == AttemptLetGo()
        assert wait_gone(slot.name, attempt.id, 5.0)


def test_a_training_whose_supervisor_died_before_it_wrote_the_pause_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[tuple[Any, ...]] = []
    store = SimpleNamespace(get=lambda _: None, lost=lambda *told: lost.append(told))
    with slots(tmp_path, "parking_training:main") as open_slot:
        slot = open_slot()
        attempt = parked(slot)
        here = SimpleNamespace(socket_name=slot.name, doubt=Doubt())
        monkeypatch.setattr(signals, "slot", lambda: here)
        monkeypatch.setattr(signals, "job_store", lambda: store)
        monkeypatch.setattr(signals, "GONE_TIMEOUT_S", 20.0)
        sender = SimpleNamespace(name=TASK_TRAIN)
        signals.write_failure(sender, attempt.id, WorkerLostError())
        assert wait_gone(slot.name, attempt.id, 0)
    assert lost == [(attempt.id.partition(":")[0], 1, "Its supervisor was killed.")]
