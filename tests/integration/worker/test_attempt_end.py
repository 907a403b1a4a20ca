"""A cancel is told when no process of the attempt is left, and not before."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.process_tree import slots
from worker.slot_process.client import KeeperLost
from worker.supervisor import attempt_end
from worker.supervisor.attempt_end import AttemptCancelled, AttemptLetGo, Conclusion, Course


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

        job: Any = SimpleNamespace(job_id=attempt.id.partition(":")[0], attempt=1, cancel="forced")
        store: Any = SimpleNamespace(get=lambda _: job)
        here: Any = SimpleNamespace(socket_name=slot.name)
        conclusion = Conclusion(store, here, "worker", job, Course(last_message=KeeperLost()))
        assert conclusion.draw(fenced=False, oom_killed=False) == AttemptLetGo()
        assert not attempt.output.at_eof
        os.kill(slot.pid, signal.SIGCONT)
        monkeypatch.setattr(attempt_end, "GONE_TIMEOUT_S", 20.0)
        assert conclusion.draw(fenced=False, oom_killed=False) == AttemptCancelled()
        attempt.output.pump(0)
        attempt.output.wait_until_all_are_dead()
