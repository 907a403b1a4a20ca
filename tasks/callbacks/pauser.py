"""Pause: its checkpoint is good, now the training leaves the GPU, or the process ends."""

from __future__ import annotations

import logging
import time
from typing import Any

from tasks.callbacks.commands import Control
from tasks.callbacks.gpu_figures import GpuFigures
from tasks.callbacks.metrics import MetricReporter
from tasks.checkpoints.receipts import compare, log_receipt, take_receipt
from tasks.errors import ConfigurationError, Paused
from tasks.parking.off_gpu import OffTheGpu, can_leave_the_gpu
from tasks.parking.place import ParkingPlace
from tasks.run import Run
from trainyard.contract.events import Outcome, Phase, Receipt, TrainingSpec

logger = logging.getLogger(__name__)


class Pauser:
    """Parks the training in its process if the keeper made a place for that, else ends it."""

    def __init__(
        self, run: Run, trainer: Any, control: Control, reporter: MetricReporter, gpu: GpuFigures
    ) -> None:
        self._run = run
        self._trainer = trainer
        self._control = control
        self._reporter = reporter
        self._gpu = gpu

    def pause_if_asked(self, checkpoint: str, receipt: Receipt) -> None:
        """Acknowledge a pause with ``receipt``; returns when the parked training is woken.

        ``checkpoint`` is the verified one, relative to the job folder. Raises Paused if the
        process cannot park, Stopped at a cancel, and ResumeMismatch or ConfigurationError if it
        must not go on.
        """
        if not self._control.pausing:
            return
        self._control.pausing = False
        channel, place = self._run.channel, self._run.place
        channel.raise_if_cancelled()
        log_receipt(receipt)
        channel.send(receipt)
        if place is None or not can_leave_the_gpu(self._trainer):
            raise Paused(checkpoint, receipt.step)
        started = time.monotonic()
        spec = self._park(place, checkpoint, receipt.step)
        woken = time.monotonic()
        self._run.phases.leave_out(woken - started)
        self._go_on(spec, checkpoint, receipt)
        channel.send(Phase(name="unpark", seconds=round(time.monotonic() - woken, 3)))

    def _park(self, place: ParkingPlace, checkpoint: str, step: int) -> TrainingSpec:
        self._gpu.stop()
        self._off_gpu = OffTheGpu(self._trainer)
        self._off_gpu.leave()
        logger.info("Paused at step %d, with a verified checkpoint; waiting in memory", step)
        result = {"checkpoint": checkpoint, "step": step, "parked": True}
        return place.park(Outcome(outcome="paused", result=result))

    def _go_on(self, spec: TrainingSpec, checkpoint: str, receipt: Receipt) -> None:
        self._check_spec(spec, checkpoint)
        self._off_gpu.come_back()
        now = take_receipt(
            self._trainer, "resumed", data_position=self._trainer.data_position, warm=True
        )
        log_receipt(now)
        compare(receipt, now)
        self._run.channel.send(now)
        self._run.go_on_as(spec)
        self._gpu.start()
        self._reporter.begin_attempt(self._trainer.state, self._trainer.trained_tokens())
        logger.info(
            "Attempt %d of job %s on %s goes on warm from step %d",
            spec.attempt,
            spec.job_id,
            spec.slot,
            receipt.step,
        )

    def _check_spec(self, spec: TrainingSpec, checkpoint: str) -> None:
        """Raise ConfigurationError if the new attempt does not want what is parked here."""
        parked = self._run.spec
        same_job = (spec.job_id, spec.job_dir) == (parked.job_id, parked.job_dir)
        if not same_job or spec.from_start or spec.resume_from not in (None, checkpoint):
            wanted = "the start" if spec.from_start else spec.resume_from
            raise ConfigurationError(
                f"The parked training of job {parked.job_id} stands at {checkpoint}, but job "
                f"{spec.job_id} is to go on from {wanted}.",
                "Such a resume needs a cold start.",
            )
