"""What loader workers print, before and after a resume of the process that they belong to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 30
TRAINING = """
import ctypes, faulthandler, multiprocessing, sys
from tasks.parking import ParkingPlace

def work(orders):
    while (word := orders.get(timeout=30)) != "crash":
        print("worker", word, flush=True)
        orders.task_done()
    ctypes.string_at(0)

faulthandler.enable()
context = multiprocessing.get_context("fork")
place = ParkingPlace(int(sys.argv[1]))
place.keep_loader_output()
orders = context.JoinableQueue()
worker = context.Process(target=work, args=[orders])
worker.start()
orders.put("before")
orders.join()
print("parks", flush=True)
place.wait()
orders.put("after")
orders.join()
orders.put("crash")
worker.join()
print("ended", worker.exitcode, flush=True)
place.close()
"""


def read_until(descriptor: int, *lines: str) -> None:
    """Read until all of ``lines`` have come, in whichever order."""
    text = ""
    while not all(line in text for line in lines):
        data = os.read(descriptor, 65_536)
        assert data, f"ended without {lines}: {text!r}"
        text += data.decode()


def test_a_loader_worker_is_heard_before_and_after_a_resume_and_in_its_last_moment() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT_S)
    first, first_write = os.pipe()
    second, second_write = os.pipe()
    with theirs:
        training = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(theirs.fileno())],
            stdout=first_write,
            stderr=first_write,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
        )
    os.close(first_write)
    try:
        read_until(first, "worker before\n", "parks\n")
        os.close(first)  # as the supervisor of the attempt that was paused
        events, other_end = socket.socketpair()
        with events, other_end:
            line = json.dumps({"resume": True, "attempt_id": "job:2"}).encode() + b"\n"
            socket.send_fds(ours, [line], [second_write, events.fileno()])
        os.close(second_write)
        assert training.wait(TIMEOUT_S) == 0
        with os.fdopen(second) as rest:
            said = rest.read()
    finally:
        training.kill()
        training.wait()
        ours.close()
    assert "worker after" in said
    assert "ended -11" in said
    assert "Segmentation fault" in said
    assert "in work" in said
