"""A training that never comes to its first step is seen, explained and started again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.stack import Stack, write_rows
from tests.support.waiting import wait_for

HOOK = REPOSITORY / "tests/support/stuck_start"


@pytest.mark.slow
def test_a_start_without_a_sign_of_life_leaves_its_stacks_and_is_restarted(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    hook = {"PYTHONPATH": str(HOOK), "STUCK_FLAG": str(flag)}
    with Stack(HANG_SECONDS="6", **hook) as stack:
        write_rows(stack.datasets / "stuck.jsonl", 64)
        stack.submit("stuck", steps=6, dataset="stuck.jsonl")
        wait_for(
            "it is seen", lambda: "No sign of life before its first step" in stack.log("stuck")
        )
        flag.unlink()
        job = stack.wait("stuck", "completed")
        assert (job["attempt"], job["restarts"]) == (2, 1)
        stack.wait_delivered("stuck")
        log = stack.backend.logs("stuck")
        lost = "Attempt 1 was lost: The training hung: before its first step. Queued again"
        assert any(lost in line for line in log)
        stacks = "\n".join(log).partition("Where its threads stand:")[2]
        assert "(most recent call first)" in stacks
        assert "sitecustomize.py" in stacks, "where it hangs"
        assert "tasks/trainer.py" in stacks, "and how it came there"
