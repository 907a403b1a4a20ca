"""Intake of log lines: how many a second a supervisor takes from its training.

    log_intake      a process prints as fast as it can; the lines go through the pipe, the splitter,
                    the redactor, train.log and the events into the job's stream in a real Redis

The supervisor's own classes do it, with a flush every quarter of a second as its loop does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Measure, Target
from tests.support.redis_server import RedisServer
from tests.support.running_job import RunningJob
from trainyard.redaction import Redactor
from worker.slot_process.training_start import make_output_pipe
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import open_records
from worker.supervisor.log_handler import BatchingLogHandler
from worker.supervisor.output_lines import LineSplitter
from worker.supervisor.supervisor import POLL_S

_PRINT = """
import sys
for step in range(int(sys.argv[1])):
    print(f"INFO step {step}/100000, epoch 0.50, loss 2.3412, learning rate 0.0002, 18432 tokens/s")
"""


def log_intake(full: bool = False) -> list[Measure]:
    """Each run: a job of its own, from the first byte to the last line in Redis."""
    lines = 1_000_000 if full else 200_000
    with RedisServer() as server, server.client() as redis, tempfile.TemporaryDirectory() as home:
        rates = []
        for number in range(5 if full else 3):
            folder = Path(home) / str(number)
            folder.mkdir()
            rates.append(lines / _seconds(RunningJob(redis, f"job-{number}"), folder, lines))
    return [Measure("log_intake", "lines/s", rates, target=Target("value", ">=", 50_000))]


def _seconds(running: RunningJob, folder: Path, lines: int) -> float:
    job = running.store.get(running.job_id)
    assert job is not None
    read, write = make_output_pipe()
    command = [sys.executable, "-c", _PRINT, str(lines)]
    with open_records(folder) as (log, metrics), subprocess.Popen(command, stdout=write):
        os.close(write)
        events = EventBuffer(running.store, job, metrics)
        known = ["a-secret-of-the-environment", running.token]
        handler = BatchingLogHandler(events.log_lines, log, Redactor(known))
        splitter = LineSplitter()
        started = next_poll = time.monotonic()
        while data := os.read(read, 1 << 18):
            handler.lines(splitter.feed(data))
            if time.monotonic() >= next_poll:
                next_poll = time.monotonic() + POLL_S
                assert events.flush()
        handler.flush()
        assert events.flush()
        seconds = time.monotonic() - started
    os.close(read)
    with (folder / "train.log").open() as file:
        assert sum(1 for _ in file) == lines
    return seconds
