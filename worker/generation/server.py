"""Server of generations on a slot: runs in the pool child, so that no training runs beside it.

It answers what waits, and keeps the model for a while, for the next question (``turn``).
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Iterator

from trainyard.contract.generation.messages import (
    AskedOfJob,
    Done,
    GenerationSpec,
    Loading,
    NotGenerated,
    Said,
)
from trainyard.scheduling.dispatch import Dispatcher
from trainyard.scheduling.generations import Generations
from trainyard.settings import Settings
from trainyard.store.job import Job
from worker.generation.link import GenerationLink, start_generating
from worker.generation.turn import QuestionTurn
from worker.machine.gpu import slot_gpu_use, wait_released
from worker.machine.signal_fds import sigterm_as_fd
from worker.slot import WorkerSlot
from worker.slot_process.client import SlotUnavailable
from worker.supervisor.training_spec import training_spec

POLL_S = 0.1
LOAD_TIMEOUT_S, ANSWER_TIMEOUT_S = 600.0, 180.0
"""Without a word of it the process hangs: an answer ends itself earlier (``tasks.generation``)."""
CANCEL_GRACE_S = 5.0

logger = logging.getLogger(__name__)


class GenerationServer:
    """One run: from the first question until nobody has asked for a while."""

    def __init__(self, settings: Settings, slot: WorkerSlot, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._slot = slot
        self._dispatcher = dispatcher
        self._generations = Generations(dispatcher.queue.redis)

    def run(self, generation_id: str) -> None:
        """Answer ``generation_id`` if it still waits, and what is asked after it.

        Raises RedisError: without Redis nobody hears an answer.
        """
        asked = self._generations.claim(generation_id)
        if asked is None:
            return
        turn = QuestionTurn(self._dispatcher, self._slot.name)
        gpu_before = slot_gpu_use()
        try:
            self._serve(generation_id, asked, turn)
        except SlotUnavailable as error:
            self._generations.say(
                generation_id, NotGenerated(error=error.sentence, hint=error.mend)
            )
        finally:
            if gpu_before is not None and wait_released(gpu_before) is not None:
                self._slot.doubt.memory_before = gpu_before.used_bytes
        turn.end()

    def _serve(self, generation_id: str, asked: AskedOfJob, turn: QuestionTurn) -> None:
        with (
            sigterm_as_fd() as sigterm,
            start_generating(self._settings, self._slot, generation_id) as link,
        ):
            ends = [sigterm, self._slot.stop_read]
            for fd in ends:
                link.watch(fd)
            following: tuple[str, AskedOfJob] | None = (generation_id, asked)
            while following is not None:
                for said in self._answers(link, ends, *following):
                    self._generations.say(following[0], said)
                following = self._next(link, ends, turn)

    def _answers(
        self, link: GenerationLink, ends: list[int], generation_id: str, asked: AskedOfJob
    ) -> Iterator[Said]:
        job = self._dispatcher.store.get(asked.job_id)
        # It may have made way, for this question too: what is asked is as it was.
        if job is None or (job.attempt != asked.attempt and not _has_gone_on(job, asked)):
            yield NotGenerated(error=f"Job {asked.job_id} was removed or started again meanwhile.")
            return
        link.ask(
            GenerationSpec(asked=asked, job=training_spec(self._settings, self._slot.name, job))
        )
        silent_until = time.monotonic() + LOAD_TIMEOUT_S
        while not link.gone:
            for said in link.poll(POLL_S):
                yield said
                if isinstance(said, Done | NotGenerated):
                    return
                loads = isinstance(said, Loading) and not said.loaded
                silent_until = time.monotonic() + (LOAD_TIMEOUT_S if loads else ANSWER_TIMEOUT_S)
            self._generations.vouch(generation_id)
            if _any_readable(ends):
                yield NotGenerated(
                    error="The worker stops.", hint="Ask again: another slot may answer."
                )
                link.keeper.kill()
                return
            if not self._generations.is_wanted(generation_id):
                self._cancel(link)
                return
            if time.monotonic() > silent_until:
                link.keeper.kill()
                yield NotGenerated(error="The process that generates hung, and was killed.")
                return
        yield NotGenerated(
            error="The process that generates ended without an answer.",
            hint="Perhaps the memory did not suffice for the model: the worker's log says more.",
        )

    def _cancel(self, link: GenerationLink) -> None:
        """Nobody waits any more: the model stays, if it stops in time."""
        link.cancel()
        until = time.monotonic() + CANCEL_GRACE_S
        while not link.gone and time.monotonic() < until:
            if any(isinstance(said, Done | NotGenerated) for said in link.poll(POLL_S)):
                return
        link.keeper.kill()

    def _next(
        self, link: GenerationLink, ends: list[int], turn: QuestionTurn
    ) -> tuple[str, AskedOfJob] | None:
        """The next question; None if the model is not to be kept any longer."""
        answered_at = time.monotonic()
        while not (link.gone or _any_readable(ends) or turn.is_over(answered_at)):
            if (following := turn.take()) is not None:
                return following
            for _ in link.poll(POLL_S):
                pass
        if link.gone:
            logger.warning(
                "the process that generates has ended: %s",
                " | ".join(link.last_lines),
                extra={"action": "generation_lost"},
            )
        return None


def _has_gone_on(job: Job, asked: AskedOfJob) -> bool:
    """Whether a later attempt of the job that was asked goes on from its checkpoints."""
    return job.attempt > asked.attempt and not job.from_start


def _any_readable(fds: list[int]) -> bool:
    return bool(select.select(fds, [], [], 0)[0])
