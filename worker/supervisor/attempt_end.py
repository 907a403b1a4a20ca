"""End of an attempt: all the ways in which it can end, and how they are told apart.

An end that is somebody's will, or success, is an AttemptEnd, which the Celery task returns as JSON.
One that is neither is raised (see ``loss``).
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from trainyard.contract.errors import ERROR_HINTS, ErrorKind, ErrorReport
from trainyard.contract.events import Outcome
from trainyard.contract.names import attempt_id
from trainyard.store.job import Job
from trainyard.store.job_store import JobStore
from worker.machine.memory import oom_kills
from worker.slot import WorkerSlot, until_redis_answers
from worker.slot_process.client import LastMessage, SlotUnavailable, release_parked, wait_gone
from worker.slot_process.protocol import Gone, Parked
from worker.supervisor.loss import AttemptFailed, AttemptLost, how_it_died

GONE_TIMEOUT_S = 10.0
"""How long a cancelled attempt's processes may take to die before the reaper has to see to it."""
WHO_ASKED_TIMEOUT_S = 2.0
"""After a SIGTERM, which does not say who wants what: how long the word on it may take."""

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
"""How native code ends that reads what is wrong."""

logger = logging.getLogger(__name__)


class AttemptCompleted(BaseModel):
    """The training is done; ``result`` is its own."""

    end: Literal["completed"] = "completed"
    result: dict[str, Any]


class Rest(BaseModel):
    """What is left to go on from: a checkpoint, and its process, or "" if it is not parked."""

    checkpoint: str
    parked: str
    parked_on: str
    parked_worker: str


class AttemptPaused(BaseModel):
    """The training has paused, as a person wanted."""

    end: Literal["paused"] = "paused"
    rest: Rest


class AttemptMadeWay(BaseModel):
    """Paused for a while: the job goes on by itself; ``because`` in words."""

    end: Literal["made_way"] = "made_way"
    rest: Rest
    because: str


class AttemptCancelled(BaseModel):
    """The training is cancelled, as a person wanted, and no process of it is left."""

    end: Literal["cancelled"] = "cancelled"


class AttemptPutBack(BaseModel):
    """The job is to be run again; ``because`` in words."""

    end: Literal["put_back"] = "put_back"
    because: str


class ResumeRefused(BaseModel):
    """The checkpoint that a person chose cannot be gone on from."""

    end: Literal["resume_refused"] = "resume_refused"
    report: ErrorReport


class AttemptLetGo(BaseModel):
    """Nothing is to be written: another attempt has the job, or the reaper will see to it."""

    end: Literal["let_go"] = "let_go"


AttemptEnd = (
    AttemptCompleted
    | AttemptPaused
    | AttemptMadeWay
    | AttemptCancelled
    | AttemptPutBack
    | ResumeRefused
    | AttemptLetGo
)
_ENDS = TypeAdapter[AttemptEnd](Annotated[AttemptEnd, Field(discriminator="end")])


def read_end(returned: Any) -> AttemptEnd:
    """The end that a task has returned as JSON."""
    return _ENDS.validate_python(returned)


@dataclass
class Course:
    """What has become of an attempt so far, as its supervisor saw it.

    ``outcome`` is the training's own word, ``last_message`` the keeper's; ``asked``, what the
    training was asked for; ``put_back``: why the job is given back, and empty if it is not;
    ``make_way``: why it is to make way, likewise; ``terminated``: all was told to end at once;
    ``reading``: the data set that it reads just now; ``hung``: when, in words, and empty if it did
    not; ``timed_out``: likewise, of a limit; ``has_begun``: it has made a step;
    ``oom_kills_before``: what the kernel had killed for memory when it began.
    """

    outcome: Outcome | None = None
    last_message: LastMessage | None = None
    asked: Literal["", "cancel", "pause"] = ""
    put_back: str = ""
    make_way: str = ""
    terminated: bool = False
    hung: str = ""
    timed_out: str = ""
    reading: str = ""
    has_begun: bool = False
    oom_kills_before: int = field(default_factory=oom_kills)

    @property
    def is_to_rest(self) -> bool:
        """Whether it is to pause, with nothing that has been asked since."""
        return self.asked == "pause" or bool(self.make_way and not self.asked)

    @property
    def is_parked(self) -> bool:
        return isinstance(self.last_message, Parked)

    @property
    def lease_expired(self) -> bool:
        """Whether the keeper ended it because nobody vouched for it any more."""
        return isinstance(self.last_message, Gone) and self.last_message.lease_expired


class Conclusion:
    """Judge of an attempt that has ended: tells from its course how.

    ``fenced``: the job is not this attempt's any more.
    """

    def __init__(
        self, store: JobStore, slot: WorkerSlot, worker: str, job: Job, course: Course
    ) -> None:
        self._store = store
        self._slot = slot
        self._worker = worker
        self._job = job
        self._course = course
        self._attempt_id = attempt_id(job.job_id, job.attempt)

    def draw(self, *, fenced: bool) -> AttemptEnd:
        """The attempt's end. Raises AttemptFailed, AttemptLost."""
        course, outcome = self._course, self._course.outcome
        said = outcome.outcome if outcome is not None else None
        if fenced or course.lease_expired:
            if course.is_parked:  # and nobody will come for it
                self._is_gone(release_parked)
            return AttemptLetGo()
        if outcome is not None and said == "completed":
            return AttemptCompleted(result=outcome.result)
        has_paused = course.is_parked or (
            said == "paused" and course.is_to_rest and not (course.make_way and course.put_back)
        )
        if outcome is not None and has_paused:
            return self._paused(outcome)
        if self._is_cancelled():
            return AttemptCancelled() if self._is_gone(wait_gone) else AttemptLetGo()
        if course.put_back or course.terminated:
            return AttemptPutBack(because=course.put_back or "its worker stopped")
        if course.timed_out:
            report = ErrorReport(
                kind=ErrorKind.TIME_LIMIT,
                message=course.timed_out,
                hint=ERROR_HINTS[ErrorKind.TIME_LIMIT],
            )
            raise AttemptFailed.from_report(report)
        if course.hung:
            raise AttemptLost(f"The training hung: {course.hung}.", ErrorKind.HANG)
        if outcome is not None and said == "failed":
            if outcome.error is not None and outcome.error.kind is ErrorKind.DEVICE:
                raise AttemptLost(outcome.error.message, ErrorKind.DEVICE, of_slot=True)
            return self._refused(outcome.error)
        if course.reading and _has_crashed(course.last_message):
            raise AttemptFailed.from_report(_unreadable(course))
        oom_killed = oom_kills() > course.oom_kills_before
        raise how_it_died(course.last_message, oom_killed=oom_killed)

    def _paused(self, outcome: Outcome) -> AttemptPaused | AttemptMadeWay:
        parked = self._course.is_parked
        rest = Rest(
            checkpoint=str(outcome.result.get("checkpoint") or ""),
            parked=self._attempt_id if parked else "",
            parked_on=self._slot.name if parked else "",
            parked_worker=self._worker if parked else "",
        )
        because = self._course.make_way
        if self._course.asked == "pause" or not because:
            return AttemptPaused(rest=rest)
        return AttemptMadeWay(rest=rest, because=because)

    def _refused(self, error: ErrorReport | None) -> ResumeRefused:
        """The end if the checkpoint that a person chose was the reason; else AttemptFailed."""
        chosen_in_vain = self._job.resume_from and not self._course.has_begun
        if chosen_in_vain and error is not None and error.kind is ErrorKind.CONFIGURATION:
            return ResumeRefused(report=error)
        raise AttemptFailed.from_report(error)

    def _is_cancelled(self) -> bool:
        """Whether a person wants it cancelled; after a SIGTERM, wait for who sent it to say."""
        wait = self._course.terminated and not self._course.put_back
        deadline = time.monotonic() + (WHO_ASKED_TIMEOUT_S if wait else 0.0)
        while True:
            job = until_redis_answers(lambda: self._store.get(self._job.job_id))
            if job is not None and job.attempt == self._job.attempt and job.cancel:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

    def _is_gone(self, ask: Callable[[str, str, float], bool]) -> bool:
        """Whether no process of the attempt is left: only then may ``cancelled`` be written."""
        if isinstance(self._course.last_message, Gone):
            return True
        try:
            gone = ask(self._slot.socket_name, self._attempt_id, GONE_TIMEOUT_S)
        except SlotUnavailable:
            gone = False
        if not gone:
            logger.error(
                "%s: no proof that its processes are gone; the reaper sees to it",
                self._attempt_id,
                extra={"action": "not_proven_gone", "job_id": self._job.job_id},
            )
        return gone


def _has_crashed(end: LastMessage | None) -> bool:
    return isinstance(end, Gone) and end.signal in CRASHES


def _unreadable(course: Course) -> ErrorReport:
    """Report of native code that crashed over what strangers wrote: it would at each start."""
    assert isinstance(course.last_message, Gone)
    name = signal.Signals(course.last_message.signal or 0).name
    return ErrorReport(
        kind=ErrorKind.DATASET,
        message=f"The data set {course.reading!r} crashes what reads it ({name}).",
        hint="It is damaged, or made to: write it again, in another format if it stays so.",
    )
