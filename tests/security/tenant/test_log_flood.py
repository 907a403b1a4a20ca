"""Log lines that cost much, and a slow Redis: the lease is renewed all the same."""

from __future__ import annotations

import itertools
import os
import select
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.store_calls import JOB, admit, claim, job_store
from tests.support.waiting import wait_for
from trainyard.redaction import Redactor
from trainyard.settings import read_settings
from trainyard.store.job_store import JobStore
from worker.slot_process.protocol import Gone, Started
from worker.slot_process.training_start import PIPE_BYTES, make_output_pipe
from worker.supervisor import event_buffer
from worker.supervisor.event_buffer import EventBuffer
from worker.supervisor.job_folder import open_records
from worker.supervisor.lease import LeaseGuard
from worker.supervisor.log_handler import BatchingLogHandler
from worker.supervisor.supervisor import POLL_S, Supervisor
from worker.supervisor.time_limits import TimeLimits
from worker.supervisor.training_link import TrainingLink, listen_to_output

FLOOD_BYTES = 6_000_000
HOSTILE = b"secret=" * 1000 + b"://a:" * 1000 + b"?x-amz-a" * 500 + b"eyJaaaaaaaa." * 500 + b"\n"
GAP_S = 1.0
"""Half of the shortest lease."""
LEASE_S = 1.5
APPEND_S = 0.1
STARTED = b"s"


class Keeper:
    """Says that all is over when the flood has ended."""

    ended = False

    def __init__(self, end: socket.socket, output: int) -> None:
        self.output = output
        self._end = end
        self.fileno = end.fileno

    def read_messages(self) -> list[Any]:
        if self._end.recv(1) == STARTED:
            return [Started(os.getpid(), time.monotonic(), preloaded=True)]
        self.ended = True
        return [Gone(exit_code=0, signal=None, killed_descendants=0)]

    def set_lease(self, lease_s: float | None) -> None:
        pass


def flood(output: int, over: socket.socket) -> None:
    sent = 0
    while sent < FLOOD_BYTES:
        sent += os.write(output, HOSTILE)
    os.close(output)
    over.send(b"x")


@pytest.fixture
def link() -> Iterator[TrainingLink]:
    with ExitStack() as stack:
        output, output_write = make_output_pipe()
        stack.callback(os.close, output)
        (events, theirs), (end, over) = socket.socketpair(), socket.socketpair()
        for each in (events, theirs, end, over):
            stack.enter_context(each)
        selector = stack.enter_context(selectors.DefaultSelector())
        keeper: Any = Keeper(end, output)
        over.send(STARTED)
        printing = threading.Thread(target=flood, args=(output_write, over))
        printing.start()
        yield TrainingLink(selector, events, keeper)
        printing.join()


@pytest.fixture
def claimed(real_redis: Redis) -> JobStore:
    """A store of short leases, whose job runs."""
    store = job_store(real_redis, lease_s=LEASE_S)
    assert admit(store) == "created"
    assert claim(store)
    return store


def supervise(
    store: JobStore, link: TrainingLink, folder: Path, redactor: Redactor
) -> tuple[LeaseGuard, EventBuffer]:
    job = store.get(JOB)
    assert job is not None
    with open_records(folder) as (file, metrics), LeaseGuard(store, JOB, 1) as lease:
        events = EventBuffer(store, job, metrics)
        log = BatchingLogHandler(events.log_lines, file, redactor)
        limits = TimeLimits(None, None, 0)
        with lease.guarding(link):
            Supervisor(read_settings(), link, lease, events, log, redactor, limits).run()
        log.flush()
        events.flush()
    return lease, events


def test_the_lease_is_renewed_while_lines_pour_in(
    claimed: JobStore, link: TrainingLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals = [time.process_time()]
    renew = claimed.renew
    noted: Any = lambda *args: renewals.append(time.process_time()) or renew(*args)  # noqa: E731
    monkeypatch.setattr(claimed, "renew", noted)
    supervise(claimed, link, tmp_path, Redactor(["hf_SECRETSECRETSECRETSECRET12"]))
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert len(lines) >= FLOOD_BYTES // len(HOSTILE)
    renewals.append(time.process_time())
    assert max(b - a for a, b in itertools.pairwise(renewals)) < GAP_S


class SlowRedactor(Redactor):
    """Takes the processor for longer than a lease, once."""

    slow = True

    def lines(self, texts: Sequence[str]) -> list[str]:
        if self.slow:
            self.slow = False
            busy_for(2 * LEASE_S)
        return super().lines(texts)


def busy_for(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass


@pytest.mark.parametrize("slow", ["pass of the redactor", "call of Redis"])
def test_the_lease_outlives(
    slow: str,
    claimed: JobStore,
    link: TrainingLink,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expired = list[str]()
    append = claimed.append

    def append_later(*args: Any) -> bool:
        if slow == "call of Redis" and claimed.redis.set("slow", 1, nx=True):
            time.sleep(2 * LEASE_S)
        expired.extend(job.job_id for job in claimed.expired()[1])
        return append(*args)

    monkeypatch.setattr(claimed, "append", append_later)
    redactor = SlowRedactor([]) if slow == "pass of the redactor" else Redactor([])
    lease, events = supervise(claimed, link, tmp_path, redactor)
    assert not expired
    assert not lease.lost
    assert not events.fenced
    assert lease.ends > time.monotonic()


def test_what_goes_on_printing_while_it_is_parked_holds_up_no_supervisor() -> None:
    with ExitStack() as stack:
        output, output_write = make_output_pipe()
        stack.callback(os.close, output)
        events, end = map(stack.enter_context, socket.socketpair())
        selector = stack.enter_context(selectors.DefaultSelector())
        keeper: Any = Keeper(end, output)
        link = TrainingLink(selector, events, keeper)
        listen_to_output(selector, keeper)
        with subprocess.Popen(["yes"], stdout=output_write) as endless:
            os.close(output_write)
            wait_for("it prints", lambda: select.select([output], [], [], 0)[0])
            printed = sum(len(arrival.lines) for arrival in link.rest())
            endless.kill()
    assert 0 < printed <= PIPE_BYTES


def test_what_waits_for_a_slow_redis_is_sent_in_parts(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(store)
    job = store.get(JOB)
    assert job is not None
    appended = list[int]()

    def append_slowly(job_id: str, attempt: int, number: int, events: Any, fields: Any) -> bool:
        time.sleep(APPEND_S)
        appended.append(len(events))
        return True

    monkeypatch.setattr(store, "append", append_slowly)
    monkeypatch.setattr(event_buffer, "EVENTS_PER_APPEND", 1)
    with open_records(tmp_path) as (log, metrics):
        buffer = EventBuffer(store, job, metrics)
        for number in range(20):
            buffer.log_lines([f"line {number}"], log.end)
        assert buffer.flush(until=time.monotonic() + POLL_S)
        assert 1 <= len(appended) <= POLL_S / APPEND_S + 1
        monkeypatch.setattr(store, "append", lambda *_: appended.append(1) or True)
        assert buffer.flush()
        assert sum(appended) == 20
