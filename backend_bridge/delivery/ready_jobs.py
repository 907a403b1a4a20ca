"""Ready jobs: those that may be sent now, shared by the threads of one forwarder."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Literal


class ReadyJobs:
    """A queue of job ids in which each stands once, and none that a thread works on.

    Jobs whose last turn met trouble wait apart: a thread takes them only if it says so, so that
    jobs with a hanging backend cannot occupy every thread.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._healthy: deque[str] = deque()
        self._troubled: deque[str] = deque()
        self._known: dict[str, Literal["waits", "busy", "offered meanwhile"]] = {}
        self._last_troubled: set[str] = set()
        self._closed = False

    def offer(self, job_id: str) -> None:
        """Add a job, unless it waits already; one that a thread works on, when that has ended.

        The thread may have looked for the last time before the event that is why.
        """
        with self._changed:
            if job_id not in self._known:
                self._add(job_id)
            elif self._known[job_id] == "busy":
                self._known[job_id] = "offered meanwhile"

    def _add(self, job_id: str) -> None:
        self._known[job_id] = "waits"
        troubled = job_id in self._last_troubled
        (self._troubled if troubled else self._healthy).append(job_id)
        self._changed.notify_all()

    def take(self, *, troubled_too: bool) -> str | None:
        """Wait for a job and take it; None when the queue is closed. End with :meth:`done`."""
        with self._changed:
            while not self._closed:
                if queue := self._healthy or (troubled_too and self._troubled):
                    job_id = queue.popleft()
                    self._known[job_id] = "busy"
                    return job_id
                self._changed.wait()
            return None

    def done(self, job_id: str, *, troubled: bool | None) -> None:
        """The thread has ended its turn with the job; None: it learned nothing about it."""
        with self._changed:
            if troubled:
                self._last_troubled.add(job_id)
            elif troubled is False:
                self._last_troubled.discard(job_id)
            if self._known.pop(job_id) == "offered meanwhile":
                self._add(job_id)

    def others_wait(self) -> bool:
        """Whether a job waits for a thread."""
        with self._changed:
            return bool(self._healthy or self._troubled)

    def close(self) -> None:
        """Let every thread that waits, or will, come back with None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
