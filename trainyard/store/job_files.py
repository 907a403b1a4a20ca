"""Files of a job, as the bridge reads them: its log, its model, its checkpoints.

The folder may lie on another host: what a path here returns is None then.
"""

from __future__ import annotations

from pathlib import Path

from trainyard.contract.checkpoint_manifest import MANIFEST_NAME
from trainyard.contract.job_folder import LOG, LOG_BEFORE, MERGED, MODEL
from trainyard.durable_files import size_of
from trainyard.home import home_id
from trainyard.settings import Settings
from trainyard.store.job import Job


def result_sizes(model: Path) -> tuple[int, int]:
    """Bytes of the result in the folder ``model``, and of the merged copy beside it; 0 if none."""
    merged = size_of(model / MERGED) if (model / MERGED).is_dir() else 0
    return size_of(model) - merged, merged


class JobFiles:
    """The folders of jobs below TRAINYARD_HOME."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def folder(self, job: Job) -> Path | None:
        """The job's folder; None if it lies on another host or was never made."""
        if not job.home or job.home != home_id(self._settings.trainyard_home):
            return None
        folder = self._settings.job_dir(job.job_id)
        return folder if folder.is_dir() else None

    def logs(self, job: Job) -> list[Path]:
        """The complete log; of one that began anew the one before it, too, first."""
        return [path for name in (LOG_BEFORE, LOG) if (path := self._file(job, name))]

    def checkpoint(self, job: Job, path: str) -> Path | None:
        """The folder of a finished checkpoint, by :func:`checkpoint_path`."""
        manifest = self._file(job, f"{path}/{MANIFEST_NAME}")
        return manifest.parent if manifest else None

    def model(self, job: Job) -> Path | None:
        """The folder of the trained model."""
        folder = self.folder(job)
        found = folder / MODEL if folder and job.result else None
        return found if found and found.is_dir() else None

    def _file(self, job: Job, name: str) -> Path | None:
        folder = self.folder(job)
        found = folder / name if folder else None
        return found if found and found.is_file() else None
