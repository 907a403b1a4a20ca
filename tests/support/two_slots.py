"""Two slots and their queues on a real Redis, without workers: what waits is taken by hand."""

from __future__ import annotations

import json
from typing import Any

from tests.support.requests import start_request
from tests.support.store_calls import job_store
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody
from trainyard.scheduling.dispatch import open_dispatcher
from trainyard.scheduling.generations import Generations
from trainyard.scheduling.making_way.slip_ins import SlipIns
from trainyard.scheduling.queue import keys_of, slot_queue
from trainyard.scheduling.slots import SlotState
from trainyard.scheduling.waiting_reasons import waiting_reason
from trainyard.store.job import Job

SLOTS = ("box-0", "box-1")


class TwoSlots:
    """Both take jobs; ``couriers`` are two who look for slip-ins."""

    def __init__(self, redis: Any, app: Any) -> None:
        self.redis = redis
        self.store = job_store(redis)
        self.dispatcher = open_dispatcher(self.store, app, redis)
        self.queue = self.dispatcher.queue
        self.generations = Generations(redis)
        self.couriers = [SlipIns(self.dispatcher, 3) for _ in range(2)]
        for slot in SLOTS:
            self.be(slot, SlotState.CONSUMING)

    def be(self, slot: str, state: SlotState, until: str = "") -> None:
        self.dispatcher.slots.beat(slot, {"gpus": [], "home": "h", "hours": "22:00-08:00 UTC"})
        self.dispatcher.slots.stamp(slot, state, until)

    def submit(self, job_id: str, **fields: Any) -> None:
        self.store.admit(start_request(job_id, **fields), slots=2)
        self.dispatcher.send(job_id)

    def ask(self, slot: str | None = None) -> str:
        """A question to a model, which waits; returns its id."""
        asked = AskedOfJob(
            job_id="made", attempt=1, slot=slot, question=GenerateBody(prompt="2 + 2")
        )
        name = self.generations.ask(asked)
        self.queue.enqueue_generation(name, slot)
        return name

    def take(self, slot: str) -> str | None:
        """What a worker takes next, as kombu asks: by priority, then the common queue first."""
        by_queue = [keys_of("gpu"), keys_of(slot_queue(slot))]
        for keys in zip(*by_queue, strict=True):
            for key in keys:
                if (raw := self.redis.rpop(key)) is not None:
                    job_id = json.loads(raw)["headers"]["id"].partition(":")[0]
                    if self.generations.claim(job_id) is not None:
                        return str(job_id)
                    attempt = self.job(job_id).attempt
                    assert self.store.claim(job_id, attempt, slot=slot, worker="w", home="h")
                    self.step(job_id, left_s=100)
                    return str(job_id)
        return None

    def step(self, job_id: str, left_s: float) -> None:
        """A step is made after its start."""
        key = f"trainyard:job:{job_id}"
        started = int(self.redis.hget(key, "attempt_started_at"))
        progress = {"step": 1, "total_steps": 101, "remaining_seconds": left_s}
        self.redis.hset(key, mapping={"step_at": started + 1, "progress": json.dumps(progress)})

    def look(self) -> None:
        for courier in self.couriers:
            courier.look()

    def asked(self) -> list[str]:
        return sorted(job.job_id for job in self.store.jobs() if job.is_to_make_way)

    def make_way(self, job_id: str) -> None:
        """As its worker does."""
        job = self.job(job_id)
        rest = {"checkpoint": "checkpoints/checkpoint-1", "parked": job.attempt_id}
        rest |= {"parked_on": job.slot, "parked_worker": "w"}
        assert self.store.make_way(job_id, job.attempt, job.make_way.partition(" ")[2], rest)
        self.dispatcher.send(job_id, at_head=True)

    def reason(self, job_id: str) -> str:
        return waiting_reason(self.job(job_id), self.dispatcher.slots.present()) or ""

    def job(self, job_id: str) -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job
