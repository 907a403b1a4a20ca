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

    Jobs whose last turn met trouble wait apart: a thread takes them only where it says so, so that
    jobs with a hanging backend cannot occupy every thread.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._healthy: deque[ReadyJob] = deque()
        self._troubled: deque[ReadyJob] = deque()
        self._waiting: set[str] = set()
        self._busy: dict[str, ReadyJob | None] = {}
        self._last_troubled: set[str] = set()
        self._closed = False

    def offer(self, job: ReadyJob) -> None:
        """Add a job, unless it waits already; one that a thread works on, when that has ended.

        The thread may have looked for the last time before the event that is why.
        """
        with self._changed:
            if job.job_id in self._busy:
                known = self._busy[job.job_id]
                self._busy[job.job_id] = known if known and known.woken else job
            elif job.job_id not in self._waiting:
                self._add(job)

    def _add(self, job: ReadyJob) -> None:
        self._waiting.add(job.job_id)
        troubled = job.job_id in self._last_troubled
        (self._troubled if troubled else self._healthy).append(job)
        self._changed.notify_all()

    def take(self, *, troubled_too: bool) -> ReadyJob | None:
        """Wait for a job and take it; None when the queue is closed. End with :meth:`done`."""
        with self._changed:
            while not self._closed:
                queues = (self._healthy, self._troubled) if troubled_too else (self._healthy,)
                for queue in queues:
                    if queue:
                        job = queue.popleft()
                        self._waiting.discard(job.job_id)
                        self._busy[job.job_id] = None
                        return job
                self._changed.wait()
            return None

    def done(self, job: ReadyJob, *, troubled: bool | None) -> None:
        """The thread has ended its turn with the job; None: it learned nothing about it."""
        with self._changed:
            if troubled:
                self._last_troubled.add(job.job_id)
            elif troubled is False:
                self._last_troubled.discard(job.job_id)
            offered_meanwhile = self._busy.pop(job.job_id)
            if offered_meanwhile:
                self._add(offered_meanwhile)

    def others_wait(self) -> bool:
        """Whether a job waits for a thread."""
        with self._changed:
            return bool(self._healthy or self._troubled)

    def close(self) -> None:
        """Let every thread that waits, or will, come back with None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
