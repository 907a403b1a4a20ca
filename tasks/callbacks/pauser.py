"""The end of a pause: the checkpoint is good, now leave the GPU, or the process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from tasks.callbacks.gpu_figures import GpuFigures
from tasks.callbacks.metrics import Reporter
from tasks.channel import Channel
from tasks.checkpoints.receipts import compare, log_receipt, take_receipt
from tasks.errors import ConfigurationError, Paused
from tasks.parking.off_gpu import OffTheGpu, can_leave_the_gpu
from tasks.parking.place import ParkingPlace
from trainyard.contract.events import Outcome, Phase, Receipt, TrainingSpec

logger = logging.getLogger(__name__)


class Pauser:
    """Parks the training in its process where the keeper made a place for that, else ends it.

    ``spec`` is the attempt's; after a warm resume that of the attempt that goes on. ``left_out``
    is told the seconds spent parked.
    """

    def __init__(
        self,
        trainer: Any,
        channel: Channel,
        reporter: Reporter,
        figures: GpuFigures,
        place: ParkingPlace | None,
        spec: TrainingSpec,
        left_out: Callable[[float], None],
    ) -> None:
        self._trainer = trainer
        self._channel = channel
        self._reporter = reporter
        self._figures = figures
        self._place = place
        if place is not None and trainer.args.dataloader_num_workers > 0:
            place.keep_loader_output()
        self._left_out = left_out
        self.spec = spec

    def pause(self, checkpoint: str, receipt: Receipt) -> None:
        """Acknowledge the pause with ``receipt``; returns when the parked training is woken.

        ``checkpoint`` is the verified one, relative to the job folder. Raises Paused where the
        process cannot park, Stopped at a cancel, and ResumeMismatch or ConfigurationError where it
        must not go on.
        """
        self._channel.raise_if_cancelled()
        log_receipt(receipt)
        self._channel.send(receipt)
        if self._place is None or not can_leave_the_gpu(self._trainer):
            raise Paused(checkpoint, receipt.step)
        started = time.monotonic()
        spec = self._park(self._place, checkpoint, receipt.step)
        woken = time.monotonic()
        self._left_out(woken - started)
        self._go_on(spec, checkpoint, receipt)
        self._channel.send(Phase(name="unpark", seconds=round(time.monotonic() - woken, 3)))

    def _park(self, place: ParkingPlace, checkpoint: str, step: int) -> TrainingSpec:
        self._figures.stop()
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
        self._channel.send(now)
        self.spec = spec
        self._figures.start()
        self._reporter.begin_attempt(self._trainer.state, self._trainer._total_train_tokens)
        logger.info(
            "Attempt %d of job %s on %s goes on warm from step %d",
            spec.attempt,
            spec.job_id,
            spec.slot,
            receipt.step,
        )

    def _check_spec(self, spec: TrainingSpec, checkpoint: str) -> None:
        """Raise ConfigurationError where the new attempt does not want what is parked here."""
        same_job = (spec.job_id, spec.job_dir) == (self.spec.job_id, self.spec.job_dir)
        if not same_job or spec.from_start or spec.resume_from not in (None, checkpoint):
            wanted = "the start" if spec.from_start else spec.resume_from
            raise ConfigurationError(
                f"The parked training of job {self.spec.job_id} stands at {checkpoint}, but job "
                f"{spec.job_id} is to go on from {wanted}.",
                "Such a resume needs a cold start.",
            )
