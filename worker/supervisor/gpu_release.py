"""Release of a slot's GPU: before anybody hears of an attempt's end its memory is back, or the slot
takes no other job before that.
"""

from __future__ import annotations

import logging

from trainyard.contract.errors import ErrorKind
from worker.doubt import Doubt
from worker.machine.gpu import GpuSilent, slot_gpu_use, wait_released
from worker.supervisor.log_handler import BatchingLogHandler
from worker.supervisor.loss import AttemptLost


class GpuRelease:
    """Made before the training starts. Raises AttemptLost if the GPU does not answer then."""

    def __init__(self) -> None:
        try:
            self._before = slot_gpu_use()
        except GpuSilent as error:
            raise AttemptLost(str(error), ErrorKind.DEVICE, of_slot=True) from None

    def wait(self, doubt: Doubt, log: BatchingLogHandler) -> None:
        """When no process of the attempt is left."""
        if self._before is not None and (left := wait_released(self._before)) is not None:
            log.say(f"{left}: this slot takes no other job before that", logging.ERROR)
            doubt.memory_before = self._before.used_bytes
