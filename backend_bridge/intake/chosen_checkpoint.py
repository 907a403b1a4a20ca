"""Checkpoint that a person chose for a resume: why it would not do, said before it is tried."""

from __future__ import annotations

from pathlib import Path

from trainyard.contract.checkpoint_manifest import CheckpointDamaged, read_manifest, verify
from trainyard.contract.job_folder import checkpoint_path
from trainyard.contract.units import GIB
from trainyard.store.job import Job
from trainyard.store.job_files import JobFiles

HASHED_AT_ONCE_BYTES = 2 * GIB
"""Up to this size the contents are hashed before a resume is answered (a few seconds); of a larger
one names and sizes are looked at, and the training hashes it before it uses it."""


def reason_against(
    job: Job, name: str, files: JobFiles, *, hash_up_to: int = HASHED_AT_ONCE_BYTES
) -> str | None:
    """One sentence on why not; None if nothing is known against it.

    ``hash_up_to``: bytes up to which the contents are looked at, else only names and sizes. A
    folder on another host is not in sight: the training there looks, and refuses.
    """
    chosen = checkpoint_path(name)
    if chosen is None:
        return (
            f"{name!r} is no checkpoint of job {job.job_id}: name it as checkpoints/checkpoint-<n>"
            f"; {_which(job)}"
        )
    folder = files.folder(job)
    if folder is None:
        return None
    return _what_differs(job, folder / chosen, hash_up_to)


def _what_differs(job: Job, folder: Path, hash_up_to: int) -> str | None:
    if not folder.is_dir() or folder.is_symlink():
        return f"job {job.job_id} has no {folder.name}: {_which(job)}"
    try:
        manifest = read_manifest(folder)
        verify(folder, hashes=manifest.size_bytes <= hash_up_to)
    except CheckpointDamaged as damage:
        return f"it is damaged: {damage}"
    if manifest.job_id != job.job_id:
        return f"{folder.name} is of another job, {manifest.job_id}"
    for what, is_now in (("model", job.model), ("method", job.method)):
        was = manifest.fingerprint.get(what, is_now)
        if was != is_now:
            return f"{folder.name} is of another {what}: {was}, and the job's is {is_now}"
    return None


def _which(job: Job) -> str:
    return f"`trainyard checkpoints {job.job_id}` lists them"
