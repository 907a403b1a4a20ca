"""Admission: every way in ends in its one validation and one enqueue.

Exceptions:

    AdmissionRefused (TrainyardError)
     ├ JobIdTaken         another request has this id
     └ LimitReached       as many jobs run and wait as the settings allow
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backend_bridge.intake.awaited import refuse_unknown
from backend_bridge.intake.origin import find_origin
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.fields.sweep import is_sweep, parse_sweep
from trainyard.contract.names import attempt_id
from trainyard.contract.parser import parse_request
from trainyard.contract.request import FieldProblem, RequestInvalid, StartRequest
from trainyard.contract.rules import problems
from trainyard.contract.statuses import JobStatus
from trainyard.scheduling.queue import JobQueue, shown_as
from trainyard.store.job import Job
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

    ``is_new``: False for a request that was admitted before. ``jobs``: of a sweep the ids of its
    jobs; ``job_id`` is then the group's, status and position are those of its first.
    """

    job_id: str
    status: str
    queue_position: int | None
    ignored: list[str]
    is_new: bool = True
    jobs: Sequence[str] = ()


class Admission:
    """Admits requests. ``slots`` tells how many slots there are at the moment, ``gpu`` whether one
    of them has a GPU (None: not known). ``files``: the folders of jobs that are in sight; ``send``
    takes a job to the slots that see what it goes on from (None: the reaper does, a second later).
    ``max_sweep_jobs``: of one request at most.
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
        max_sweep_jobs: int = 64,
    ) -> None:
        self.store = store
        self.queue = queue
        self.slots = slots
        self.max_queued = max_queued
        self.gpu = gpu
        self.files = files
        self.send = send
        self.max_sweep_jobs = max_sweep_jobs

    def admit(self, body: Any, *, reported: bool = True) -> Admitted:
        """Validate, count, store and enqueue: a job, or all the jobs of a sweep, or none.

        The same request again is answered as the same job. ``reported``: False if no backend knows
        the job, whose token is then of no use. Raises RequestInvalid, JobIdTaken
        or LimitReached; nothing is stored then.
        """
        requests = self._parsed(body)
        group = requests[0].group
        named = group.id if group else requests[0].execution_id
        jobs = [(request, find_origin(request, self.store, self.files)) for request in requests]
        refuse_unknown(requests[0], self.store)
        slots = self.slots() if self.max_queued is not None else 0
        admission = self.store.admit_all(
            jobs, slots=slots, max_queued=self.max_queued, reported=reported
        )
        if admission.verdict == "taken":
            raise JobIdTaken(f"the job id {named} belongs to another request; choose a new one")
        if admission.verdict == "full":
            limit = slots + (self.max_queued or 0)
            raise LimitReached(f"concurrent job limit reached ({limit})")
        ids = [request.execution_id for request in requests]
        status, position = JobStatus.QUEUED, admission.position
        if admission.verdict == "created":
            for request, origin in jobs:
                self._send(request, origin)
        else:
            job, position = self.store.get_in_queue(ids[0])
            if group:
                job = job or next(iter(self.store.jobs(ids)), None)  # one may have been removed
            status = job.status if job else JobStatus.QUEUED
        return Admitted(
            named,
            status,
            position,
            requests[0].ignored,
            is_new=admission.verdict == "created",
            jobs=ids if group else (),
        )

    def _parsed(self, body: Any) -> list[StartRequest]:
        """The request, or those of a sweep. Raises RequestInvalid."""
        if is_sweep(body):
            return parse_sweep(body, self.max_sweep_jobs, self._problems)
        request = parse_request(body)
        if found := self._problems(request):
            raise RequestInvalid(found)
        return [request]

    def _problems(self, request: StartRequest) -> list[FieldProblem]:
        training = request.config.training
        needs_gpu = training.quantization or training.use_liger_kernel is True
        return problems(request.config, gpu=self.gpu() if needs_gpu else None)

    def _send(self, request: StartRequest, origin: Job | None) -> None:
        if request.is_held:
            return  # a reaper does, when it may run
        if origin is not None:
            self.send(request.execution_id)
            return
        shown = shown_as(request.name, request.config.model.name, request.user_id)
        name = attempt_id(request.execution_id, 1)
        self.queue.enqueue(name, priority=request.priority, shown=shown)


def too_large(limit_mb: float) -> str:
    """The sentence for a request beyond the limit."""
    return f"the request is larger than {limit_mb:g} MB (MAX_REQUEST_MB)"
