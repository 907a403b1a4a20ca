"""A cancel is told when no process of the attempt is left; what nobody will come for is ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.process_tree import Attempt, Slot, slots
from trainyard.contract.events import Outcome
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


def test_a_training_that_parked_for_a_job_that_is_not_ours_any_more_is_ended(
    tmp_path: Path,
) -> None:
    """The lease ran out while it parked: no store knows that it waits here."""
    with slots(tmp_path, "parking_training:main") as open_slot:
        slot = open_slot()
        attempt = slot.start("park")
        attempt.events.sendall(b"park\n")
        assert attempt.events.recv(100) == b"paused\n"
        attempt.handle.park(60)
        attempt.wait_message(Parked)
        attempt.close()
        outcome = Outcome(outcome="paused", result={"checkpoint": "x", "parked": True})
        conclusion = conclusion_of(slot, attempt, Course(outcome, Parked(), "pause"))
        assert conclusion.draw(fenced=True) == AttemptLetGo()
        assert wait_gone(slot.name, attempt.id, 5.0)
