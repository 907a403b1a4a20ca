"""Admissions to the job store, and the release of the jobs that are held until a time or an end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from trainyard.contract.fields.job_reference import job_reference
from trainyard.contract.request import StartRequest
from trainyard.contract.statuses import JobStatus
from trainyard.store.attempt_writes import AttemptWrites
from trainyard.store.job import Job
from trainyard.store.keys import JobKey, Key
from trainyard.store.scripts import script


@dataclass(frozen=True)
class AwaitsInVain:
    """A held job whose awaited one ended otherwise than well; ``status``: "" if it was removed."""

    job_id: str
    attempt: int
    awaited: str
    status: str


@dataclass(frozen=True)
class AdmitResult:
    """Answer of :meth:`JobStore.admit`.

    ``verdict``: ``created``; ``same`` (this very request was admitted before); ``taken``
    (another request has the id); ``full`` (the limit of waiting and running jobs is reached).
    ``position``: of what was created, its first job's in the queue; None if that is held.
    """

    verdict: Literal["created", "same", "taken", "full"]
    attempt: int
    position: int | None = None


class Admissions(AttemptWrites):
    """Admits jobs, and lets those that are held wait for their turn when they may."""

    def __init__(
        self, redis: Redis, *, lease_s: float, log_lines_kept: int, max_restarts: int
    ) -> None:
        super().__init__(
            redis, lease_s=lease_s, log_lines_kept=log_lines_kept, max_restarts=max_restarts
        )
        self._admit, self._release = script(redis, "admit"), script(redis, "release")

    def admit(
        self,
        request: StartRequest,
        *,
        slots: int,
        max_queued: int | None = None,
        origin: Job | None = None,
        reported: bool = True,
    ) -> AdmitResult:
        """Admit a job in one atomic step that also counts; it runs where its ``origin`` lies.

        ``reported``: False if no backend knows of it, and none is told.

        Refused as ``full`` if running + queued jobs are ``slots + max_queued`` or more.
        """
        return self.admit_all(
            [(request, origin)], slots=slots, max_queued=max_queued, reported=reported
        )

    def admit_all(
        self,
        jobs: Sequence[tuple[StartRequest, Job | None]],
        *,
        slots: int,
        max_queued: int | None = None,
        reported: bool = True,
    ) -> AdmitResult:
        """Admit jobs of one group, each with its origin, as :meth:`admit` does: all or none.

        The same again is ``same``, also if jobs of it were removed meanwhile.
        """
        group = jobs[0][0].group
        args: list[Any] = [
            slots,
            "" if max_queued is None else max_queued,
            group.id if group else "",
        ]
        awaits = self._awaited(jobs[0][0].after)
        for request, origin in jobs:
            args += _admission(request, origin, reported, awaits)
        verdict, attempt, *place = self._admit(args=args)
        return AdmitResult(verdict, int(attempt), *(int(one) for one in place if one is not None))

    def _awaited(self, names: Sequence[str]) -> list[str]:
        """Ids of the jobs of those names, of a sweep all that are known now."""
        return [one for name in names for one in self._members(JobKey.GROUP.of(name)) or [name]]

    def release(self) -> tuple[list[str], list[AwaitsInVain]]:
        """Let the held jobs wait for their turn that may; and those that never will.

        Returns the ids of the first, who are still to be sent to the broker.
        """
        released, in_vain = self._release()
        return released, [
            AwaitsInVain(job_id, int(attempt), awaited, status)
            for job_id, attempt, awaited, status in in_vain
        ]

    def held(self) -> list[str]:
        """Ids of the held jobs, those with the earliest time first."""
        return self._members(Key.HELD)


def _admission(
    request: StartRequest, origin: Job | None, reported: bool, awaits: Sequence[str]
) -> Iterator[Any]:
    """What ``lua/admit.lua`` takes of each job."""
    document = json.dumps(request.without_secrets(), sort_keys=True)
    fields = {
        "name": request.name or "",
        "user_id": request.user_id or "",
        "model": request.config.model.name,
        "dataset": request.trains_on or "(inline)",
        "method": request.config.training.method,
        "batch_size": str(request.config.training.batch_size),
        **({"slip_in": "1"} if request.slip_in else {}),
        **_held_back(request, origin, awaits),
    }
    if origin is not None:
        fields |= {
            "origin": origin.job_id,
            "base_model": origin.base_model or origin.model,
            "home": origin.home,
            "home_host": origin.home_host,
        }
    if request.group is not None:
        fields |= {"group": request.group.id, "settings": json.dumps(request.group.settings)}
    yield request.execution_id
    yield hashlib.sha256(document.encode()).hexdigest()
    yield document
    yield request.job_token.get_secret_value() if reported else ""
    yield json.dumps(fields)
    yield request.priority
    yield url.get_secret_value() if (url := request.whole_dataset_path) else ""


def _held_back(request: StartRequest, origin: Job | None, after: Sequence[str]) -> dict[str, str]:
    """The fields of a job that is not to run yet; its origin is awaited if that has no result."""
    awaits = dict.fromkeys(after)
    if origin is not None and awaits_result(request, origin):
        awaits[origin.job_id] = None
    if not awaits and request.not_before is None:
        return {}
    due = request.not_before
    ms = "" if due is None else str(int(1000 * due.timestamp()))
    return {"held": "1", "not_before": ms, "awaits": " ".join(awaits)}


def awaits_result(request: StartRequest, origin: Job) -> bool:
    """Whether a job goes on from the result of one that has none yet."""
    reference = job_reference(request.config.model.name)
    whole = reference is not None and reference.checkpoint is None
    return whole and origin.status is not JobStatus.COMPLETED
