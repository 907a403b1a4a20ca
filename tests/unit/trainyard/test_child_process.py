"""Child processes that die with their parent, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_for
from trainyard import child_process
from trainyard.child_process import ChildProcess, dying_with_us


def test_a_child_whose_parent_has_ended_does_not_start() -> None:
    """Its parent here is the shell: the process that it was made for is another one."""
    command = ["sh", "-c", '"$@"; exit $?', "sh", *dying_with_us([sys.executable, "-c", ""])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "the parent has ended\n")


def test_a_child_is_what_it_was_told_to_become() -> None:
    command = dying_with_us([sys.executable, "-c", "import sys; sys.exit(7)"])
    assert subprocess.run(command, timeout=60, check=False).returncode == 7


def test_one_that_died_is_named_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "RESTART_AFTER_S", 0.0)
    command = [sys.executable, "-c", "import sys; print('one'); sys.exit('the name is taken')"]
    child = ChildProcess("workers", command, log_file=tmp_path / "workers.log")
    child.start()
    try:
        wait_for("it is started again", child.ensure_running)
    finally:
        child.stop(5)
    ended = "workers died (exit code 1): starting another; the end of its log: the name is taken"
    assert caplog.messages == [ended]
