"""Admission: every way in ends in its one validation and one enqueue.

Exceptions:

    AdmissionRefused (TrainyardError)
     ├ JobIdTaken         another request has this id
     └ LimitReached       as many jobs run and wait as the settings allow
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend_bridge.intake.origin import find_origin
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.names import attempt_id
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid
from trainyard.contract.rules import problems
from trainyard.scheduling.queue import JobQueue, shown_as
from trainyard.store.job_files import JobFiles
from trainyard.store.job_store import JobStore


class AdmissionRefused(TrainyardError):
    """A well-formed request that is not admitted."""


class JobIdTaken(AdmissionRefused):
    """The execution_id belongs to another request."""


class LimitReached(AdmissionRefused):
    """The limit of running and waiting jobs is reached."""


@dataclass(frozen=True)
class Admitted:
    """An admitted job. ``queue_position`` is None if it does not wait any more.

    ``is_new``: False for a request that was admitted before.
    """

    job_id: str
    status: str
    queue_position: int | None
    ignored: list[str]
    is_new: bool = True


class Admission:
    """Admits requests. ``slots`` tells how many slots there are at the moment, ``gpu`` whether one
    of them has a GPU (None: not known). ``files``: the folders of jobs that are in sight; ``send``
    takes a job to the slots that see what it goes on from (None: the reaper does, a second later).
    """

    def __init__(
        self,
        store: JobStore,
        queue: JobQueue,
        *,
        slots: Callable[[], int],
        max_queued: int | None,
        gpu: Callable[[], bool | None] = lambda: None,
        files: JobFiles | None = None,
        send: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.queue = queue
        self.slots = slots
        self.max_queued = max_queued
        self.gpu = gpu
        self.files = files
        self.send = send

    def admit(self, body: Any, *, reported: bool = True) -> Admitted:
        """Validate, count, store and enqueue.

        The same request again is answered as the same job. ``reported``: False if no backend knows
        the job, whose token is then of no use. Raises RequestInvalid, JobIdTaken
        or LimitReached; nothing is stored then.
        """
        request = parse_request(body)
        quantized = request.config.training.quantization
        if found := problems(request.config, gpu=self.gpu() if quantized else None):
            raise RequestInvalid(found)
        job_id, limited = request.execution_id, self.max_queued is not None
        slots = self.slots() if limited else 0
        origin = find_origin(request, self.store, self.files)
        admission = self.store.admit(
            request,
            slots=slots,
            max_queued=self.max_queued,
            origin=origin,
            reported=reported,
        )
        if admission.verdict == "taken":
            raise JobIdTaken(f"the job id {job_id} belongs to another request; choose a new one")
        if admission.verdict == "full":
            limit = slots + (self.max_queued or 0)
            raise LimitReached(f"concurrent job limit reached ({limit})")
        if admission.verdict == "created" and origin is not None:
            self.send(job_id)
        elif admission.verdict == "created":
            shown = shown_as(request.name, request.config.model.name, request.user_id)
            name = attempt_id(job_id, admission.attempt)
            self.queue.enqueue(name, priority=request.priority, shown=shown)
        job, position = self.store.get_in_queue(job_id)
        assert job is not None, "a job that was just admitted is there"
        return Admitted(
            job_id,
            job.status,
            position,
            request.ignored,
            is_new=admission.verdict == "created",
        )


def too_large(limit_mb: float) -> str:
    """The sentence for a request beyond the limit."""
    return f"the request is larger than {limit_mb:g} MB (MAX_REQUEST_MB)"
