"""Jobs that are ready to be sent, shared by the threads of one forwarder."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Condition


@dataclass(frozen=True)
class ReadyJob:
    """``woken``: a new event is why, not the time at which the job was due."""

    job_id: str
    woken: bool


class ReadyJobs:
    """A queue of jobs in which each job stands once, and none that a thread works on.

    Jobs whose last turn failed wait apart: a thread takes them only where it says so, so that
    jobs with a hanging backend cannot occupy every thread.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._healthy: deque[ReadyJob] = deque()
        self._failing: deque[ReadyJob] = deque()
        self._waiting: set[str] = set()
        self._busy: set[str] = set()
        self._last_failed: set[str] = set()
        self._closed = False

    def offer(self, job: ReadyJob) -> None:
        """Add a job, unless it waits already or a thread works on it."""
        with self._changed:
            if job.job_id in self._waiting or job.job_id in self._busy:
                return
            self._waiting.add(job.job_id)
            failing = job.job_id in self._last_failed
            (self._failing if failing else self._healthy).append(job)
            self._changed.notify_all()

    def take(self, *, failing_too: bool) -> ReadyJob | None:
        """Wait for a job and take it; None when the queue is closed. End with :meth:`done`."""
        with self._changed:
            while not self._closed:
                for queue in (self._healthy, self._failing) if failing_too else (self._healthy,):
                    if queue:
                        job = queue.popleft()
                        self._waiting.discard(job.job_id)
                        self._busy.add(job.job_id)
                        return job
                self._changed.wait()
            return None

    def done(self, job: ReadyJob, *, failed: bool | None) -> None:
        """The thread has ended its turn with the job; None: it learned nothing about it."""
        with self._changed:
            self._busy.discard(job.job_id)
            if failed:
                self._last_failed.add(job.job_id)
            elif failed is False:
                self._last_failed.discard(job.job_id)

    def others_wait(self) -> bool:
        """Whether a job waits for a thread."""
        with self._changed:
            return bool(self._healthy or self._failing)

    def close(self) -> None:
        """Let every thread that waits, or will, come back with None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
