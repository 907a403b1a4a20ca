"""Another user of the host: what is left readable, and a name that is free for a moment."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_for
from trainyard.child_process import ChildProcess, python_module
from trainyard.home import home_id
from worker.machine.unix_socket import address_of, listen
from worker.slot_process.client import wait_gone

NAME = f"trainyard-test-{os.getpid()}"


@pytest.fixture
def slot_process() -> Iterator[ChildProcess]:
    with listen(NAME) as listener:
        child = ChildProcess(
            "slot process",
            python_module(
                "worker.slot_process", "--listener", str(listener.fileno()), "--no-preload"
            ),
            pass_fds=[listener.fileno()],
        )
        child.start()
        yield child
        child.stop(5)


def is_free() -> bool:
    with socket.socket(socket.AF_UNIX) as squatter:
        try:
            squatter.bind(address_of(NAME))
        except OSError:
            return False
    return True


def test_the_name_of_a_slot_process_that_was_killed_is_not_free(
    slot_process: ChildProcess,
) -> None:
    assert wait_gone(NAME, "job:1", 30)
    slot_process.kill()
    assert not is_free()
    wait_for("it is started again", slot_process.ensure_running)
    assert wait_gone(NAME, "job:1", 30), "a request that came meanwhile has waited"


def test_files_and_memory_are_the_users_own(tmp_path: Path) -> None:
    program = (
        "import pathlib, resource, sys; from trainyard.home import keep_private; keep_private()\n"
        "path = pathlib.Path(sys.argv[1]); path.mkdir(); (path / 'a').write_text('x')\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    made = tmp_path / "made"
    done = subprocess.run(
        [sys.executable, "-c", program, str(made)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0"]
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE((made / "a").stat().st_mode) == 0o600


@pytest.mark.parametrize(("before", "after"), [(0o755, 0o710), (0o777, 0o710), (0o700, 0o700)])
def test_a_home_that_others_could_read_is_closed(tmp_path: Path, before: int, after: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(before)
    home_id(home)
    assert stat.S_IMODE(home.stat().st_mode) == after


ENTRIES = (
    *("worker/app.py", "worker/launcher.py", "backend_bridge/server.py", "flowerconfig.py"),
    *("backend_bridge/courier.py", "backend_bridge/dev_backend/__main__.py"),
    *("trainyard/local/embedded_redis.py", "trainyard/local/services.py"),
    "trainyard/cli/check_dataset.py",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_point_keeps_its_files_private(entry: str) -> None:
    assert "keep_private()" in (REPOSITORY / entry).read_text()
