"""What a training is told of the usage of its job, for the model card."""

from __future__ import annotations

from trainyard.contract.events import TrainingSpec
from trainyard.contract.statuses import JobStatus
from trainyard.contract.usage.used import Prices, Usage
from trainyard.settings import read_settings
from trainyard.store.job import Job
from worker.supervisor.training_spec import training_spec


def test_what_earlier_attempts_used_the_slots_gpus_and_the_prices() -> None:
    before = Usage(slot_s=60, gpu_s=120, metered_s=60, energy_j=9.5)
    job = Job("job-1", JobStatus.QUEUED, 2, 0, 0, used_before=before)
    settings = read_settings(price_per_gpu_hour=2, price_per_kwh=0.4, currency="EUR")
    told = training_spec(settings, "box-0", job, gpus=2, metered="GPU-a,GPU-b")
    found = TrainingSpec.model_validate_json(told.model_dump_json()).usage
    assert (found.before, found.gpus, found.devices) == (before, 2, "GPU-a,GPU-b")
    assert found.prices == Prices(per_gpu_hour=2, per_kwh=0.4, currency="EUR")
