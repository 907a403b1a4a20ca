"""A running job of the real job store, for tests that need its events."""

from __future__ import annotations

import json
from collections.abc import Sequence

from redis import Redis

from tests.support.store_calls import job_store
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.events import Metric
from trainyard.contract.parser import parse_request
from trainyard.log_lines import stamp
from trainyard.store.attempt_writes import StoredEvent


class RunningJob:
    """Admits and claims a job (so that its first event is ``running``) and writes its events."""

    def __init__(
        self,
        redis: Redis,
        job_id: str,
        *,
        token: str = "job-token",
        slot: str = "slot-0",
        log_lines_kept: int = 10_000,
    ) -> None:
        self.store = job_store(redis, log_lines_kept=log_lines_kept)
        self.job_id = job_id
        self.token = token
        self.attempt = 1
        self._batches = 0
        request = parse_request(
            {
                "execution_id": job_id,
                "config": {"model": {"name": "tiny"}},
                "dataset_path": "data.jsonl",
                "job_token": token,
            }
        )
        self.store.admit(request, slots=10_000)
        assert self.store.claim(job_id, 1, slot=slot, worker="worker-0")

    def log(self, *lines: str) -> None:
        """Append one log entry."""
        self.append([StoredEvent("log", json.dumps([stamp(line) for line in lines]), len(lines))])

    def metric(self, step: int, **values: float) -> None:
        """Append one metric point."""
        point = Metric(step=step, epoch=0.5, **values)
        self.append([StoredEvent("metric", point.model_dump_json())])

    def append(self, events: Sequence[StoredEvent]) -> None:
        """Append any events."""
        self._batches += 1
        assert self.store.append(self.job_id, self.attempt, self._batches, events)

    def restart_batches(self) -> None:
        """A new attempt counts its appends from 1."""
        self._batches = 0

    def complete(self) -> None:
        """End the job; its last event is ``completed``."""
        assert self.store.complete(self.job_id, self.attempt, {})

    def fail(self, message: str) -> None:
        """End the job; its last event is ``failed``."""
        assert self.store.fail(
            self.job_id, self.attempt, ErrorReport(kind=ErrorKind.INTERNAL, message=message)
        )
