"""Fine-tunings: ordinary jobs of the yard, made and found as OpenAI's clients ask for them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from backend_bridge.api.context import Bridge
from backend_bridge.intake.admission import LimitReached
from backend_bridge.openai_api.asked import CreateJob
from backend_bridge.openai_api.errors import ApiRefusal
from backend_bridge.openai_api.files.store import FileStore, StoredFile, ids_in
from backend_bridge.openai_api.job_records import JOB_PREFIX, FineTuning, FineTunings
from backend_bridge.openai_api.job_request import (
    hyperparameters_of,
    refusal_of,
    start_body,
    with_rate,
)
from backend_bridge.openai_api.listing import no_such_cursor
from backend_bridge.openai_api.model_names import tuned_model
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid
from trainyard.contract.statuses import ACTIVE, JobStatus
from trainyard.contract.units import GB
from trainyard.local.backend_row import BackendError, create_row, delete_row
from trainyard.store.job import Job

logger = logging.getLogger(__name__)


class Tuning:
    """Fine-tunings and their files, over one bridge."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.records = FineTunings(bridge.redis)
        quota = int(bridge.settings.max_uploads_gb * GB)
        self.files = FileStore(bridge.settings.trainyard_home, quota)

    def create(self, asked: CreateJob) -> tuple[Job, FineTuning]:
        """Start a job. Raises ApiRefusal."""
        files = self._files(asked)
        job_id = f"{JOB_PREFIX}{secrets.token_hex(12)}"
        record = FineTuning(
            model=asked.model,
            training_file=asked.training_file,
            validation_file=asked.validation_file,
            method=asked.how,
            suffix=asked.suffix,
            seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed,
            metadata=asked.metadata,
        )
        body = start_body(asked, job_id, record.seed, files, of_adapter=self._is_adapter(asked))
        body = with_rate(body, hyperparameters_of(record.method).learning_rate_multiplier)
        try:
            if ignored := parse_request(body).ignored:
                said = f"fields that mean nothing: {'; '.join(ignored)}"
                raise ApiRefusal(400, said, param="config")
            self._start(body, record)
        except RequestInvalid as error:
            raise refusal_of(error) from None
        except LimitReached as error:
            raise ApiRefusal(429, str(error)) from None
        return self.find(job_id)

    def find(self, job_id: str) -> tuple[Job, FineTuning]:
        """A job that was made here. Raises ApiRefusal."""
        job, record = self.bridge.store.get(job_id), self.records.read(job_id)
        if job is None or record is None:
            raise ApiRefusal(404, f"there is no fine-tuning job {job_id!r}", param="id")
        return job, record

    def newest(
        self, limit: int, after: str | None, metadata: Mapping[str, str]
    ) -> list[tuple[Job, FineTuning]]:
        """So many jobs that were made here, newest first, that have all of ``metadata``."""
        cursor = None
        if after is not None:
            last = self.bridge.store.get(after)
            if last is None:
                raise no_such_cursor(after)
            cursor = f"{round(1000 * last.created_at)}:{after}"
        found: list[tuple[Job, FineTuning]] = []
        while len(found) < limit:
            jobs, cursor = self.bridge.store.newest(_may_be_ours, limit, cursor)
            records = self.records.of([job.job_id for job in jobs])
            for job in jobs:
                record = records.get(job.job_id)
                if record and metadata.items() <= (record.metadata or {}).items():
                    found.append((job, record))
            if cursor is None:
                break
        return found[:limit]

    def succeeded(self) -> list[Job]:
        """Jobs that were made here and have a result."""
        jobs, _ = self.bridge.store.newest(
            lambda job: _may_be_ours(job) and job.status is JobStatus.COMPLETED, None
        )
        records = self.records.of([job.job_id for job in jobs])
        return [job for job in jobs if job.job_id in records]

    def files_in_use(self) -> set[str]:
        """Files of jobs that have not ended, also of those that were not made here."""
        jobs, _ = self.bridge.store.newest(lambda job: job.status in ACTIVE, None)
        records = self.records.of([job.job_id for job in jobs if _may_be_ours(job)]).values()
        named = {name for one in records for name in (one.training_file, one.validation_file)}
        of_data = {name for job in jobs for name in ids_in(job.dataset)}
        return {name for name in named | of_data if name is not None}

    def _files(self, asked: CreateJob) -> tuple[StoredFile, StoredFile | None]:
        validation = asked.validation_file
        training = self._file(asked.training_file, "training_file")
        return training, self._file(validation, "validation_file") if validation else None

    def _file(self, file_id: str, param: str) -> StoredFile:
        file = self.files.use(file_id)
        if file is None:
            raise ApiRefusal(400, f"there is no file {file_id!r}", param=param, code="invalid_file")
        return file

    def _is_adapter(self, asked: CreateJob) -> bool:
        tuned = tuned_model(asked.model)
        if tuned is None:
            return False
        try:
            request = self.bridge.store.request(tuned.job_id)
        except KeyError:
            said = f"there is no model {asked.model!r}"
            raise ApiRefusal(404, said, param="model", code="model_not_found") from None
        return bool(request["config"]["training"]["use_lora"])

    def _start(self, body: dict[str, Any], record: FineTuning) -> None:
        job_id = body["execution_id"]
        self.records.write(job_id, record)
        reported = self._tell_backend(body)
        try:
            self.bridge.admission.admit(body, reported=reported)
        except Exception:
            self.records.drop(job_id)
            if reported:
                self._take_back(job_id)
            raise

    def _tell_backend(self, body: dict[str, Any]) -> bool:
        """Whether the backend has made a row of the job: else nothing is reported to it."""
        try:
            return create_row(self.bridge.settings.backend_url, body)
        except BackendError as error:
            logger.info(
                "job %s is not reported: the backend makes no row of it: %s",
                body["execution_id"],
                error,
                extra={"action": "not_reported", "job_id": body["execution_id"]},
            )
            return False

    def _take_back(self, job_id: str) -> None:
        """The row of a job that was refused after all."""
        try:
            delete_row(self.bridge.settings.backend_url, job_id)
        except BackendError as error:
            logger.warning(
                "job %s was refused, and its row stays at the backend: %s",
                job_id,
                error,
                extra={"action": "row_left", "job_id": job_id},
            )


def _may_be_ours(job: Job) -> bool:
    return job.job_id.startswith(JOB_PREFIX)
