"""Probe of a slot as its worker's main process sees it: started through the slot process, looked at
from the loop, never waited for.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Outcome, ProbeSpec
from worker.machine.gpu import gpu_view, why_unusable
from worker.machine.memory import oom_kills
from worker.slot import WorkerSlot
from worker.slot_process.client import KeeperLost, SlotUnavailable
from worker.slot_process.protocol import Gone, Parked, StartRefused
from worker.supervisor.loss import how_it_died
from worker.supervisor.training_link import OutputLines, open_link

ENTRY = "tasks.probe:main"
TIMEOUT_S = 300.0
"""For the preload, which takes seconds (on a slow disk a minute or two), and the probe itself."""
ASK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class ProbeEnd:
    """``trouble``: why the slot is of no use now; "" if it is well."""

    trouble: str = ""


class Probe:
    """One try. ``close`` ends whatever still lives of it."""

    def __init__(self, slot: WorkerSlot, number: int, home: str, *, preload: bool) -> None:
        self._slot = slot
        self._outcome: Outcome | None = None
        self._last_line = ""
        self._oom_kills = oom_kills()
        self._deadline = time.monotonic() + TIMEOUT_S
        self._stack = contextlib.ExitStack()
        self._unreachable = ""
        self._slot_process_died = False
        try:
            self._link = self._stack.enter_context(
                open_link(
                    slot.socket_name,
                    f"probe:{number}",
                    {},
                    timeout_s=ASK_TIMEOUT_S,
                    preload=preload,
                    entry=ENTRY,
                )
            )
            self._link.send_spec(ProbeSpec(home=home, gpu_expected=slot.gpu_expected))
        except (SlotUnavailable, OSError) as error:
            self._unreachable = f"no probe could be started: {error}"

    def look(self) -> ProbeEnd | None:
        """How it ended; None while it runs."""
        if self._unreachable:
            return ProbeEnd(self._unreachable)
        for arrival in self._link.poll(0):
            match arrival:
                case Outcome():
                    self._outcome = arrival
                case OutputLines(lines=[*_, last]):
                    self._last_line = last
                case Gone() | KeeperLost() | StartRefused() | Parked():
                    return self._end(arrival)
        if self._slot_process_died:
            return self._died(Gone(None, None, 0, slot_gone=True))
        if time.monotonic() < self._deadline:
            return None
        return ProbeEnd(f"it did not train a step within {TIMEOUT_S:g} s")

    def slot_process_died(self) -> None:
        """Note that it died. If that was before it took the request, no message says so: the
        request would wait for the next slot process."""
        self._slot_process_died = True

    def close(self) -> None:
        self._stack.close()

    def _end(self, message: Gone | KeeperLost | StartRefused | Parked) -> ProbeEnd:
        for arrival in self._link.rest():
            if isinstance(arrival, Outcome):
                self._outcome = arrival
        match self._outcome:
            case Outcome(outcome="completed"):
                return ProbeEnd()
            case Outcome(error=error) if error is not None:
                if error.kind is ErrorKind.DEVICE:
                    expected = self._slot.gpu_expected or "it has a GPU"
                    return ProbeEnd(why_unusable(expected, gpu_view(), error.message))
                return ProbeEnd(error.message)
        return self._died(message)

    def _died(self, message: Gone | KeeperLost | StartRefused | Parked) -> ProbeEnd:
        died = how_it_died(message, oom_killed=oom_kills() > self._oom_kills)
        said = f" ({self._last_line})" if self._last_line else ""
        return ProbeEnd(f"its trial of a training failed: {died}{said}")
