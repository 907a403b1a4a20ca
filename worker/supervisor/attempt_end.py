"""How an attempt ended where it did not end well.

Exceptions (both pass from the pool child to the worker's main process, so they pickle):

    AttemptFailed (TrainyardError)    the training failed, and said why
    AttemptLost (TrainyardError)      the training ended without a word: killed, or crashed
"""

from __future__ import annotations

import signal

from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.errors import ERROR_HINTS, ErrorKind, ErrorReport
from worker.slot_process.client import KeeperMessage
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
    """The training process ended without saying how: it crashed or was killed."""

    def __init__(self, reason: str, kind: ErrorKind = ErrorKind.WORKER_LOST) -> None:
        super().__init__(reason)
        self.kind = kind


def how_it_died(end: KeeperMessage | None, *, oom_killed: bool) -> AttemptLost:
    """One sentence on the end of a training that left no outcome.

    ``oom_killed``: the kernel's out-of-memory killer was at work meanwhile.
    """
    if oom_killed and isinstance(end, Gone) and end.signal == signal.SIGKILL:
        return AttemptLost(
            "The kernel killed the training process because the machine ran out of memory.",
            ErrorKind.OUT_OF_MEMORY,
        )
    return AttemptLost(_sentence(end))


def _sentence(end: KeeperMessage | None) -> str:
    match end:
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
