"""What loader workers print, before and after a resume of the process that they belong to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

from tests.support.paths import REPOSITORY
from trainyard.contract.events import TrainingSpec

TIMEOUT_S = 30
SPEC = TrainingSpec(
    job_id="job",
    attempt=2,
    slot="s",
    job_dir="j",
    cache_dir="c",
    dataset_roots=[],
    model_roots=[],
)
TRAINING = """
import ctypes, faulthandler, multiprocessing, socket, sys, threading
from tasks.channel import SocketChannel
from tasks.parking.place import ParkingPlace
from trainyard.contract.events import Outcome

def work(orders):
    while (word := orders.get(timeout=30)) != "crash":
        print("worker", word, flush=True)
        orders.task_done()
    ctypes.string_at(0)

faulthandler.enable()
context = multiprocessing.get_context("fork")
supervisor, ours = socket.socketpair()
place = ParkingPlace(int(sys.argv[1]), SocketChannel(ours.detach()))
place.keep_loader_output()
orders = context.JoinableQueue()
worker = context.Process(target=work, args=[orders])
worker.start()
orders.put("before")
orders.join()
threading.Timer(0.5, orders.put, ["parked"]).start()
print("parks", flush=True)
spec = place.park(Outcome(outcome="paused"))
print("goes on as attempt", spec.attempt, flush=True)
orders.put("after")
orders.join()
orders.put("crash")
worker.join()
print("ended", worker.exitcode, flush=True)
place.close()
"""


def read_all(descriptor: int) -> str:
    with os.fdopen(descriptor) as output:
        return output.read()


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
            cwd=REPOSITORY,
        )
    os.close(first_write)
    try:
        said = read_all(first)  # it ends: the parked process has let go of it
        # A thread passes the worker's lines on: they may come after the training's own.
        assert sorted(said.splitlines()) == ["parks", "worker before"]
        time.sleep(1)
        events, other_end = socket.socketpair()
        with events, other_end:
            line = json.dumps({"op": "resume", "attempt_id": "job:2"}).encode() + b"\n"
            socket.send_fds(ours, [line], [second_write, events.fileno()])
            other_end.sendall(SPEC.model_dump_json().encode() + b"\n")
        os.close(second_write)
        assert training.wait(TIMEOUT_S) == 0
        said = read_all(second)
    finally:
        training.kill()
        training.wait()
        ours.close()
    assert said.index("worker parked") < said.index("worker after")
    assert "goes on as attempt 2" in said
    assert "ended -11" in said
    assert "Segmentation fault" in said
    assert "in work" in said
