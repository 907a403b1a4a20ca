"""Data sets that crash the native code which reads them: an error of the data set, once."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tasks.channel import SocketChannel
from tests.support.store_calls import JOB, admit, claim
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Reading
from trainyard.store.job_store import JobStore
from worker.slot import WorkerSlot
from worker.slot_process.protocol import Gone
from worker.supervisor.attempt_end import Conclusion, Course
from worker.supervisor.loss import AttemptFailed, AttemptLost


def conclude(store: JobStore, course: Course) -> None:
    admit(store)
    assert claim(store)
    job = store.get(JOB)
    assert job is not None
    here = WorkerSlot("a-0", "home", "nobody-listens", -1, -1)
    Conclusion(store, here, "worker", job, course).draw(fenced=False)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE])
def test_a_crash_while_it_reads_is_the_data_sets(store: JobStore, number: signal.Signals) -> None:
    gone = Gone(exit_code=None, signal=number, killed_descendants=0)
    with pytest.raises(AttemptFailed) as caught:
        conclude(store, Course(reading="e/steal.arrow", last_message=gone))
    report = ErrorReport.model_validate_json(caught.value.report)
    assert report.kind is ErrorKind.DATASET
    assert report.message == f"The data set 'e/steal.arrow' crashes what reads it ({number.name})."


@pytest.mark.parametrize(
    "course",
    [
        Course(reading="", last_message=Gone(None, signal.SIGSEGV, 0)),
        Course(reading="a", last_message=Gone(None, signal.SIGKILL, 0)),
        Course(reading="a", last_message=Gone(3, None, 0)),
    ],
)
def test_any_other_end_is_a_loss(store: JobStore, course: Course) -> None:
    with pytest.raises(AttemptLost):
        conclude(store, course)


def test_the_supervisor_knows_what_is_read_before_the_crash(tmp_path: Path) -> None:
    supervisor, theirs = socket.socketpair()
    channel = SocketChannel(theirs.detach())
    if not (child := os.fork()):
        channel.send_now(Reading(source="a.arrow"))
        os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    channel.close()
    with supervisor:
        assert supervisor.makefile("rb").read() == b'{"event":"reading","source":"a.arrow"}\n'
