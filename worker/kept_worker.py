"""Kept worker: the process of one slot, started again when it has died or takes no jobs any more.

Each time later than the last, up to a minute: what breaks at once breaks again. A slot whose worker
breaks time and again is taken out of service, with the reason, and goes on being tried.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from trainyard.child_process import ChildProcess
from trainyard.scheduling.slots import Slot, SlotState

BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
WELL_AFTER_S = 60.0
"""A worker that takes jobs after so long has no failures behind it."""
START_GRACE_S = 60.0
"""A worker says that it takes jobs within seconds; on a slow disk within a minute."""
LOOKS_UNTIL_SILENT = 10
"""Of looks 5 s apart: after an outage of Redis Celery waits for up to 30 s before it connects, and
a training that went on meanwhile must not be put back for that."""
FAILURES_UNTIL_OUT = 5

logger = logging.getLogger(__name__)


@dataclass
class KeptWorker:
    """The worker of ``slot``, already started at ``started_at``; times are monotonic seconds.

    ``stop_timeout_s``: how long a worker that is told to end may take to put its job back.
    """

    slot: str
    child: ChildProcess
    started_at: float
    stop_timeout_s: float
    failures: int = 0
    _silent_looks: int = field(default=0, init=False)
    _kill_at: float | None = field(default=None, init=False)
    _start_at: float | None = field(default=None, init=False)

    def keep(self, now: float) -> str | None:
        """Start it again when its time has come. Returns why the slot is of no use, if it is."""
        if self.child.pid is not None:
            if self._kill_at is not None and now >= self._kill_at:
                self.child.kill()
            return None
        if self._start_at is None:
            return self._has_died(now)
        if now >= self._start_at:
            self.child.start()
            self.started_at, self._start_at, self._silent_looks = now, None, 0
        return None

    def look(self, seen: Slot | None, now: float) -> None:
        """Judge by what the registry says; it is to be looked at only if Redis answers.

        A slot whose host is not there either says nothing of its worker: Redis takes no writes.
        """
        well = seen is None or seen.state is not SlotState.SILENT
        starting = now - self.started_at < START_GRACE_S and (seen is None or seen.silent_s is None)
        self._silent_looks = 0 if well or starting else self._silent_looks + 1
        if seen is not None and well and now - self.started_at >= WELL_AFTER_S:
            self.failures = 0
        if self._silent_looks < LOOKS_UNTIL_SILENT or self._kill_at is not None:
            return
        logger.warning(
            "%s takes no jobs any more: it is ended and started again",
            self.child.name,
            extra={"action": "worker_silent"},
        )
        self._kill_at = now + self.stop_timeout_s
        self.child.terminate()

    def _has_died(self, now: float) -> str | None:
        silent, self._kill_at = self._kill_at is not None, None
        self.failures += 1
        wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(self.failures - 1, 10))
        self._start_at = now + wait_s
        how = "took no jobs" if silent else f"ended with exit code {self.child.returncode}"
        logger.warning(
            "%s %s: started again in %g s",
            *(self.child.name, how, wait_s),
            extra={"action": "child_died"},
        )
        if self.failures < FAILURES_UNTIL_OUT:
            return None
        return f"its worker {how}, {self.failures} times in a row; the workers' log says why"
