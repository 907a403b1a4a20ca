"""Child processes that die with their parent, and only then."""

from __future__ import annotations

import subprocess
import sys

from trainyard.child_process import dying_with_us


def test_a_child_whose_parent_has_ended_does_not_start() -> None:
    """Its parent here is the shell: the process that it was made for is another one."""
    command = ["sh", "-c", '"$@"; exit $?', "sh", *dying_with_us([sys.executable, "-c", ""])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "the parent has ended\n")


def test_a_child_is_what_it_was_told_to_become() -> None:
    command = dying_with_us([sys.executable, "-c", "import sys; sys.exit(7)"])
    assert subprocess.run(command, timeout=60, check=False).returncode == 7
