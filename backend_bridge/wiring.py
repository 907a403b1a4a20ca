"""Wiring of the bridge and of every courier: what both work with, built once from the settings."""

from __future__ import annotations

from celery import Celery

from backend_bridge.intake.admission import Admission
from backend_bridge.intake.job_control import JobControl
from trainyard.scheduling.couriers import CourierRegister
from trainyard.scheduling.dispatch import open_dispatcher
from trainyard.scheduling.making_way.slip_ins import SlipIns
from trainyard.scheduling.slots import any_gpu, slot_count
from trainyard.settings import Settings
from trainyard.store.connection import connect
from trainyard.store.job_files import JobFiles
from trainyard.store.job_store import open_job_store


class Wiring:
    """Store, queue, slots, couriers, slip-ins, control and admission over one Redis.

    ``name`` is the Celery app's.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.redis = connect(settings.redis_location)
        celery = Celery(name)
        celery.config_from_object("celeryconfig")
        self.store = open_job_store(self.redis, settings)
        self.dispatcher = open_dispatcher(self.store, celery, self.redis)
        self.queue, self.slots = self.dispatcher.queue, self.dispatcher.slots
        self.couriers = CourierRegister(self.redis)
        self.slip_ins = SlipIns(self.dispatcher, settings.slip_ins_per_hour)
        self.files = JobFiles(settings)
        self.control = JobControl(self.dispatcher, self.files)
        self.admission = Admission(
            self.store,
            self.queue,
            slots=self.slot_count,
            max_queued=settings.max_queued_jobs,
            gpu=lambda: any_gpu(self.slots),
            files=self.files,
            send=self.dispatcher.send,
            max_sweep_jobs=settings.max_sweep_jobs,
        )

    def slot_count(self) -> int:
        """Slots that are alive, and no fewer than the settings promise."""
        return slot_count(self.slots, self.settings)
