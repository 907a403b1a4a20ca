"""Ends of an attempt that are nobody's will, raised in the pool child and read by its main process.

    AttemptFailed (TrainyardError)    the training failed, and said why
    AttemptLost (TrainyardError)      the training ended without a word: killed, or crashed

Both pass from one process to the other, so they pickle.
"""

from __future__ import annotations

import signal

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.errors import ERROR_HINTS, ErrorKind, ErrorReport
from worker.slot_process.client import LastMessage
from worker.slot_process.protocol import Gone, StartRefused


class AttemptFailed(TrainyardError):
    """The training failed; ``report`` (an ErrorReport as JSON) says why."""

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message)
        self.report = report

    @classmethod
    def from_report(cls, report: ErrorReport | None) -> AttemptFailed:
        if report is None:
            report = ErrorReport(
                kind=ErrorKind.INTERNAL,
                message="The training failed and did not say why.",
                hint=ERROR_HINTS[ErrorKind.INTERNAL],
            )
        return cls(report.message, report.model_dump_json())


class AttemptLost(TrainyardError):
    """The training process ended without saying how: it crashed or was killed.

    ``of_slot``: what a training runs on failed under it, which is no fault of the job.
    """

    def __init__(
        self, reason: str, kind: ErrorKind = ErrorKind.WORKER_LOST, *, of_slot: bool = False
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.of_slot = of_slot


def how_it_died(end: LastMessage | None, *, oom_killed: bool) -> AttemptLost:
    """One sentence on the end of a training that left no outcome.

    ``oom_killed``: the kernel's out-of-memory killer was at work meanwhile.
    """
    of_slot = _is_of_slot(end)
    if oom_killed and of_slot:
        return AttemptLost(
            "The kernel killed the slot's processes because the memory of the machine, or of its "
            "limit, ran out.",
            ErrorKind.OUT_OF_MEMORY,
            of_slot=True,
        )
    if oom_killed and isinstance(end, Gone) and end.signal == signal.SIGKILL:
        return AttemptLost(
            "The kernel killed the training process because the machine ran out of memory.",
            ErrorKind.OUT_OF_MEMORY,
        )
    return AttemptLost(_sentence(end), of_slot=of_slot)


def _is_of_slot(end: LastMessage | None) -> bool:
    """Whether what a training runs on ended first, or never let it start."""
    match end:
        case Gone(error=error, slot_gone=slot_gone):
            return slot_gone or error is not None
        case _:
            return True


def _sentence(end: LastMessage | None) -> str:
    match end:
        case Gone(slot_gone=True):
            return "The slot process ended, and the training with it."
        case Gone(signal=int() as number):
            return f"The training process was killed by {signal.Signals(number).name}."
        case Gone(error=str() as error):
            return f"The training process could not be started: {error}."
        case Gone(exit_code=code):
            return f"The training process ended with exit code {code} and no result."
        case StartRefused(reason=reason):
            return f"The slot process refused the attempt: {reason}."
        case _:
            return "The training process and its keeper were killed."
