"""Training specification: what a training process is told of its job and of its slot's settings."""

from __future__ import annotations

from trainyard.contract.events import TrainingSpec
from trainyard.contract.names import UPLOADS
from trainyard.contract.usage.used import SlotUsage
from trainyard.settings import Settings
from trainyard.store.job import Job
from trainyard.store.usage.months import prices


def training_spec(
    settings: Settings,
    slot_name: str,
    job: Job,
    gpu_expected: str = "",
    *,
    gpus: int = 0,
    metered: str = "",
) -> TrainingSpec:
    """The first line to the training; it holds no secret. ``gpus``, ``metered``: as of the slot."""
    return TrainingSpec(
        job_id=job.job_id,
        attempt=job.attempt,
        slot=slot_name,
        job_dir=str(settings.job_dir(job.job_id)),
        resume_from=job.resume_from or None,
        from_start=bool(job.from_start),
        cache_dir=str(settings.trainyard_home / "cache"),
        dataset_roots=[str(path) for path in settings.dataset_roots],
        uploads_root=str(settings.trainyard_home / UPLOADS),
        model_roots=[str(path) for path in settings.model_roots],
        allow_remote_code=settings.allow_remote_code,
        max_download_gb=settings.max_download_gb,
        allow_private_urls=settings.allow_private_urls,
        s3_buckets=list(settings.s3_buckets),
        result_mode=settings.result_mode,
        gpu_expected=gpu_expected,
        usage=SlotUsage(
            before=job.used_before, gpus=gpus, devices=metered, prices=prices(settings)
        ),
    )
