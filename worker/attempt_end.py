"""How an attempt ended where it did not end well.

Exceptions (both pass from the pool child to the worker's main process, so they pickle):

    AttemptFailed (Exception)    the training failed, and said why
    AttemptLost (Exception)      the training ended without a word: killed, or crashed
"""

from __future__ import annotations

import signal

from backend_bridge.contract import ErrorKind, ErrorReport
from worker.slot_client import Gone, KeeperLost, Refused


class AttemptFailed(Exception):
    """The training failed; ``report`` (an ErrorReport as JSON) says why."""

    def __init__(self, message: str, report: str) -> None:
        super().__init__(message, report)
        self.report = report

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def from_report(cls, report: ErrorReport | None) -> AttemptFailed:
        if report is None:
            report = ErrorReport(
                kind=ErrorKind.INTERNAL, message="The training failed and did not say why."
            )
        return cls(report.message, report.model_dump_json())


class AttemptLost(Exception):
    """The training process ended without saying how: it crashed or was killed."""


def how_it_died(end: Gone | KeeperLost | Refused | None) -> str:
    """One sentence on the end of a training that left no outcome."""
    match end:
        case Gone(signal=int() as number):
            name = signal.Signals(number).name
            hint = " (the kernel's out-of-memory killer does that)" if name == "SIGKILL" else ""
            return f"The training process was killed by {name}{hint}."
        case Gone(error=str() as error):
            return f"The training process could not be started: {error}."
        case Gone(exit_code=code):
            return f"The training process ended with exit code {code} and no result."
        case Refused(reason=reason):
            return f"The slot process refused the attempt: {reason}."
        case _:
            return "The training process and its keeper were killed."
