"""Limits of a process: raised if they may be, refused in a sentence if not."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_CHECK = """
import resource
from trainyard.contract.error_tree import TrainyardError
from trainyard.service.process_limits import check_limits
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
try:
    check_limits()
except TrainyardError as error:
    print(error)
else:
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def _checked(soft: int, hard: int) -> str:
    code = _CHECK.format(soft=soft, hard=hard)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096, reason="this machine allows too little"
)
def test_the_open_files_are_raised_as_far_as_the_hard_limit_lets_them() -> None:
    assert _checked(64, 4096) == "4096"
    assert _checked(64, 1000) == "1000"


def test_too_few_open_files_are_named_with_the_mend() -> None:
    sentence = _checked(64, 64)
    assert "64 open files" in sentence and "ulimit -Hn 4096" in sentence


def test_shared_memory_that_takes_no_semaphore_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import synchronize

    from trainyard.service.process_limits import LimitTooLow, check_limits

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(synchronize.Lock, "__init__", refuse)
    with pytest.raises(LimitTooLow, match="/dev/shm \\(Read-only file system\\)"):
        check_limits()
