"""The end of a terminal, and of whoever reads what ``trainyard up`` says: no job pays for it."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hangup import children_hear_hangups
from tests.support.models import make_tiny_model
from tests.support.ports import free_port
from tests.support.stack import write_rows
from tests.support.waiting import wait_for
from tests.support.yard import Yard

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STOP_S = 60
LONG = {
    "config": {
        "model": {"name": "tiny"},
        "training": {"method": "sft", "max_steps": 1_000_000, "max_length": 64, "batch_size": 2},
        "data": {"train_split": 1.0, "eval_split": 0.0},
    },
    "dataset_path": "sums.jsonl",
    "execution_id": "long",
    "user_id": "u1",
    "name": "long",
}


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path / "home", tmp_path / "up.log", EMBEDDED_REDIS_PORT=str(free_port()))
    make_tiny_model(yard.home / "models" / "tiny")
    (yard.home / "datasets").mkdir()
    write_rows(yard.home / "datasets" / "sums.jsonl", 64)
    yield yard
    yard.bridge.close()
    yard.backend.close()


def up(yard: Yard, output: int, *, terminal: bool) -> subprocess.Popen[bytes]:
    """`trainyard up` with its output on a descriptor, which is closed here."""
    program = Path(sys.executable).with_name("trainyard")
    with children_hear_hangups():
        process = subprocess.Popen(
            [sys.executable, str(program), "up"],
            env={**os.environ, **yard.environment},
            stdin=output if terminal else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    os.close(output)
    wait_for("the slot is alive", lambda: process.poll() is not None or has_slots(yard))
    assert process.poll() is None
    return process


def has_slots(yard: Yard) -> bool:
    with contextlib.suppress(Exception):
        return bool(yard.bridge._call("GET", "/health")["slots"])
    return False


def hang_up(process: subprocess.Popen[bytes], master: int) -> None:
    os.close(master)
    process.send_signal(signal.SIGHUP)  # to the foreground group, from the kernel, if it had one
    assert process.wait(STOP_S) in (0, 130)  # 130: Flower was still being waited for


def kill(process: subprocess.Popen[bytes], master: int) -> None:
    process.kill()
    process.wait(STOP_S)
    os.close(master)


@pytest.mark.parametrize("end", [hang_up, kill])
def test_each_end_of_a_terminal_is_a_stop(
    yard: Yard, end: Callable[[subprocess.Popen[bytes], int], None]
) -> None:
    for ends in range(3):
        master, output = pty.openpty()
        process = up(yard, output, terminal=True)
        if not ends:
            yard.submit(LONG)
        job = yard.wait("long", "running")
        assert (job["restarts"], job["attempt"]) == (0, ends + 1)
        yard.wait_for_step("long", 1)
        end(process, master)
        wait_for("nothing of it is left", lambda: not yard_processes(yard))


def test_a_stop_names_what_goes_back_into_the_queue(yard: Yard, tmp_path: Path) -> None:
    def said(end: Callable[[], object]) -> str:
        output = tmp_path / "said"
        process = up(yard, os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), terminal=False)
        wait_for("it is up", lambda: "Ctrl-C" in output.read_text())
        end()
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0
        return output.read_text()

    def run() -> None:
        yard.submit(LONG)
        yard.wait_for_step("long", 1)

    def cancel() -> None:
        yard.bridge.cancel("long", force=True)
        yard.wait("long", "cancelled")

    assert "Stopping; long is put back into the queue ..." in said(run)
    assert "Stopping ...\n" in said(cancel)


def yard_processes(yard: Yard) -> list[int]:
    """Pids with this yard's home in their environment, but ours."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TRAINYARD_HOME={yard.home}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def test_a_reader_that_goes_away_ends_nothing(yard: Yard) -> None:
    read, output = os.pipe()
    os.close(read)  # `trainyard up | head`, after the head has seen enough
    process = up(yard, output, terminal=False)
    try:
        yard.submit({**LONG, "config": {**LONG["config"], "training": {"max_steps": 3}}})
        yard.wait("long", "completed")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) in (0, 130)
